"""A multiplier of your own: partial products whose low columns are ORed instead of added.

Run it anywhere: python examples/own_multiplier.py
"""

from dataclasses import dataclass

import numpy as np

import radhard as rh
from radhard.testing import check_multiplier


@dataclass(frozen=True)
class OrInsteadOfAdd(rh.Multiplier):
    """An unsigned array: a column below ``columns`` is 1 where any of its partial products is."""

    columns: int = 5

    @property
    def name(self) -> str:
        """Where it is listed."""
        return f"mul8u_or:columns={self.columns}"

    @property
    def width(self) -> int:
        """Bits of each operand."""
        return 8

    @property
    def signed(self) -> bool:
        """Unsigned."""
        return False

    def formula(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The columns above exactly, those below by OR."""
        found = rh.multiplier_named(f"mul8u_array:columns={self.columns}").product(a, b)
        for column in range(self.columns):
            cells = [(a >> i) & (b >> (column - i)) & 1 for i in range(column + 1)]
            found = found + (np.bitwise_or.reduce(cells) << column)
        return found


if __name__ == "__main__":
    check_multiplier(OrInsteadOfAdd())
    for one in (OrInsteadOfAdd(), rh.multiplier_named("mul8u_array:columns=5")):
        errors = one.errors()
        print(f"{one.name:24} MAE {errors.mae:.3f}, WCE {errors.wce}, EP {errors.ep:.1%}")
