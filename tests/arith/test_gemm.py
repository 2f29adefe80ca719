"""Every road to sums of products equals the loop over terms, bit for bit."""

import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

import radhard as rh
from oracles import gemm as loop
from radhard.arith import gemm
from radhard.arith.cell import Cells, rows_of
from radhard.arith.expansion import expanded
from radhard.arith.factor import terms_of
from radhard.arith.lookup import cell_by_cell, one_by_one, row_by_row
from radhard.arith.multipliers import multipliers
from radhard.arith.permute import permuted, permutes


@dataclass(frozen=True)
class Case:
    t: int = 70
    k: int = 40
    n: int = 37
    bits: int = 16
    rows: int = 7
    cols: int = 5
    products: float = 0.0
    operands: float = 0.0
    sums: float = 0.0
    sum_bits: int = 32
    tables: int = 1
    restart: int = 0
    top: int = 255
    extreme: bool = False

    def cells(self) -> Cells:
        rng = np.random.default_rng(3)
        shape, size = (self.rows, self.cols), 2 ** abs(self.bits)
        low = -size // 2 if self.bits > 0 else 0
        tables = rng.integers(low, low + size, (self.tables, 256, 256))
        if self.extreme:
            tables = rng.choice([low, low + size - 1], tables.shape, p=[0.05, 0.95])
        which = rng.integers(0, self.tables, shape)
        masks = [
            struck(rng, shape, share, bits).astype(kind)
            for share, bits, kind in (
                (self.operands, 8, np.uint8),
                (self.products, abs(self.bits), np.int32),
                (self.sums, self.sum_bits, np.int64),
            )
        ]
        bits = np.array([self.bits, self.sum_bits, self.sums > 0], np.int64)
        return Cells(tables.astype(np.int32), which, *masks, bits)

    def codes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(4)
        a = rng.integers(0, self.top + 1, (self.t, self.k)).astype(np.uint8)
        w = rng.integers(0, 256, (self.k, self.n)).astype(np.uint8)
        if self.extreme:
            a, w = (rng.choice(np.array([0, 127, 128, 255], np.uint8), x.shape) for x in (a, w))
        return a, w, rng.integers(-90, 90, self.n) if not self.sums else np.zeros(self.n, np.int64)


def struck(rng, shape, share, bits):
    """Bits kept and set, of a share of the cells one stuck at 0 or 1."""
    hit, bit = rng.random(shape) < share, np.int64(1) << rng.integers(0, bits, shape)
    return np.stack([np.where(hit, ~bit, -1), np.where(hit & (rng.random(shape) < 0.5), bit, 0)])


def row(a, w, cells, restart, found):
    row_by_row(a, w, cells, rows_of(cells), restart, found)


def expand(a, w, cells, restart, found):
    expanded(a, w, cells, rows_of(cells), restart, found)


def permute(a, w, cells, restart, found):
    products = rows_of(cells)
    permuted(a, w, products, np.ones_like(products.sound), found)


def cellwise(a, w, cells, restart, found):
    products = rows_of(cells)
    cell_by_cell(a, w, products, np.ones_like(products.sound), found)


def roads(case: Case):
    yield from (one_by_one, row, expand)
    if not case.sums:
        yield cellwise
        if permutes():
            yield permute


