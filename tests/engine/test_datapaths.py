"""Arithmetic of one's own: against loops over products, and fast runs against whole ones."""

import os
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from conftest import seeded
from engine.test_oracle import random_corruptions, relative, strike
from oracles.datapath import logits
from radhard.engine.noisy import with_wrong_weights
from radhard.engine.passage import enterable
from radhard.faults.corruption import OPERANDS, Corruption
from radhard.foresight.proof import Proofs
from radhard.network.arithmetic import Arithmetic
from radhard.network.terms import Place

FORMATS = {"int8": rh.INT8, "fixed16": rh.FIXED16, "fp16": rh.FLOAT16, "fp32": rh.FLOAT32}
#: Largest relative difference where sums are floats, in two orders and rounded.
TOLERANCE = {"fp16": 2e-2, "fp32": 1e-4}
EXHAUSTIVE = "RADHARD_EXHAUSTIVE" in os.environ
#: Formats that every run tries, and faults that fast and whole runs are compared on.
NAMES = list(FORMATS) if EXHAUSTIVE else ["int8", "fp16"]
FAULTS = 10_000 if EXHAUSTIVE else 200


@dataclass(frozen=True)
class Short:
    """Cuts operands: integers by four bits, reals to three bits of mantissa."""

    exact: bool
    linear: bool = False
    name: str = "short"

    def cut(self, x: Tensor) -> Tensor:
        if self.exact:
            return torch.floor(x / 16) * 16
        return (x.float().view(torch.int32) & ~0xFFFFF).view(torch.float32).to(x.dtype)

    def sums(
        self, how: rh.Arithmetic, terms: rh.Terms, operand: Tensor, given: rh.Parameters
    ) -> Tensor:
        return how.ordinary(terms, self.cut(operand), given)

    def products(self, x: Tensor, w: Tensor, m: int, p: int) -> Tensor:
        return self.cut(x) * w


@dataclass(frozen=True)
class Stuck(Short):
    """Processing elements, some of which give wrong products, of zeros too.

    Output channels lie along the rows of three by four of them, terms along the columns.
    """

    name: str = "stuck"

    def multiply(self, x: Tensor, w: Tensor, place: Place) -> Tensor:
        faulty = (place.channel % 3 == 1) & ((place.term + place.position) % 4 == 2)
        if self.exact:
            stuck = ((x * w).to(torch.int64) | 4096).to(x.dtype)
        else:
            stuck = self.cut(x * w) + 0.125
        return torch.where(faulty, stuck, x * w)

    def sums(
        self, how: rh.Arithmetic, terms: rh.Terms, operand: Tensor, given: rh.Parameters
    ) -> Tensor:
        return terms.summed(self.multiply, operand, given.weight, how.bias(given))

    def products(self, x: Tensor, w: Tensor, m: int, p: int) -> Tensor:
        return self.multiply(x, w, Place(torch.tensor(m), torch.tensor(p), torch.arange(len(x))))


KINDS: tuple[type[Short], ...] = (Short, Stuck)


@pytest.fixture(scope="module")
def chain() -> nn.Sequential:
    """Padding, stride, groups and dilation; dense layers."""
    return seeded(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False),
            nn.ReLU(),
            nn.Conv2d(6, 4, 2, dilation=2),
            nn.Flatten(),
            nn.Linear(16, 6),
            nn.ReLU(),
            nn.Linear(6, 5),
        ),
        3,
    )


@cache
def captured(model: nn.Module, images: Tensor, labels: Tensor) -> rh.Workload:
    return rh.capture(model, images, labels)


