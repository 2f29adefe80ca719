"""Thresholds of a machine: kept, read, and without any effect on results."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from oracles import gemm as loop
from radhard.arith import gemm
from radhard.arith.cell import Cells
from radhard.arith.thresholds import Thresholds, keep, kept_at, thresholds, usual

FAR = 1 << 30
#: Such that each road is taken for any size, and the usual ones.
EXTREME = {
    "usual": usual(),
    "one by one": Thresholds(small=FAR),
    "row by row": Thresholds(0, FAR, FAR, FAR, FAR, FAR, 0),
    "expanded": Thresholds(0, FAR, FAR, 0, 0, 0, 0),
    "permuted": Thresholds(0, FAR, 0, FAR, FAR, FAR, FAR),
    "floats": Thresholds(0, 0, FAR, FAR, FAR, FAR, 0, 1.0, 1.0),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, and nothing read so far."""
    monkeypatch.setenv("RADHARD_CACHE", str(tmp_path / "cache"))
    thresholds.cache_clear()
    yield tmp_path / "cache"
    thresholds.cache_clear()


@pytest.mark.parametrize("name", EXTREME)
@pytest.mark.parametrize("struck", [0, 0.1])
@pytest.mark.parametrize("exact", [False, True])
def test_no_result_depends_on_them(name, struck, exact):
    rng = np.random.default_rng(0)
    every = np.arange(256).astype(np.int8).astype(np.int32)
    table = np.multiply.outer(every, every) if exact else rng.integers(-9999, 9999, (256, 256))
    hit = rng.random((5, 7)) < struck
    product = np.stack([np.where(hit, ~256, -1), np.where(hit, 256, 0)]).astype(np.int32)
    operand, psum = np.zeros((2, 5, 7), np.uint8), np.zeros((2, 5, 7), np.int64)
    operand[0], psum[0] = 255, -1
    cells = Cells(
        table[None].astype(np.int32), np.zeros((5, 7), np.int64), operand, product, psum,
        np.array([16, 32, 0]),
    )  # fmt: skip
    a, w = (rng.integers(0, 256, shape, np.uint8) for shape in ((90, 33), (33, 40)))
    start = rng.integers(-9, 9, 40)
    keep(EXTREME[name])
    assert thresholds() == EXTREME[name]
    found = gemm.matrix_sums(a, w, cells, start, 0)
    assert np.array_equal(found, loop.matrix_sums(a, w, cells, start, 0))


def test_roads_are_those_that_they_say(monkeypatch):
    taken = []
    for road in ("one_by_one", "row_by_row", "expanded", "permuted", "factored"):
        real = getattr(gemm, road)
        monkeypatch.setattr(
            gemm, road, lambda *given, road=road, real=real: taken.append(road) or real(*given)
        )
    monkeypatch.setattr(gemm, "permutes", lambda: False)
    every = np.arange(256).astype(np.int8).astype(np.int32)
    zero = np.zeros((2, 1, 1), np.int64) - np.array([1, 0]).reshape(2, 1, 1)
    cells = Cells(
        np.multiply.outer(every, every)[None], np.zeros((1, 1), np.int64), zero.astype(np.uint8),
        zero.astype(np.int32), zero, np.array([16, 32, 0]),
    )  # fmt: skip
    a, w = np.ones((4, 9), np.uint8), np.ones((9, 4), np.uint8)
    for name in ("one by one", "row by row", "expanded", "floats"):
        keep(EXTREME[name])
        thresholds.cache_clear()
        gemm.matrix_sums(a, w, cells, np.zeros(4, np.int64), 0)
    assert taken == ["one_by_one", "row_by_row", "expanded", "factored"]


def test_files_are_read_once_and_only_if_they_hold_thresholds(cache):
    assert thresholds() == usual()
    assert not cache.exists()
    own = replace(usual(), floats=7)
    path = keep(own)
    assert path == kept_at()
    assert json.loads(path.read_text()) == asdict(own)
    assert thresholds() == usual()
    for wrong in ("{", "[]", '{"floats": 1.5}', '{"floats": -1}', '{"rows": 1}', '{"small": "1"}'):
        thresholds.cache_clear()
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"gemm-.*json holds no thresholds.*--calibrate"):
            thresholds()
