"""The kernel of a table: against loops, and as networks use it.

On a GPU where there is one, else through Triton's interpreter (see conftest).
"""

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.arith.array import Array, Defect
from radhard.arith.elements import elements
from radhard.arith.where import Where
from radhard.network import ondevice

pytest.importorskip("triton", reason="triton is not installed (extra: gpu)")

from radhard.arith import device as kernel

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LOW = rh.multiplier_named("mul8s_1KR3@v1")


def drawn(t, k, n):
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, size, dtype=np.uint8) for size in ((t, k), (k, n)))


@pytest.mark.parametrize(
    ("size", "terms"),
    [((1, 1, 1), 9), ((33, 7, 65), 3), ((70, 40, 37), 99), ((5, 0, 3), 9), ((0, 4, 3), 9)],
)
def test_sums_of_any_table_against_a_triple_loop(monkeypatch, size, terms):
    monkeypatch.setattr(kernel, "_TERMS", terms)
    a, w = drawn(*size)
    table = np.random.default_rng(1).integers(-(2**15), 2**16, (256, 256)).astype(np.int32)
    found = kernel.table_sums(*(torch.from_numpy(part).to(DEVICE) for part in (a, w, table)))
    wanted = np.zeros((len(a), w.shape[1]), np.int64)
    for t, n in np.ndindex(wanted.shape):
        for k in range(len(w)):
            wanted[t, n] += table[w[k, n], a[t, k]]
    assert found.dtype == torch.int64
    assert np.array_equal(found.cpu(), wanted)


def test_what_does_not_fit_is_refused():
    a, w = map(torch.from_numpy, drawn(3, 4, 5))
    table = torch.zeros((256, 256), dtype=torch.int32)
    with pytest.raises(ValueError, match=r"use \(t, k\), \(k, n\) and \(256, 256\)"):
        kernel.table_sums(a, w.T, table)
    with pytest.raises(ValueError, match="put all on one device"):
        kernel.table_sums(a, w, table.to("meta"))


ARRAYS = {
    "healthy": Array(3, 4),
    "one element, stuck": Array(1, 1, defects=(Defect(0, 0, "product", 1, 14),)),
    "one element, stuck operand": Array(1, 1, "os", (Defect(0, 0, "activation", 1, 3),)),
    "some stuck": Array(3, 4, defects=(Defect(0, 0, "product", 1, 14),)),
    "all stuck": Array(1, 2, defects=tuple(Defect(0, c, "product", 1, 9) for c in range(2))),
    "sums stuck": Array(1, 1, defects=(Defect(0, 0, "psum", 1, 3),)),
    "sums that wrap": Array(5, 1, "os", psum_bits=16),
    "passed by": Array(1, 1, bypassed=((0, 0),)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_one_table_says_what_sums_are(name):
    made = elements(ARRAYS[name], LOW)
    a, w = drawn(9, 7, 6)
    where = Where(*(np.arange(size)[None] for size in (9, 6, 7)))
    table = made.one_table(7, moved=False)
    assert (table is not None) == (name in list(ARRAYS)[:3])
    if table is not None:
        wanted = table[w.T[None], a[:, None]].sum(2)
        assert np.array_equal(made.sums(a[None], w.T[None], where)[0], wanted)


@pytest.mark.parametrize("name", ARRAYS)
def test_networks_compute_the_same(monkeypatch, name):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(100, 5)
    )
    work = rh.capture(model, torch.randn(6, 2, 5, 5), torch.arange(6) % 5, rh.INT8)
    chip = work.with_(multiplier=LOW, array=ARRAYS[name])
    wanted = chip.logits(chip.images)
    monkeypatch.setattr(ondevice, "_has_kernel", lambda x: True)
    monkeypatch.setattr(ondevice, "_LEAST", 0)
    calls, real = [], kernel.table_sums
    monkeypatch.setattr(kernel, "table_sums", lambda *given: calls.append(1) or real(*given))
    there = chip.on(DEVICE)
    assert torch.equal(there.logits(there.images).cpu(), wanted)
    assert bool(calls) == (name in list(ARRAYS)[:3])
