"""Arrays with stuck bits: against registers that are simulated edge by edge."""

import os
from dataclasses import replace

import numpy as np
import pytest

import radhard as rh
from oracles.gates import array_multiplier, verilog
from oracles.registers import Registers
from radhard.arith.array import Array, Defect
from radhard.arith.broken import Exact
from radhard.arith.elements import elements
from radhard.arith.multiplier import limits
from radhard.arith.where import Where
from radhard.arith.wide import WideElements

TRIALS = 200 if "RADHARD_EXHAUSTIVE" in os.environ else 12
SITES = ("weight", "activation", "product", "psum")
LOW = rh.multiplier_named("mul8s_1KR3@v1")


def random_defects(rng, array, multiplier, count):
    """Some of any site, bit and value."""
    bits = {"weight": multiplier.width, "activation": multiplier.width}
    bits |= {"product": 2 * multiplier.width, "psum": array.psum_bits}
    found = []
    for _ in range(count):
        site = SITES[rng.integers(len(SITES))]
        place = int(rng.integers(array.rows)), int(rng.integers(array.cols))
        found.append(Defect(*place, site, int(rng.integers(2)), int(rng.integers(bits[site]))))
    return tuple({(d.row, d.col, d.site, d.bit): d for d in found}.values())


def codes(values, width):
    return (values & ((1 << width) - 1)).astype(np.uint8 if width <= 8 else np.int32)


def where(t, n, k):
    return Where(np.arange(t)[None], np.arange(n)[None], np.arange(k)[None])


def compare(rng, array, multiplier, size):
    t, k, n = size
    low, high = limits(multiplier.width, multiplier.signed)
    a, w = rng.integers(low, high + 1, (t, k)), rng.integers(low, high + 1, (k, n))
    if t:
        a[0] = low
    wanted = Registers(array, multiplier)(a, w)
    made = elements(array, multiplier)
    given = codes(a, multiplier.width)[None], codes(w.T, multiplier.width)[None]
    found = made.sums(*given, where(t, n, k))[0]
    np.testing.assert_array_equal(found, wanted)
    for i, m in np.ndindex(t, n):  # one by one
        single = Where(np.array([[i]]), np.array([[m]]), np.arange(k)[None])
        one = made.sums(given[0][:, i : i + 1], given[1][:, m : m + 1], single)
        assert one[0, 0, 0] == wanted[i, m]


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_sums_are_those_of_registers(dataflow, restart, gated):
    rng = np.random.default_rng(0)
    for trial in range(TRIALS):
        multiplier = (Exact(4, signed=True), Exact(4), LOW)[trial % 3]
        array = Array(
            *((2, 3), (3, 2), (3, 3), (1, 1))[trial % 4],
            dataflow,
            restart=restart,
            gated=gated,
            psum_bits=(32, 10)[trial % 2],
        )
        count = (0, 1, 2, 5)[int(rng.integers(4))]
        defects = random_defects(rng, array, multiplier, count)
        if dataflow != "os" and trial % 2:
            array = replace(array, bypassed=((0, 0), (array.rows - 1, array.cols - 1)))
        compare(rng, replace(array, defects=defects), multiplier, (4, 5, 4))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_sums_of_wide_multipliers_are_those_of_registers(dataflow, restart, gated):
    rng = np.random.default_rng(5)
    wide = Exact(16, signed=True), rh.multiplier_named("mul12u_drum:bits=4"), Exact(9)
    for trial in range(TRIALS):
        multiplier = wide[trial % 3]
        array = Array(
            *((2, 3), (3, 2), (3, 3), (1, 1))[trial % 4],
            dataflow,
            restart=restart,
            gated=gated,
            psum_bits=(48, 33)[trial % 2],
        )
        defects = random_defects(rng, array, multiplier, (0, 1, 2, 5)[int(rng.integers(4))])
        if dataflow != "os" and trial % 2:
            array = replace(array, bypassed=((0, 0), (array.rows - 1, array.cols - 1)))
        compare(rng, replace(array, defects=defects), multiplier, (4, 5, 4))


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_formulas_and_tables_give_the_same_sums(dataflow):
    """Of one multiplier of 8 bits, at places and of some terms, in batches."""
    rng = np.random.default_rng(6)
    plain = Array(3, 4, dataflow, psum_bits=18)
    array = replace(plain, defects=random_defects(rng, plain, LOW, 4))
    a, w = (rng.integers(0, 256, size, dtype=np.uint8) for size in ((5, 6, 7), (5, 3, 7)))
    place = Where(
        rng.integers(0, 9, (5, 6)), rng.integers(0, 9, (5, 3)),
        np.sort(rng.permuted(np.tile(np.arange(9), (5, 1)), axis=1)[:, :7], 1),
    )  # fmt: skip
    for kept in (None, rng.random((5, 7)) < 0.6):
        where_ = place._replace(kept=kept)
        found = WideElements(array, LOW).sums(a, w, where_)
        np.testing.assert_array_equal(found, elements(array, LOW).sums(a, w, where_))


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("share", [0, 0.05, 0.5, 1])
def test_matrices_are_sums_one_by_one(dataflow, share):
    rng = np.random.default_rng(1)
    array = Array(5, 7, dataflow)
    defects = random_defects(rng, array, LOW, round(share * 35))
    made = elements(replace(array, defects=defects), LOW)
    t, k, n = 300, 23, 70
    a, w = (rng.integers(0, 256, size, dtype=np.uint8) for size in ((1, t, k), (1, n, k)))
    found = made.sums(a, w, where(t, n, k))
    alone = made.sums(a, w, where(t, n, k)._replace(position=np.arange(t)[None].repeat(2, 0)))
    np.testing.assert_array_equal(found, alone)


