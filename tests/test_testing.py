"""The checks for parts of one's own: all that radhard has passes, and what is broken does not."""

import runpy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import radhard as rh
from radhard.accel.chips import chips
from radhard.arith.multiplier import full_name
from radhard.formats.catalogue import formats
from radhard.formats.number import NumberFormat
from radhard.protect.catalogue import PROTECTIONS, protection_named
from radhard.sampling.catalogue import SAMPLERS
from radhard.sampling.proposals import Importance
from radhard.sampling.sampler import Tilted
from radhard.testing import (
    check_arithmetic,
    check_chip,
    check_criterion,
    check_format,
    check_multiplier,
    check_protection,
    check_sampler,
)

EXAMPLES = Path(__file__).parent.parent / "examples"
#: Those whose parameters have no defaults, or that learn for a long time.
MADE = {"BitTriplication": rh.BitTriplication((14,)), "HardenedLatches": None}


@pytest.mark.parametrize("fmt", formats(), ids=lambda fmt: fmt.name)
def test_formats_of_the_catalogue_pass(fmt: NumberFormat) -> None:
    check_format(fmt)


@pytest.mark.parametrize("chip", chips(), ids=lambda chip: chip.name)
def test_chips_of_the_catalogue_pass(chip) -> None:
    check_chip(chip)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.name)
def test_samplers_of_the_catalogue_pass(sampler) -> None:
    check_sampler(sampler)


@pytest.mark.parametrize(
    "multiplier",
    [*rh.multipliers(), *map(rh.multiplier_named, ("mul16s_drum:bits=6", "mul8s_etm"))],
    ids=full_name,
)
def test_multipliers_of_the_catalogue_pass(multiplier: rh.Multiplier) -> None:
    check_multiplier(multiplier)


@pytest.mark.parametrize("name", [entry.name for entry in PROTECTIONS])
def test_protections_of_the_catalogue_pass(name: str) -> None:
    if name == "HardenedLatches":
        pytest.skip("software has no latches to harden: tests/protect/test_hardening.py")
    check_protection(MADE.get(name) or protection_named(name))


@pytest.mark.parametrize(
    ("name", "part", "check"),
    [
        ("own_arithmetic", "ShortOperands", check_arithmetic),
        ("own_arithmetic", "ShortProducts", check_arithmetic),
        ("own_format", "Posit8", check_format),
        ("own_chip", "Scratchpad", check_chip),
        ("own_sampler", "EarlyFirst", check_sampler),
        ("own_protection", "Limited", check_protection),
        ("own_criterion", "loses_confidence", check_criterion),
        ("own_multiplier", "OrInsteadOfAdd", check_multiplier),
    ],
)
def test_examples_pass(name: str, part: str, check, monkeypatch) -> None:
    """As a module, from which what is asked can be asked again."""
    monkeypatch.syspath_prepend(EXAMPLES)
    made = getattr(__import__(name), part)
    check(made if name == "own_criterion" else made())


@dataclass(frozen=True)
class Broken(rh.FloatFormat):
    """One wrong place."""

    wrong: str = ""

    def encode(self, real: Tensor) -> Tensor:
        found = super().encode(real)
        return found ^ 1 if self.wrong == "encode" else found

    def round(self, real: Tensor) -> Tensor:
        found = super().round(real)
        return found * 2 if self.wrong == "round" else found

    def flip(self, real: Tensor, mask: Tensor) -> Tensor:
        return super().flip(real, mask * 2 if self.wrong == "flip" else mask)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("encode", r"decode\(encode\(value\)\) is the value"),
        ("round", "round leaves values of codes"),
        ("flip", "flip inverts bits"),
    ],
)
def test_broken_formats_do_not(wrong: str, message: str) -> None:
    check_format(Broken("fine", 4, 3))
    with pytest.raises(AssertionError, match=message):
        check_format(Broken("broken", 4, 3, wrong=wrong))


@dataclass(frozen=True)
class Alternating(rh.chips.Software):
    """A fault's operand depends on which other faults there are."""

    def corrupt(self, workload, space, faults) -> rh.Corruption:
        found = super().corrupt(workload, space, faults)
        return replace(found, element=found.element + len(faults) % 7)


def test_broken_chips_do_not() -> None:
    with pytest.raises(AssertionError, match="a fault among fewer others has the same element"):
        check_chip(Alternating())


@dataclass(frozen=True)
class Unweighted(Tilted):
    """Draws some strata more often and does not own up to it."""

    name: str = "unweighted"

    def proposal(self, space) -> np.ndarray:
        tilted = np.linspace(1, 0.01, len(space.strata)) * space.probability
        return tilted / tilted.sum()

    def draw(self, space, n, rng, score=None, start=0) -> rh.Faults:
        return replace(super().draw(space, n, rng, score, start), weight=np.ones(n))

    def cells(self, asked, tally):
        return Importance().cells(asked, tally)


