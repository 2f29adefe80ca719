"""A multiplier by the table of its products, and files of such tables."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radhard.arith.multiplier import WIDEST_TABLE, Integers, Multiplier, limits

#: Bytes of a ``.bin`` of 8 x 8 bits, and how it holds a product.
_BINARY = {131072: ("<u2", "<i2"), 262144: ("<i4", "<i4")}
_SIDES = {1 << width: width for width in range(2, WIDEST_TABLE + 1)}


@dataclass(frozen=True, slots=True, eq=False)
class Tabulated(Multiplier):
    """Any multiplier, by all of its products.

    Attributes:
        products: ``[a, b]`` by the bit patterns of the operands, of any integer type; side 2**width
            for a width of 2 to 8.
        name: of your choice.
        signed: whether patterns and products are in two's complement.
        release: of what it is from, or empty.

    Raises:
        TypeError: where products are no integers.
        ValueError: where the table has another shape, or a product that does not fit twice the
            operands' bits.

    >>> import numpy as np
    >>> never = Tabulated(np.zeros((256, 256), np.int16), "never")
    >>> never.errors().mae
    16256.25
    """

    products: NDArray[np.int32] = field()
    name: str = field()
    signed: bool = False
    release: str = ""

    def __post_init__(self) -> None:
        given = np.asarray(self.products)
        if given.dtype.kind not in "iu":
            raise TypeError(f"{self.name}: a table of {given.dtype}: products must be integers")
        if given.ndim != 2 or given.shape[0] != given.shape[1] or len(given) not in _SIDES:
            raise ValueError(
                f"{self.name}: a table of shape {given.shape}: it must be (2**w, 2**w) for "
                f"operands of w bits, 2 to {WIDEST_TABLE}"
            )
        low, high = limits(2 * _SIDES[len(given)], self.signed)
        if given.min() < low or given.max() > high:
            raise ValueError(
                f"{self.name}: products from {given.min()} to {given.max()} do not fit the "
                f"{2 * _SIDES[len(given)]} bits of a product, {low} to {high}"
            )
        held = given.astype(np.int32)
        held.flags.writeable = False
        object.__setattr__(self, "products", held)

    @property
    def width(self) -> int:
        return _SIDES[len(self.products)]

    def formula(self, a: Integers, b: Integers) -> Integers:
        mask = len(self.products) - 1
        found: Integers = self.products[a & mask, b & mask].astype(np.int64)
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tabulated) and self._meaning() == other._meaning()

    def __hash__(self) -> int:
        return hash(self._meaning())

    def _meaning(self) -> tuple[str, str, bool, str]:
        held = hashlib.sha256(self.products.tobytes()).hexdigest()
        return held, self.name, self.signed, self.release


def read_table(path: Path | str, signed: bool, transposed: bool = False) -> Tabulated:
    """The multiplier whose products a file holds, by the bit patterns of the operands.

    A ``.npy`` holds a square array of integers. A ``.bin`` holds 65,536 products, the second
    operand running fastest, in 16 bits as tf-approximate writes them or in 32, little-endian.

    Args:
        path: the file; nothing in it is run.
        signed: whether patterns and products are in two's complement.
        transposed: whether the first index is that of ``b``. In tables of the evolved unsigned
            circuits of EvoApproxLib, whose C functions take B first, it is.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: where it is no such table.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: numpy.save(path, products) makes one")
    products = _from_bytes(path, signed) if path.suffix == ".bin" else _from_numpy(path)
    if products.dtype.kind not in "iu":
        raise ValueError(f"{path}: a table of {products.dtype}: products must be integers")
    try:
        return Tabulated(products.T if transposed else products, path.stem, signed)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _from_bytes(path: Path, signed: bool) -> NDArray[np.int32]:
    held = path.read_bytes()
    if len(held) not in _BINARY:
        raise ValueError(
            f"{path} has {len(held)} bytes: a table of 8 x 8 bits has 131,072 or, of int32, 262,144"
        )
    return np.frombuffer(held, _BINARY[len(held)][signed]).astype(np.int32).reshape(256, 256)


def _from_numpy(path: Path) -> NDArray[np.int32]:
    try:
        found = np.load(path, allow_pickle=False)
    except Exception as error:  # whatever the reader of headers raises
        raise ValueError(f"{path} can't be read: {error}: numpy.save makes such files") from error
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{path} holds several arrays: save the table of products alone")
    return found
