"""The protections by name, for lists and pages."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from radhard.protect.bound import ClippedActivation, RangeRestriction, ValueThreshold
from radhard.protect.checksum import Checksum
from radhard.protect.gradient import NeuronGradientSuppressor
from radhard.protect.hardening import HardenedLatches
from radhard.protect.median import MedianFeature
from radhard.protect.neuron import BoundedNeuron
from radhard.protect.protection import Protection
from radhard.protect.ranges import RangeDetector
from radhard.protect.redundancy import Redundancy
from radhard.protect.storage import SECDED, BitTriplication, Parity, WeightSignature


@dataclass(frozen=True, slots=True)
class Entry:
    """A protection in the catalogue.

    Attributes:
        kind: its class.
        changes: ``run``, ``chip`` or ``network``.
        needs: before it can be used.
        reads: what its check reads, and when that was formed.
        blind: what it can't see.
        takes: what it costs.
    """

    kind: type[Protection]
    changes: str
    needs: str
    reads: str
    blind: str
    takes: str

    @property
    def name(self) -> str:
        """Of the class, in `radhard`."""
        return self.kind.__name__

    @property
    def about(self) -> str:
        """The first sentence of its documentation."""
        first = (self.kind.__doc__ or "").strip().split("\n\n")[0]
        return " ".join(first.split())


PROTECTIONS = (
    Entry(
        RangeDetector,
        "run: detects",
        "fault-free runs",
        "outputs of each layer, as they are stored",
        "values within the range, so most faults of integers",
        "two comparisons per output; an inference per alarm",
    ),
    Entry(
        RangeRestriction,
        "run: corrects",
        "fault-free runs",
        "values behind activations, pooling and reshaping",
        "values within bounds; the last layer",
        "two comparisons per value; two bounds per layer",
    ),
    Entry(
        ClippedActivation,
        "run: corrects",
        "fault-free runs, or a search",
        "values behind rectifiers",
        "values up to T; layers without a rectifier; the last layer",
        "a comparison per value; a bound per layer",
    ),
    Entry(
        BoundedNeuron,
        "run: corrects",
        "training of the bounds",
        "values behind rectifiers",
        "values up to the bound; layers without a rectifier; the last layer",
        "a sigmoid, a product, a comparison and a bound per neuron",
    ),
    Entry(
        ValueThreshold,
        "run: corrects",
        "fault-free runs",
        "values behind activations, or outputs",
        "values near the mean of their neuron; the last layer",
        "two comparisons and two numbers per neuron",
    ),
    Entry(
        NeuronGradientSuppressor,
        "run: corrects",
        "fault-free runs",
        "differences of neighbours; of a gate, what its checksum reads",
        "differences that training showed; the last layer",
        "four operations and two numbers per neuron; of a gate, its checksum",
    ),
    Entry(
        MedianFeature,
        "run: corrects",
        "training of the network",
        "neighbours of each value",
        "wrong values that are medians; the last layer",
        "three comparisons per median of three",
    ),
    Entry(
        Checksum,
        "run: detects, locates, corrects",
        "fault-free runs, for floats",
        "outputs; inputs where the layer reads them, behind its last channel; weights summed "
        "before deployment",
        "inputs wrong in memory from the layer's start, unless their sums are formed when "
        "written; in floats, what rounding hides; attention",
        "a channel that reads all groups, or a position, per layer; additions of outputs, and of "
        "inputs; in floats squares, roots and a tolerance; sums",
    ),
    Entry(
        Redundancy,
        "run: detects or corrects",
        "nothing; a ranking for channels",
        "the same memories, with latches, registers and sums of its own",
        "weights and inputs wrong in memory",
        "the layers again; a comparison per output; of two copies, an inference per alarm",
    ),
    Entry(
        Parity,
        "chip",
        "nothing",
        "each word when it is read; its bit is formed when it is written",
        "an even number of wrong bits",
        "a bit per word; a tree of XORs at each latch or memory; an inference per alarm",
    ),
    Entry(
        SECDED,
        "chip",
        "nothing",
        "each word when it is read; its code is formed when it is written",
        "three wrong bits of a word and more",
        "5 to 7 bits per word of 8 to 32; a decoder at each latch or memory",
    ),
    Entry(
        BitTriplication,
        "chip",
        "nothing",
        "three copies of chosen bits",
        "bits that have no copies; the same bit in two of three",
        "two bits for each; a voter at each latch or memory",
    ),
    Entry(
        HardenedLatches,
        "chip",
        "measured failures",
        "nothing: fewer upsets",
        "memories; upsets that are left",
        "area of latches",
    ),
    Entry(
        WeightSignature,
        "chip",
        "nothing",
        "groups of weights when they are loaded; signatures are formed before deployment",
        "changes of low bits; copies in a chip's memories, struck after loading",
        "two bits per group; an addition per weight; an inference per alarm",
    ),
)


def protection_named(name: str) -> Protection:
    """The protection of this class, with its default parameters.

    Raises:
        ValueError: for an unknown name, or a class whose parameters have no defaults.

    >>> protection_named("Parity")
    Parity(components=())
    """
    known = {entry.name: entry.kind for entry in PROTECTIONS}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.3) or list(known)
        raise ValueError(f"no protection {name!r}: did you mean {', '.join(near)}?")
    try:
        return known[name]()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} needs parameters ({error}): give a table such as "
            f"{{type = '{name}', PARAMETER = VALUE}}"
        ) from error