def workload(model: nn.Module, images: Tensor, labels: Tensor, name: str, kind) -> rh.Workload:
    own = kind(name not in TOLERANCE)
    return captured(model, images, labels).with_(format=FORMATS[name], arithmetic=own)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_runs_are_those_of_loops(chain, images, labels, name: str, kind) -> None:
    work = workload(chain, images, labels, name, kind)
    trace, products = rh.record(work), kind(name not in TOLERANCE).products
    assert enterable(trace) == {layer.step for layer in work.layers}
    exact = work.with_(arithmetic={})
    assert not torch.equal(rh.record(exact).logits, trace.logits)
    for image in range(2):
        expected = logits(chain, work, products, image, None)
        assert relative(trace.logits[image], expected) <= TOLERANCE.get(name, 0.0)
    for operand in OPERANDS:
        corruption = random_corruptions(work, operand, 10, seed=len(name))
        run = rh.resume(trace, corruption)
        for k in range(len(corruption)):
            given = int(corruption.image[k]), strike(corruption, k)
            expected = logits(chain, work, products, *given)
            assert relative(run.logits[k], expected) <= TOLERANCE.get(name, 0.0), given


class Recurrent(nn.Module):
    """Rows of an image, one after the other; weights are read at each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(16, 6, batch_first=True)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        rows, _ = self.cell(x.transpose(1, 2).flatten(2))
        return self.head(rows[:, -1])


@cache
def recurrent() -> nn.Module:
    return seeded(Recurrent(), 2)


def drawn(work: rh.Workload, chip: rh.Accelerator, n: int) -> Corruption:
    space = chip.sites(work)
    faults = rh.Uniform().draw(space, n, np.random.default_rng(5))
    return chip.corrupt(work, space, faults)


CHIPS = {
    "software": rh.chips.SOFTWARE,
    "eyeriss": rh.chips.EYERISS,
    "array": rh.chips.chip_named("clocked:4x4:ws"),
}


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["residual", "chain"])
def test_fast_runs_are_whole_runs(
    request, images, labels, name: str, kind, model: str, chip: str
) -> None:
    work = workload(request.getfixturevalue(model), images, labels, name, kind)
    _alike(work, drawn(work, CHIPS[chip], FAULTS), name)


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")  # of torch.export
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_layers(images, labels, name: str, kind) -> None:
    work = workload(recurrent(), images, labels, name, kind)
    _alike(work, drawn(work, rh.chips.SOFTWARE, FAULTS // 4), name)


def _alike(work: rh.Workload, corruption: Corruption, name: str) -> None:
    trace = rh.record(work)
    fast, whole = (rh.resume(trace, corruption, patches=way) for way in (True, False))
    if name not in TOLERANCE:
        assert torch.equal(fast.logits, whole.logits)
    else:
        assert max(map(relative, fast.logits, whole.logits)) <= TOLERANCE[name]
    assert int((whole.logits != whole.golden).any(1).sum()) > len(corruption) // 50
    assert torch.equal(fast.struck.code, whole.struck.code)


class Subclass(Arithmetic):
    """As `Short`, without a datapath; may say that it is linear."""

    linear: ClassVar[bool] = False

    def sums(self, product, operand: Tensor, given) -> Tensor:
        return super().sums(product, Short(self.exact).cut(operand), given)


class Liar(Subclass):
    linear: ClassVar[bool] = True


def with_class(work: rh.Workload, kind: type[Arithmetic], layers: range) -> rh.Workload:
    own = [
        kind(**{part.name: getattr(how, part.name) for part in fields(how)})
        if number in layers
        else how
        for number, how in enumerate(work.arithmetic)
    ]
    return replace(work, arithmetic=tuple(own), learnt={})


@pytest.mark.parametrize("name", NAMES)
def test_subclasses_that_say_so_are_fast_and_right(chain, images, labels, name: str) -> None:
    work = with_class(
        captured(chain, images, labels).with_(format=FORMATS[name]), Subclass, range(9)
    )
    trace = rh.record(work)
    assert len(enterable(trace)) == 5
    _alike(work, drawn(work, rh.chips.SOFTWARE, 400), name)
    with pytest.raises(ValueError, match="computes by a Subclass"):
        rh.Campaign(work)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layers", [range(9), range(4, 5), range(1, 2)])
def test_who_lies_about_it_is_found_out(chain, images, labels, name: str, layers: range) -> None:
    """The very last layer too, where flips of high bits alone show nothing."""
    work = with_class(captured(chain, images, labels).with_(format=FORMATS[name]), Liar, layers)
    corruption = drawn(work, rh.chips.SOFTWARE, 400)
    with pytest.warns(RuntimeWarning, match="is not linear, though it says so") as found:
        fast = rh.resume(rh.record(work), corruption)
    wrong = {work.layers[k].name for k in layers if k < 5}
    assert {str(one.message).split(" layer ")[1].split()[0] for one in found} == wrong
    honest = with_class(replace(work, learnt={}), Subclass, layers)
    whole = rh.resume(rh.record(honest), corruption, patches=False)
    assert max(map(relative, fast.logits, whole.logits)) <= TOLERANCE.get(name, 0.0)


@dataclass(frozen=True)
class Fickle(Short):
    """Gives single outputs other sums than all of them together."""

    name: str = "fickle"

    def sums(self, how, terms, operand: Tensor, given) -> Tensor:
        whole = operand.dim() == 4 and operand.shape[1] > 1
        return how.ordinary(terms, self.cut(operand) if whole else operand, given)


def test_who_gives_parts_other_sums_is_found_out(chain, images, labels) -> None:
    own = {"0": Fickle(True)}
    work = rh.capture(chain, images, labels, format=rh.INT8, arithmetic=own)
    with pytest.warns(RuntimeWarning, match="layer 0 gives some outputs otherwise"):
        enterable(rh.record(work))


@dataclass(frozen=True)
class Plain(Short):
    """Exact products, one by one."""

    linear: bool = True
    name: str = "plain"

    def sums(self, how, terms, operand: Tensor, given) -> Tensor:
        return terms.summed(lambda x, w, _: x * w, operand, given.weight, how.bias(given))


@pytest.mark.parametrize("name", NAMES)
def test_exact_products_one_by_one_are_exact_arithmetic(residual, images, labels, name) -> None:
    exact = captured(residual, images, labels).with_(format=FORMATS[name])
    work = exact.with_(arithmetic=Plain(True))
    corruption = drawn(work, rh.chips.SOFTWARE, 300)
    own, plain = (rh.resume(rh.record(one), corruption).logits for one in (work, exact))
    assert max(map(relative, own, plain)) <= TOLERANCE.get(name, 1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [*KINDS, "liar"])
@pytest.mark.filterwarnings("ignore:.*is not linear, though it says so")
def test_proofs_hold(chain, images, labels, name: str, kind) -> None:
    if kind == "liar":
        exact = captured(chain, images, labels).with_(format=FORMATS[name])
        work = with_class(exact, Liar, range(9))
    else:
        work = workload(chain, images, labels, name, kind)
    trace = rh.record(work)
    for operand in OPERANDS:
        corruption = random_corruptions(work, operand, 400, seed=2)
        level, run = Proofs.of(work).level(trace, corruption), rh.resume(trace, corruption)
        same = (run.logits == run.golden).all(1).numpy()
        assert same[level == 2].all()
        assert (run.logits.argmax(1) == run.golden.argmax(1)).numpy()[level == 1].all()


@pytest.mark.parametrize("name", ["int8", "fixed16"])
def test_other_devices(chain, images, labels, name: str, device: torch.device) -> None:
    for kind in KINDS:
        work = workload(chain, images, labels, name, kind)
        corruption = drawn(work, rh.chips.EYERISS, 60)
        here = rh.resume(rh.record(work), corruption).logits
        there = rh.resume(rh.record(work.on(device)), corruption, patches=False).logits
        assert torch.equal(here, there)


def test_rounding_at_each_step_is_fast_too(chain, images, labels) -> None:
    """Sums that saturate are not linear either; `tests/network/test_stepwise.py` has its loops."""
    part = nn.Sequential(*chain[:4], nn.Flatten(), nn.Linear(96, 5))
    formats = replace(rh.Formats.of(rh.FIXED16_10), rounding="each-step")
    work = rh.capture(seeded(part, 5), images, labels, format=formats)
    assert len(enterable(rh.record(work))) == 3
    _alike(work, drawn(work, rh.chips.SOFTWARE, 300), "fixed16")


def test_errors_at_a_rate_and_modules_are_on_it(chain, images, labels) -> None:
    work = workload(chain, images, labels, "int8", Stuck)
    wrong, model = with_wrong_weights(work, rh.WeightErrors(1e-2), (0, 0)), deepcopy(chain)
    for number, layer in enumerate(work.layers):
        model.get_submodule(layer.name).weight.data = wrong.weight(number)
    for image in range(2):
        expected = logits(model, wrong, Stuck(True).products, image, None)
        assert torch.equal(wrong.logits(images)[image], expected)
    module = rh.harden(work, [rh.RangeRestriction()])
    assert torch.equal(module(images), work.logits(images))
    other = rh.harden(work, [rh.RangeRestriction()])
    state = {k: v * 0.5 for k, v in module.state_dict().items() if k.startswith("constant")}
    other.load_state_dict({**module.state_dict(), **state})
    assert not torch.equal(other(images), module(images))


def test_constants_and_formats_keep_it(chain, images, labels) -> None:
    work = workload(chain, images, labels, "int8", Stuck)
    assert set(work.datapaths) == {layer.name for layer in work.layers}
    for other in (work.with_(format=rh.FIXED16), work.with_(images[:2], labels[:2]),
                  work.with_constants({}), work.with_(nan="zero")):  # fmt: skip
        assert other.datapaths == work.datapaths
        assert all(how.own == Stuck(True) for how in other.arithmetic)
    assert torch.equal(work.with_constants({}).logits(images), work.logits(images))


REFUSED: tuple[tuple[Callable[[], object], str], ...] = (
    (lambda: {"nobody": Short(True)}, "no layer of that name; there are 0, 2, 4, 6, 8"),
    (lambda: Short, "use an object with name, linear and sums"),
    (lambda: {"0": 3}, "use an object with name, linear and sums"),
)


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_can_t_be_is_refused(chain, images, labels, given, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        rh.capture(chain, images, labels, format=rh.INT8, arithmetic=given())


def test_layers_and_formats_that_can_t_have_it(attention, chain, images, labels) -> None:
    with pytest.raises(ValueError, match=r"attention.* can't have arithmetic of its own"):
        rh.capture(attention, images, labels, arithmetic=Short(False))
    formats = replace(rh.Formats.of(rh.FIXED16_10), rounding="each-step")
    with pytest.raises(ValueError, match="rounding at each step is arithmetic of its own"):
        rh.capture(chain, images, labels, format=formats, arithmetic=Short(True))


class Mixing(nn.Module):
    """A linear layer on several vectors, and a product of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(64, 8), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x.flatten(2))
        return self.head(torch.matmul(y, y.transpose(1, 2)).flatten(1))


@pytest.mark.parametrize("name", NAMES)
def test_products_of_matrices(images, labels, name: str) -> None:
    exact = rh.capture(seeded(Mixing(), 1), images, labels, format=FORMATS[name])
    found = exact.with_(arithmetic=Plain(True)).logits(images)
    assert relative(found, exact.logits(images)) <= TOLERANCE.get(name, 1e-6)
    for kind in KINDS:
        work = exact.with_(arithmetic=kind(name not in TOLERANCE))
        _alike(work, drawn(work, rh.chips.SOFTWARE, 200), name)


def test_some_layers_alone(chain, images, labels) -> None:
    """The others keep the fast road of differences, and their results."""
    exact = rh.capture(chain, images, labels, format=rh.INT8)
    work = exact.with_(arithmetic={"8": Stuck(True)})
    assert [how.linear for how in work.arithmetic] == [True, True, True, True, False]
    assert work.computing == "int8+stuck"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _alike(work, drawn(work, rh.chips.SOFTWARE, 400), "int8")
