"""The numpy twin of the arrays: products, flips, and what the closed forms say of them."""

from dataclasses import replace

import numpy as np
import pytest

from oracles.systolic import Walk
from radhard.accel.matrices import sizes
from radhard.rtl.cycle import Twin
from radhard.rtl.design import ArrayDesign
from radhard.rtl.flip import Flips
from radhard.rtl.schedule import Operands, schedule

DATAFLOWS = ["ws", "os", "is"]
PROTECTIONS = ["none", "clamp", "zero", "mean", "msb", "psum", "voted", "tmr"]


def affine(design: ArrayDesign, free: int, a: tuple, w: tuple) -> Operands:
    """A[m, k] and W[k, n] = (x first + y second + z) modulo 2^width, signed."""
    m, k, n = sizes(design, free)
    found = []
    for value, shape, (x, y, z) in (("a", (m, k), a), ("w", (k, n), w)):
        width = design.widths[value]
        first, second = np.indices(shape)
        found.append((x * first + y * second + z) % (1 << width) - (1 << (width - 1)))
    return Operands(found[0][None], found[1][None])


def failing(design: ArrayDesign, operands: Operands, flips: Flips) -> dict[str, tuple[int, ...]]:
    """Of each register: flips, those that change a result, wrong results, sum of the largest."""
    twin = Twin(design, operands)
    off = np.abs(twin.run(flips) - twin.run()).reshape(len(flips), -1)
    found = {}
    for number, one in enumerate(design.registers):
        of_it = off[flips.register == number]
        figures = (len(of_it), of_it.any(1).sum(), (of_it > 0).sum(), of_it.max(1).sum())
        found[one.name] = tuple(int(figure) for figure in figures)
    return found


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("protect", PROTECTIONS)
def test_results_are_the_products(dataflow: str, protect: str) -> None:
    for rows, cols, free in ((1, 1, 3), (2, 3, 1), (4, 2, 5), (3, 5, 9)):
        design = ArrayDesign(rows, cols, 5, 3, 12, dataflow=dataflow, protect=protect)
        operands = Operands.drawn(design, tiles=3, free=free, seed=rows)
        assert (Twin(design, operands).run()[0] == operands.a @ operands.w).all()


def test_sums_wrap_round_at_their_width() -> None:
    design = ArrayDesign(6, 2, 4, psum_bits=8)
    operands = Operands(np.full((1, 3, 6), -8), np.full((1, 6, 2), -8))
    assert set(Twin(design, operands).run().ravel().tolist()) == {-128}


@pytest.mark.parametrize("protect", PROTECTIONS)
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_flips_do_what_they_do_register_by_register(dataflow: str, protect: str) -> None:
    design = ArrayDesign(3, 2, 4, 3, 9, dataflow=dataflow, protect=protect)
    operands = Operands.drawn(design, tiles=2, free=3, seed=5)
    if design.checks:
        operands = Operands(operands.a, operands.w, (-20, 12, 5)[: len(design.bounds)])
    flips = Flips.drawn(design, schedule(design, operands).cycles, n=250, seed=7)
    found = Twin(design, operands).run(flips)
    for k, line in enumerate(flips.lines(design)):
        assert (found[k] == Walk(design, operands, line).run()).all(), line


def test_every_flip_of_a_small_tile() -> None:
    design = ArrayDesign(2, 3, 4, psum_bits=10)
    operands = affine(design, 4, (5, 3, 1), (7, 4, 2))
    assert (operands.a @ operands.w).sum() == 86
    assert failing(design, operands, Flips.every(design, 10)) == {
        "a": (240, 64, 96, 1080),
        "w": (240, 144, 432, 3645),
        "p": (600, 240, 240, 24552),
    }