def test_broken_samplers_do_not() -> None:
    with pytest.raises(AssertionError, match="right on average"):
        check_sampler(Unweighted())


@dataclass(frozen=True)
class Adding(rh.Protection):
    """Makes faults more likely."""

    def harden(self, space: rh.SiteSpace) -> rh.SiteSpace:
        return replace(
            space, strata=tuple(replace(s, exposure=2 * s.exposure) for s in space.strata)
        )


class Batched:
    """Alarms for every third run."""

    def inspect(self, layer: int, output: Tensor) -> tuple[Tensor, Tensor]:
        return output, torch.arange(len(output)) % 3 == 0


@dataclass(frozen=True)
class Counting(rh.Protection):
    """Watches by `Batched`."""

    def guard(self, workload: rh.Workload) -> Batched:
        return Batched()


def test_broken_protections_do_not() -> None:
    with pytest.raises(AssertionError, match="harden adds no exposure"):
        check_protection(Adding())
    with pytest.raises(AssertionError, match="detected does not depend on which"):
        check_protection(Counting())


@dataclass(frozen=True)
class BrokenSums:
    """Exact sums, but for one thing."""

    wrong: str = ""
    name: str = "broken"

    @property
    def linear(self) -> bool:
        return self.wrong == "linear"

    def sums(self, how, terms, operand: Tensor, given) -> Tensor:
        if self.wrong == "batch":
            operand = operand + len(operand) % 2
        if self.wrong == "part" and given.weight.dim() == 2 and len(operand) == len(given.weight):
            operand = operand + 1
        if self.wrong == "linear":
            operand = torch.floor(operand / 4) * 4
        return how.ordinary(terms, operand, given)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("batch", "sums do not depend on other images"),
        ("part", "single outputs have the sums that all outputs have"),
        ("linear", "linear sums change by products of what changes"),
    ],
)
def test_broken_arithmetic_does_not(wrong: str, message: str) -> None:
    check_arithmetic(BrokenSums())
    with pytest.raises(AssertionError, match=message):
        check_arithmetic(BrokenSums(wrong))


def test_broken_criteria_do_not() -> None:
    with pytest.raises(AssertionError, match="a bool per run"):
        check_criterion(lambda faulty, golden, labels: faulty.argmax(1))
    with pytest.raises(AssertionError, match="judged alike alone and among others"):
        check_criterion(lambda faulty, golden, labels: faulty[:, 0] > faulty[:, 0].nanmedian())


def test_examples_print_what_they_promise(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "own_format.py"), run_name="__main__")
    posit, float8 = capsys.readouterr().out.splitlines()
    assert posit.startswith("posit8")
    assert float8.startswith("fp8-e4m3")


@dataclass(frozen=True)
class Wrong(rh.Multiplier):
    """Exact but for one thing."""

    name: str = "wrong"
    width: int = 8
    signed: bool = False
    how: str = ""

    def formula(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if self.how == "large":
            return np.where((a == 7) & (b == 9), 2**16, a * b)
        return a * b + (a.size > 1 and self.how == "others")

    def table(self) -> np.ndarray:
        found = np.array(super().table())
        found[3, 5] += self.how == "table"
        return found


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("large", "products lie in 0 to 65535: 7 x 9 gives 65536"),
        ("others", "a pair alone has the same product: 0 x 0 gives 0"),
        ("table", "the table has its products: 3 x 5 gives 15"),
    ],
)
def test_broken_multipliers_do_not(how: str, message: str) -> None:
    check_multiplier(Wrong())
    with pytest.raises(AssertionError, match=message):
        check_multiplier(Wrong(how=how))


@dataclass(frozen=True)
class Avoiding(rh.Importance):
    """Hardly ever draws what is exposed most; each fault's weight says so."""

    def proposal(self, space: rh.SiteSpace) -> np.ndarray:
        share = space.probability.copy()
        share[-4:] *= 1e-4
        return share / share.sum()


@dataclass(frozen=True)
class OneCell(Avoiding):
    """Says that all faults weigh alike."""

    def cells(self, asked, tally):
        return rh.Importance().cells(asked, tally)


@dataclass(frozen=True)
class Heavy(rh.Importance):
    """Weights three times what they should be."""

    def draw(self, space, n, rng, score=None, start=0):
        drawn = super().draw(space, n, rng, score, start)
        return replace(drawn, weight=3 * drawn.weight)


def test_samplers_that_lie_are_found() -> None:
    check_sampler(Avoiding())
    for lying, words in (
        (OneCell(), "hold the truth|right on average"),
        (Heavy(), "weights are 1 on average"),
    ):
        with pytest.raises(AssertionError, match=words):
            check_sampler(lying)
