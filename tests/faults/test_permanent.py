"""Permanent faults: how they are written, and which chips they give."""

import numpy as np
import pytest
from scipy.stats import chisquare

import radhard as rh

TINY = (
    "module tiny(A, B, O); input [1:0] A; input [1:0] B; output [3:0] O; "
    "assign O = {1'b0, A[1] & B[1], 1'b0, A[0] & B[0]}; endmodule"
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("product sa1 bit=12 rate=0.01", rh.Permanent("product", 1, 12, 0.01)),
        ("weight rate=0.001", rh.Permanent("weight", rate=0.001)),
        ("single", rh.Permanent()),
        ("psum sa0 count=3", rh.Permanent("psum", 0, count=3)),
        ("gate node=O[2] sa0", rh.Permanent("gate", 0, node="O[2]")),
    ],
)
def test_words_are_read(text, wanted):
    found = rh.Permanent.parsed(text)
    assert found == wanted
    assert rh.Permanent.parsed(found.name) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("product stuck bit=3", "'stuck' means nothing here"),
        ("product bit=x", "'bit=x' means nothing"),
        ("product weight", "says anew what another word"),
        ("single count=3", "'count=3' says anew"),
        ("product rate=0.1 count=3", "choose rate or count"),
        ("product rate=1.5", "use faulty elements of all, 0 to 1"),
        ("count=0", "use 1 or more"),
        ("bit=3", "needs a site with bits"),
        ("", "say nothing"),
        ("product bit=-1", "bits count from 0"),
    ],
)
def test_words_that_mean_nothing_are_refused(text, words):
    with pytest.raises(ValueError, match=words):
        rh.Permanent.parsed(text)


def test_rates_are_those_of_elements():
    array = rh.Array(256, 256)
    for rate, count in ((0.00012, 8), (0.00006, 4), (0.5, 32768), (0.0, 0)):
        drawn = rh.Permanent("product", 0, 3, rate).drawn(array, chip=1)
        assert drawn.faulty == len(drawn.defects) == count


def test_chips_depend_on_seed_and_number_alone():
    array, faults = rh.Array(16, 16), rh.Permanent(rate=0.1)
    one = faults.drawn(array, seed=3, chip=5)
    assert one == faults.drawn(array, seed=3, chip=5)
    assert one != faults.drawn(array, seed=3, chip=6)
    assert one != faults.drawn(array, seed=4, chip=5)


def test_places_and_kinds_are_as_likely():
    array, faults = rh.Array(4, 5, psum_bits=8), rh.Permanent(count=2)
    drawn = [one for chip in range(4000) for one in faults.drawn(array, chip=chip).defects]
    places = np.bincount([one.row * 5 + one.col for one in drawn], minlength=20)
    names = [(one.site, one.bit, one.value) for one in drawn]
    kinds = np.unique(names, axis=0, return_counts=True)[1]
    assert len(kinds) == 2 * (8 + 8 + 16 + 8) == faults.kinds(array)
    assert chisquare(places).pvalue > 1e-6
    assert chisquare(kinds).pvalue > 1e-6


def test_every_single_fault_is_there_once():
    array = rh.Array(2, 3)
    every = [one.defects[0] for one in rh.Permanent("weight").every(array)]
    assert len(set(every)) == len(every) == 2 * 3 * 8 * 2


def test_gates_need_a_netlist():
    array, circuit = rh.Array(2, 2), rh.Netlist(TINY)
    drawn = rh.Permanent("gate", rate=1.0).drawn(array, circuit)
    assert {one.node for one in drawn.defects} <= set(circuit.nodes)
    with pytest.raises(ValueError, match="no netlist"):
        rh.Permanent("gate").drawn(array)
    with pytest.raises(ValueError, match="has no bit 40"):
        rh.Permanent("product", bit=40).drawn(array)
    with pytest.raises(ValueError, match="5 faulty elements of 4"):
        rh.Permanent(count=5).drawn(array)
