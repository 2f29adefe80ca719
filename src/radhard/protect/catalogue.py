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
    """

    kind: type[Protection]
    changes: str
    needs: str

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
    Entry(RangeDetector, "run: detects", "fault-free runs"),
    Entry(RangeRestriction, "run: corrects", "fault-free runs"),
    Entry(ClippedActivation, "run: corrects", "fault-free runs, or a search"),
    Entry(BoundedNeuron, "run: corrects", "training of the bounds"),
    Entry(ValueThreshold, "run: corrects", "fault-free runs"),
    Entry(NeuronGradientSuppressor, "run: corrects", "fault-free runs"),
    Entry(MedianFeature, "run: corrects", "training of the network"),
    Entry(Checksum, "run: detects, locates, corrects", "fault-free runs, for floats"),
    Entry(Redundancy, "run: detects or corrects", "nothing; a ranking for channels"),
    Entry(Parity, "chip", "nothing"),
    Entry(SECDED, "chip", "nothing"),
    Entry(BitTriplication, "chip", "nothing"),
    Entry(HardenedLatches, "chip", "measured failures"),
    Entry(WeightSignature, "chip", "nothing"),
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