TINY = """
module tiny(A, B, O);
  input [1:0] A; input [1:0] B; output [3:0] O; wire p, q, c;
  assign p = A[1] & B[0]; assign q = A[0] & B[1]; assign c = p & q;
  assign O = {A[1] & B[1] & c, (A[1] & B[1]) ^ c, p ^ q, A[0] & B[0]};
endmodule
"""


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_gates_are_stuck_in_their_own_elements(dataflow):
    rng, circuit = np.random.default_rng(2), rh.Netlist(TINY)
    for node in circuit.nodes:
        defects = (Defect(1, 0, "gate", 1, node=node), Defect(0, 1, "gate", 0, node="c"))
        compare(rng, Array(2, 2, dataflow, defects), circuit, (3, 5, 3))


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_gates_of_wide_multipliers_are_stuck(dataflow):
    rng, circuit = np.random.default_rng(7), rh.Netlist(verilog(array_multiplier(9), 9))
    for node in rng.choice(circuit.nodes, 4):
        defects = (Defect(1, 0, "gate", 1, node=node), Defect(0, 1, "gate", 0, node="n9"))
        compare(rng, Array(2, 2, dataflow, defects, psum_bits=24), circuit, (3, 4, 3))


def test_what_an_array_can_not_be_is_refused():
    for wrong, words in (
        (lambda: Array(0, 4), "at least 1 x 1"),
        (lambda: Array(2, 2, "rs"), "ws, os or is"),
        (lambda: Array(2, 2, defects=(Defect(2, 0, "psum", 0),)), "outside an array of 2 x 2"),
        (lambda: Array(2, 2, psum_bits=60), "use 8 to 48"),
        (lambda: Defect(0, 0, "sum", 0), "site 'sum'"),
        (lambda: Defect(0, 0, "psum", 2), "stuck at 0 or 1"),
        (lambda: Defect(0, 0, "gate", 1), "have a node"),
        (lambda: Array(2, 2, bypassed=((0, 2),)), "outside an array"),
        (lambda: Array(2, 2, "os", bypassed=((0, 1),)), "sums stay"),
        (lambda: elements(Array(defects=(Defect(0, 0, "product", 1, 16),)), LOW), "has 16 bits"),
        (lambda: elements(Array(defects=(Defect(0, 0, "gate", 1, node="c"),)), LOW), "no netlist"),
        (lambda: elements(Array(), Exact(16)), "do not hold products .* use psum_bits of 33 to 48"),
        (lambda: elements(Array(psum_bits=48), Exact(12)).kinds, "retuning needs"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


def test_kinds_of_elements_tell_their_products():
    rng = np.random.default_rng(3)
    plain = Array(3, 4, "ws")
    array = replace(plain, defects=random_defects(rng, plain, LOW, 6))
    made = elements(array, LOW)
    kind = made.kinds[0]
    oracle = Registers(array, LOW)
    every = np.arange(256).astype(np.int8)
    for row, col in np.ndindex(3, 4):
        for a, w in rng.integers(0, 256, (20, 2)):
            held_w, held_a = int(every[w]), int(every[a])
            for above in range(row + 1):
                held_w = oracle.stuck("weight", above, col, held_w)
            for before in range(col + 1):
                held_a = oracle.stuck("activation", row, before, held_a)
            assert made.products(kind[row, col])[w, a] == oracle.product(row, col, held_a, held_w)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_terms_and_channels_have_places(dataflow, gated):
    rng = np.random.default_rng(4)
    for _ in range(8):
        plain = Array(3, 4, dataflow, gated=gated, psum_bits=12)
        array = replace(plain, defects=random_defects(rng, plain, LOW, 3))
        t, k, n = 4, 5, 3
        a, w = rng.integers(-128, 128, (t, k)), rng.integers(-128, 128, (k, n))
        terms, columns = rng.permutation(6)[:k], rng.permutation(4)[:n]
        if gated and dataflow != "os":  # rows between have no work
            terms = rng.permutation(k)
        spread = np.zeros((t, 6), np.int64), np.zeros((6, 4), np.int64)
        spread[0][:, terms] = a
        spread[1][np.ix_(terms, columns)] = w
        size = terms.max() + 1
        wanted = Registers(array, LOW)(spread[0][:, :size], spread[1][:size])[:, columns]
        place = Where(np.arange(t)[None], columns[None], terms[None])
        found = elements(array, LOW).sums(codes(a, 8)[None], codes(w.T, 8)[None], place)[0]
        np.testing.assert_array_equal(found, wanted)
        for i, m in np.ndindex(t, n):
            single = place._replace(position=np.array([[i]]), column=columns[None, m : m + 1])
            one = elements(array, LOW).sums(
                codes(a, 8)[None, i : i + 1], codes(w.T, 8)[None, m : m + 1], single
            )
            assert one[0, 0, 0] == wanted[i, m]