@pytest.mark.parametrize(
    ("dataflow", "total", "cycles", "share"),
    [
        ("ws", 186_368, 87, {"a": 3584 / 5568, "w": 4768 / 5568, "p": 4096 / 5568}),
        ("os", -162_816, 86, {"a": 3584 / 5504, "w": 3584 / 5504, "p": 5280 / 5504}),
        ("is", 63_488, 87, {"a": 4768 / 5568, "w": 3584 / 5568, "p": 4096 / 5568}),
    ],
)
def test_shares_of_an_8_by_8_tile_are_the_closed_forms(
    dataflow: str, total: int, cycles: int, share: dict
) -> None:
    design = ArrayDesign(dataflow=dataflow)
    operands = affine(design, 64, (37, 101, 11), (59, 83, 7))
    assert (operands.a @ operands.w).sum() == total
    assert schedule(design, operands).cycles == cycles
    flips = Flips.every(design, cycles)
    found = failing(design, operands, flips[np.flatnonzero(flips.bit == 5)])
    assert {name: row[1] / row[0] for name, row in found.items()} == share


@pytest.mark.parametrize("protect", ["voted", "tmr"])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_no_single_flip_passes_a_vote(dataflow: str, protect: str) -> None:
    design = ArrayDesign(2, 2, 4, dataflow=dataflow, protect=protect)
    operands = Operands.drawn(design, tiles=2, free=3, seed=0)
    flips = Flips.every(design, schedule(design, operands).cycles)
    twin = Twin(design, operands)
    assert (twin.run(flips) == twin.run()).all()
    plain = ArrayDesign(2, 2, 4, dataflow=dataflow)
    assert design.state_bits == 3 * plain.state_bits


def test_outputs_keep_to_their_bounds() -> None:
    plain = ArrayDesign(3, 3)
    operands = Operands.drawn(plain, tiles=1, free=20, seed=2)
    exact, bounded = operands.a @ operands.w, Operands(operands.a, operands.w, (-9000, 4000))
    clamp, zero = ArrayDesign(3, 3, protect="clamp"), ArrayDesign(3, 3, protect="zero")
    assert (Twin(clamp, bounded).run()[0] == exact.clip(-9000, 4000)).all()
    inside = (exact >= -9000) & (exact <= 4000)
    assert (Twin(zero, bounded).run()[0] == exact * inside).all()
    assert 0 < inside.mean() < 1
    other, bounded = ArrayDesign(3, 3, protect="mean"), replace(bounded, bounds=(-9000, 4000, -77))
    assert (Twin(other, bounded).run()[0] == np.where(inside, exact, -77)).all()
    with pytest.raises(ValueError, match="zero takes low, high"):
        Twin(zero, bounded).run()


def test_flips_are_read_as_they_are_written() -> None:
    design = ArrayDesign(3, 4, protect="psum")
    flips = Flips.drawn(design, 20, n=50, seed=3)
    lines = list(flips.lines(design))
    assert list(Flips.read(design, lines).lines(design)) == lines
    every = list(Flips.every(design, 2).lines(design))
    assert len(set(every)) == len(every) == 2 * design.state_bits


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rows": 0}, "0 x 8"),
        ({"bits": 17}, "17 and weights of 17"),
        ({"psum_bits": 12}, "12 bits can't be: use 16"),
        ({"dataflow": "rs"}, "'rs' can't be: use one of os, ws, is"),
        ({"protect": "hope"}, "'hope' can't be: use one of none"),
    ],
)
def test_designs_that_cannot_be(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArrayDesign(**given)


def test_wrong_use_is_refused() -> None:
    design = ArrayDesign(2, 3)
    operands = Operands.drawn(design, 1, 4, 0)
    with pytest.raises(ValueError, match="K = 2 and N = 3"):
        Twin(design, Operands(operands.a, operands.w[:, :, :2])).run()
    with pytest.raises(ValueError, match="8 bits hold -128 to 127"):
        Twin(design, Operands(operands.a + 200, operands.w)).run()
    with pytest.raises(ValueError, match="has no bounds"):
        Twin(design, Operands(operands.a, operands.w, (0, 1))).run()
    with pytest.raises(ValueError, match="is not in ws-2x3"):
        Twin(design, operands).run(Flips.read(design, ["a[1,2].8@0"]))
    with pytest.raises(ValueError, match="one of a, w, p"):
        Flips.read(design, ["q[0,0].0@0"])
    with pytest.raises(ValueError, match="no register 'q': use one of a, w, p"):
        design.register("q")
