"""Multipliers: every entry against an obvious definition, and published figures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import radhard as rh
from oracles import multiplier as oracle
from radhard.arith.broken import BrokenArray
from radhard.arith.multiplier import full_name
from radhard.arith.published import EVOAPPROX
from radhard.campaign.description import described
from radhard.campaign.rebuild import part_named, rebuilt

LISTED = {full_name(one): one for one in rh.multipliers()}
#: Of the signed circuits: names in v1 and v2022, MAE, WCE, EP in per cent, MSE, bias, exact
#: products, the hash of the table, mW, square micrometres and ns, by the notes on EvoApproxLib.
SIGNED = """
1KV8 1KV6 0 0 0 0 0 1 47e856b8ceafe828 0.425 729.8 1.48
1KVA 1KV8 1.25 5 50.00 3.75 -1.25 3 ecf1828615c815bf 0.422 711.0 1.48
1KVB 1KV9 4.25 17 68.75 34.25 -4.25 4 1381801dbc5c3436 0.410 685.2 1.47
1KX2 1KVA 12.25 49 81.25 248.25 -12.25 5 21276146933c55c4 0.391 641.1 1.51
1KR8 1KVM 32.0 128 49.80 2730.75 0.25 1 cf4cc9da34d5d5b8 0.369 652.8 1.37
1KR6 1KVP 33.28125 137 74.80 2746.25 -2.25 3 494c2948b00ee0d0 0.363 635.0 1.37
1KRC 1KVQ 36.53516 161 84.18 2872.25 -8.25 4 1aa83d02fd6ab738 0.351 599.8 1.36
1L2H 1L2J 53.33398 255 74.61 5461.75 0.75 1 ef588b130ab2f588 0.301 558.9 1.36
1KVL 1KX5 101.28223 449 91.89 19690.25 -16.25 4 b8246fa63a3e223d 0.289 543.0 1.33
1KTY 1KXF 224.0 896 87.16 95576.25 1.75 1 45eddc90f4266945 0.237 482.4 1.19
1L2D 1L2L 149.78430 759 93.16 38236.25 3.75 1 a4b7ec182e753ae0 0.200 411.6 1.14
1L1G 1L2N 339.94366 1743 97.75 191238.25 15.75 1 25932bf67310fad6 0.126 284.9 0.94
1KR3 1L12 2016.0 8064 98.05 7282910.25 15.75 1 14980c2542f31228 0.052 172.2 0.89
"""
ROWS = [line.split() for line in SIGNED.split("\n") if line]
#: MRE in per cent, from the tables of EvoApproxLib by power and error probability.
MRE = {"1KR8": 2.4009424633, "1L2H": 4.4119727217, "1KTY": 15.719, "1KR3": 135.7731035}
UNSIGNED = {
    "mul8u_exact": oracle.A * oracle.B,
    "mul8u_1JFF@v1": oracle.A * oracle.B,
    "mul8u_1JJQ@v2022": oracle.A * oracle.B,
    **{f"mul8u_drum:bits={k}": oracle.table(oracle.drum(k)) for k in (3, 4, 5, 6)},
    **{f"mul8u_ssm:bits={k}": oracle.table(oracle.ssm(k)) for k in (4, 5, 6)},
    "mul8u_roba": oracle.table(oracle.roba),
    "mul8u_kulkarni": oracle.table(oracle.kulkarni),
    "mul8u_mitchell": oracle.table(oracle.mitchell),
    "mul8u_etm": oracle.table(oracle.etm),
}
ARRAYS = [name for name, one in LISTED.items() if isinstance(one, BrokenArray)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_signed_circuits_are_the_published_ones(row: list[str]) -> None:
    old, new, mae, wce, ep, mse, bias, terms, digest, power, area, delay = row
    for name in (f"mul8s_{old}@v1", f"mul8s_{new}@v2022"):
        one = rh.multiplier_named(name)
        assert np.array_equal(one.table(), oracle.EVOAPPROX[old])
        found = one.errors()
        assert found.mae == pytest.approx(float(mae), abs=5e-6)
        assert (found.wce, found.mse, found.bias) == (int(wce), float(mse), float(bias))
        assert 100 * found.ep == pytest.approx(float(ep), abs=0.005)
        assert one.digest()[:16] == digest
        assert one.terms == int(terms)
        known = (one.power_mw, one.area_um2, one.delay_ns)
        assert known == (float(power), float(area), float(delay))


@pytest.mark.parametrize("name", MRE)
def test_relative_errors_are_counted_as_in_the_library(name: str) -> None:
    found = 100 * rh.multiplier_named(f"mul8s_{name}@v1").errors().mre
    assert found == pytest.approx(MRE[name], rel=3e-5)


@pytest.mark.parametrize("name", UNSIGNED)
def test_unsigned_ones_are_what_their_authors_define(name: str) -> None:
    assert np.array_equal(LISTED[name].table(), UNSIGNED[name])


@pytest.mark.parametrize(
    "name", [*ARRAYS, "mul8s_array:a=3,b=1,columns=7", "mul8s_array:columns=9"]
)
def test_arrays_add_the_cells_that_are_left(name: str) -> None:
    one = rh.multiplier_named(name)
    assert isinstance(one, BrokenArray)
    assert one.name == name
    assert np.array_equal(one.table(), oracle.array(one.a, one.b, one.columns, one.signed))


def test_every_listed_one_has_a_definition_here() -> None:
    signed = {f"mul8s_{name}" for row in ROWS for name in (f"{row[0]}@v1", f"{row[1]}@v2022")}
    assert set(LISTED) == {*UNSIGNED, *ARRAYS, *signed, "mul8s_exact"}
    assert len(LISTED) == len(rh.multipliers())
    assert np.array_equal(LISTED["mul8s_exact"].table(), oracle.SA * oracle.SB)
    assert LISTED["mul8u_exact"].digest().startswith("f8085fc34b4305c0")


@pytest.mark.parametrize(
    ("name", "mae", "wce"),
    [
        ("mul8u_roba", 455.056, 4096),
        ("mul8u_kulkarni", 903.125, 14450),
        ("mul8u_mitchell", 606.398, 4096),
        ("mul8u_array:columns=2", 1.25, 5),
        ("mul8u_array:columns=4", 12.25, 49),
        ("mul8u_array:columns=6", 80.25, 321),
        ("mul8u_array:columns=8", 448.25, 1793),
        ("mul8u_array:b=2,columns=4", 196.25, 785),
        ("mul8u_array:b=4,columns=4", 956.25, 3825),
    ],
)
def test_errors_of_textbook_multipliers(name: str, mae: float, wce: int) -> None:
    found = rh.multiplier_named(name).errors()
    assert found.mae == pytest.approx(mae, abs=5e-4)
    assert found.wce == wce


@pytest.mark.parametrize("name", [name for name, one in LISTED.items() if one.terms])
def test_tables_have_no_higher_rank_than_terms(name: str) -> None:
    one = LISTED[name]
    assert np.linalg.matrix_rank(one.table().astype(np.float64)) <= one.terms


@pytest.mark.parametrize(
    "family", ["drum:bits=4", "ssm:bits=5", "roba", "kulkarni", "mitchell", "etm"]
)
def test_magnitudes_and_a_sign_make_signed_ones(family: str) -> None:
    signed, unsigned = (rh.multiplier_named(f"mul8{s}_{family}") for s in "su")
    assert signed.name == f"mul8s_{family}"
    assert signed.signed
    x, y = oracle.SA, oracle.SB
    size = unsigned.table()[np.abs(x), np.abs(y)]
    assert np.array_equal(signed.table(), np.where((x < 0) ^ (y < 0), -size, size))


@pytest.mark.parametrize("name", ["exact", "array:a=1", "drum:bits=3", "roba", "mitchell"])
@pytest.mark.parametrize("width", [3, 5, 7])
def test_narrow_ones_are_the_low_corner_of_wider_ones(name: str, width: int) -> None:
    """Of those whose rule does not look at the width."""
    small, wide = (rh.multiplier_named(f"mul{bits}u_{name}") for bits in (width, 8))
    assert np.array_equal(small.table(), wide.table()[: 2**width, : 2**width])


@pytest.mark.parametrize("width", [4, 6])
def test_narrow_arrays(width: int) -> None:
    for sign in (False, True):
        one = BrokenArray(width, sign, 1, 1, 4)
        assert np.array_equal(one.table(), oracle.array(1, 1, 4, sign, width))
    assert rh.multiplier_named("mul4u_ssm:bits=4").errors().mae == 0
    small = rh.multiplier_named(f"mul{width}u_kulkarni")
    assert np.array_equal(small.table(), UNSIGNED["mul8u_kulkarni"][: 2**width, : 2**width])


def test_sixteen_bits_by_formula() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2**16, (2, 1000))
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    wide = {
        name: rh.multiplier_named(f"mul16u_{name}") for name in ("exact", "mitchell", "kulkarni")
    }
    assert wide["exact"].product(a, b).tolist() == [x * y for x, y in pairs]
    assert wide["mitchell"].product(a, b).tolist() == [oracle.mitchell(x, y) for x, y in pairs]
    assert wide["kulkarni"].product(a, b).tolist() == [oracle.kulkarni(x, y, 16) for x, y in pairs]
    drum = rh.multiplier_named("mul16s_drum:bits=6")
    found = drum.product([-7232, 12345], [3, -1]).tolist()  # 0b111000_1..., 0b110000_0011...
    assert found == [-(0b111001 << 7) * 3, -(0b110001 << 8)]
    with pytest.raises(ValueError, match="single products"):
        wide["exact"].table()


def test_products_of_tensors_and_arrays_are_alike() -> None:
    one = rh.multiplier_named("mul8s_1KR8@v1")  # tells its ports apart
    a, b = torch.tensor([[-128], [3]], dtype=torch.int8), torch.tensor([1, 127], dtype=torch.int8)
    assert one.product(a, b).tolist() == [[-128, -16256], [2, 254]]
    assert one.product(a, b).dtype == torch.int64
    assert one.product(a.numpy(), b.numpy()).tolist() == one.product(a, b).tolist()
    assert int(one.product(3, 1)) != int(one.product(1, 3))


@pytest.mark.parametrize("a", [[-129], [128], torch.tensor([200])])
def test_operands_out_of_range_are_refused(a) -> None:
    with pytest.raises(ValueError, match="must lie in -128 to 127"):
        rh.multiplier_named("mul8s_exact").product(a, 1)


def test_operands_that_are_no_integers_are_refused() -> None:
    with pytest.raises(TypeError, match="operand b of mul8u_exact is float64, not integers"):
        rh.multiplier_named("mul8u_exact").product(1, 0.5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mul8s_1KV8", r"say mul8s_1KV8@v1 or mul8s_1KV8@v2022"),
        ("mul8s_1L2H@v2022", r"say mul8s_1L2H@v1"),
        ("mul8s_1L2h@v1", r"did you mean mul8s_1L2H@v1"),
        ("something", r"radhard list multipliers"),
        ("mul8u_karatsuba", r"no 'karatsuba', but exact, array, drum"),
        ("mul8u_drum:k=4", r"it has bits"),
        ("mul8u_roba:bits=4", r"it has none"),
        ("mul8u_array:a=1,b", r"it has a, b, columns"),
        ("mul8u_array:a=8", r"0 <= a < 8"),
        ("mul8u_drum:bits=9", r"use 2 to 8"),
        ("mul17u_exact", r"use 2 to 16"),
        ("mul7u_etm", r"two halves"),
        ("mul7s_kulkarni", r"blocks have 2 bits"),
        ("mine.npy", r"say how the file is read: mine.npy@signed"),
        ("mine.bin@transposed", r"mine.bin@unsigned"),
    ],
)
def test_unknown_names_say_what_there_is(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rh.multiplier_named(name)


def test_a_missing_file_is_said_to_be_missing() -> None:
    with pytest.raises(FileNotFoundError, match=r"no file nowhere\.npy"):
        rh.multiplier_named("nowhere.npy@signed")


@pytest.mark.parametrize("kind", ["npy", "bin16", "bin32"])
@pytest.mark.parametrize("name", ["mul8s_1KR6@v1", "mul8u_array:b=2,columns=4"])
def test_files_of_tables(kind: str, name: str, tmp_path: Path) -> None:
    """Of circuits that tell their ports apart."""
    one = rh.multiplier_named(name)
    path = tmp_path / f"mine.{kind[:3]}"
    if kind == "npy":
        np.save(path, one.table().T)
    else:
        path.write_bytes(one.table().T.astype({"bin16": "<i2", "bin32": "<i4"}[kind]).tobytes())
    sign = "signed" if one.signed else "unsigned"
    found = rh.multiplier_named(f"{path}@{sign},transposed")
    assert (found.name, found.width, found.signed) == ("mine", 8, one.signed)
    assert (found.digest(), found.errors()) == (one.digest(), one.errors())
    assert rh.multiplier_named(f"{path}@{sign}").digest() != one.digest()
    assert (found.power_mw, found.terms, found.release) == (None, None, "")


def npy(shape: str) -> bytes:
    """A file of numpy that says it had a shape, and ends there."""
    said = f"{{'descr': '<i2', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(said).to_bytes(2, "little") + said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((256, 255), int), r"shape \(256, 255\)"),
        (np.zeros((2, 2), int), r"shape \(2, 2\)"),
        (np.full((4, 4), 2**40), r"do not fit the 4 bits of a product, -8 to 7"),
        (np.full((4, 4), 8), r"do not fit the 4 bits"),
        (np.zeros((4, 4)), r"a table of float64: products must be integers"),
        (b"no array", r"numpy.save makes such files"),
        (npy("(1000000, 1000000)"), r"numpy.save makes such files"),
        (npy("(" * 3000), r"numpy.save makes such files"),
    ],
)
def test_files_that_are_no_tables(content, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(ValueError, match=message):
        rh.read_table(path, signed=True)
    other = tmp_path / "bad.bin"
    other.write_bytes(b"123")
    with pytest.raises(ValueError, match=r"has 3 bytes: a table of 8 x 8 bits has 131,072"):
        rh.read_table(other, signed=False)


def test_tables_of_reals_are_refused() -> None:
    with pytest.raises(TypeError, match="products must be integers"):
        rh.Tabulated(np.zeros((256, 256)), "reals")


def test_tables_are_told_apart_by_their_entries() -> None:
    table = rh.multiplier_named("mul4u_exact").table()
    one, same, other = (rh.Tabulated(table + k, "own") for k in (0, 0, 1))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    with pytest.raises(ValueError, match="read-only"):
        one.table()[0, 0] = 1
    assert np.array_equal(table, np.outer(np.arange(16), np.arange(16)))


@pytest.mark.parametrize("name", [*LISTED, "mul8s_drum:bits=4"])
def test_they_come_back_from_their_data(name: str) -> None:
    one, arrays = rh.multiplier_named(name), {}
    assert rebuilt(described(one, "multiplier", arrays), "multiplier", arrays) == one
    own = rh.Tabulated(one.table(), "own", one.signed)
    again = rebuilt(described(own, "multiplier", arrays), "multiplier", arrays)
    assert again == own
    assert again.digest() == one.digest()


def test_one_of_the_user_s_own_has_a_door(tmp_path: Path, monkeypatch) -> None:
    code = "import numpy as np, radhard as rh\n"
    code += "mine = rh.Tabulated(np.zeros((16, 16), int), 'mine')\nnone = 3\n"
    (tmp_path / "multiplier_of_mine.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    found = part_named("multiplier_of_mine:mine", rh.Multiplier, rh.multiplier_named)
    assert found.errors().mae == 56.25
    listed = part_named("mul8s_1L2H@v1", rh.Multiplier, rh.multiplier_named)
    assert listed in EVOAPPROX
    with pytest.raises(ValueError, match="is no Multiplier: it lacks area_um2"):
        part_named("multiplier_of_mine:none", rh.Multiplier, rh.multiplier_named)


def test_one_that_can_change_is_refused() -> None:
    @dataclass
    class Loose(rh.Multiplier):
        name: str = "loose"
        width: int = 4
        signed: bool = False

        def formula(self, a, b):
            return a * b

    with pytest.raises(TypeError, match="unhashable"):
        Loose().table()