CASES = [
    *(Case(t=9, k=k, n=5, products=0.5, tables=2) for k in (1, 255, 256, 257, 1152)),
    *(Case(products=f, bits=bits) for f in (0, 0.05, 0.5, 1) for bits in (16, -16)),
    *(Case(t=9, k=600, n=3, extreme=True, bits=bits) for bits in (16, -16)),
    *(Case(products=0.4, operands=0.3, bits=bits, top=127, tables=3) for bits in (16, -9, 12)),
    Case(t=1100, k=1152, n=2, products=0.5),
    Case(t=129, k=16500, n=1, bits=-16, extreme=True),
    *(Case(sums=0.3, products=0.3, sum_bits=bits, restart=restart, operands=0.1)
      for bits in (10, 17, 24, 40) for restart in (0, 7, 10, 20)),
    Case(sums=1.0, t=3, k=300, n=4, rows=128, cols=128, restart=128, sum_bits=24),
    *(Case(t=t, k=k, n=n, sums=s) for t, k, n in ((0, 3, 2), (3, 0, 2), (3, 2, 0)) for s in (0, 1)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_roads_equal_the_loop(case):
    cells, (a, w, start) = case.cells(), case.codes()
    want = loop.matrix_sums(a, w, cells, start, case.restart)
    for road in roads(case):
        found = np.empty(want.shape, np.int64)
        found[:] = start
        road(a, w, cells, case.restart, found)
        assert np.array_equal(found, want), road.__name__
    assert np.array_equal(gemm.matrix_sums(a, w, cells, start, case.restart), want)


def test_products_beyond_their_bits_wrap_round():
    case = Case(bits=-12, products=0.3)
    cells = case.cells()
    wild = np.random.default_rng(5).integers(-(2**31), 2**31, (1, 256, 256)).astype(np.int32)
    cells = cells._replace(tables=wild)
    a, w, start = case.codes()
    want = loop.matrix_sums(a, w, cells, start, 0)
    for road in roads(case):
        found = np.empty(want.shape, np.int64)
        found[:] = start
        road(a, w, cells, 0, found)
        assert np.array_equal(found, want), road.__name__


def of(name: str, case: Case) -> Cells:
    """Cells of a multiplier of the catalogue."""
    multiplier = rh.multiplier_named(name)
    width = 16 if multiplier.signed else -16
    table = multiplier.table().T[None].copy()
    return replace(case, bits=width, tables=1).cells()._replace(tables=table)


PLAIN, RARE = Case(t=64, k=1152, n=40, rows=16, cols=16), Case(t=300, k=600, n=40, rows=64, cols=40)
TAKEN = [
    (PLAIN, "mul8s_exact", True, "factored"),
    (PLAIN, "mul8u_exact", False, "factored"),
    (PLAIN, "mul8s_1L2H@v1", True, "factored"),
    (PLAIN, "mul8u_roba", False, "factored"),
    (replace(RARE, products=0.02), "mul8s_exact", True, "factored permuted"),
    (replace(RARE, products=0.01), "mul8s_exact", False, "factored cell_by_cell"),
    (replace(RARE, products=0.5), "mul8u_roba", True, "permuted"),
    (replace(RARE, products=0.5), "mul8s_exact", False, "expanded"),
    (replace(RARE, t=1100, n=17), "mul8s_1KVA@v1", True, "expanded"),
    (replace(RARE, t=1100, n=9), "mul8s_1KVA@v1", True, "permuted"),
    (PLAIN, "mul8s_1KVA@v1", False, "row_by_row"),
    (replace(PLAIN, t=2), "mul8s_exact", True, "row_by_row"),
    (replace(PLAIN, t=2, k=30), "mul8s_exact", True, "one_by_one"),
    (replace(PLAIN, sums=0.1, t=30), "mul8s_exact", True, "row_by_row"),
    (replace(RARE, sums=0.1, restart=64), "mul8s_exact", True, "expanded"),
]


def watched(road, name, taken):
    def run(*args):
        taken.append(name)
        road(*args)

    return run


@pytest.mark.parametrize(("case", "name", "able", "want"), TAKEN, ids=str)
def test_each_road_is_taken_and_gives_the_same(case, name, able, want, monkeypatch):
    if able and not permutes():
        pytest.skip("needs a processor that permutes bytes")
    taken = []
    for road in ("one_by_one", "row_by_row", "expanded", "permuted", "factored", "cell_by_cell"):
        monkeypatch.setattr(gemm, road, watched(getattr(gemm, road), road, taken))
    monkeypatch.setattr(gemm, "permutes", lambda: able)
    cells, (a, w, start) = of(name, case), case.codes()
    found = gemm.matrix_sums(a, w, cells, start, case.restart)
    assert " ".join(taken) == want
    assert gemm.kernel() == ("vbmi" if able else "rows")
    some = slice(0, 3) if case.t < 1000 else slice(1022, 1027)
    assert np.array_equal(
        found[some], loop.matrix_sums(a[some], w, cells, start, case.restart)
    )  # rows do not depend on each other


def test_terms_are_found_wherever_there_are_up_to_two():
    seen = set()
    for multiplier in multipliers():
        if multiplier.width != 8:
            continue
        table = multiplier.table()
        rank = int(np.linalg.matrix_rank(table.astype(float)))
        bits = 16 if multiplier.signed else -16
        cells = Case(bits=bits).cells()._replace(tables=table.T[None].copy())
        terms = terms_of(rows_of(cells), bits)
        assert len(terms) == (max(rank, 1) if rank <= 2 else 0), multiplier.name
        if terms:
            assert np.array_equal(sum(np.multiply.outer(a, w) for a, w in terms), table)
        seen.add(len(terms))
    assert seen == {0, 1, 2}


def test_products_of_reduced_precision_are_not_trusted():
    case, before = replace(PLAIN, top=255), torch.get_float32_matmul_precision()
    cells, (a, w, start) = of("mul8s_exact", case), case.codes()
    want = gemm.matrix_sums(a, w, cells, start, 0)
    torch.set_float32_matmul_precision("medium")
    try:
        assert np.array_equal(gemm.matrix_sums(a, w, cells, start, 0), want)
    finally:
        torch.set_float32_matmul_precision(before)


def test_without_the_instructions_it_imports_and_says_so():
    code = (
        "import numpy as np; from radhard.arith.gemm import kernel, matrix_sums;"
        "from arith.test_gemm import Case; c = Case(t=300, products=0.5); a, w, start = c.codes();"
        "print(kernel(), matrix_sums(a, w, c.cells(), start, 0).sum())"
    )
    case = Case(t=300, products=0.5)
    a, w, start = case.codes()
    want = gemm.matrix_sums(a, w, case.cells(), start, 0).sum()
    environment = {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "PYTHONPATH": ":".join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["rows", str(want)]
