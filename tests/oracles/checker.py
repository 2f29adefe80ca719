"""What checksums in hardware say of a layer, from the sums and windows that loops have made.

The checker is one channel more for each group; see `oracles.loopnest`. Everything is integers.
"""

from dataclasses import dataclass

import numpy as np

from oracles.held import Numbers
from oracles.loopnest import Integers, Shape


def extended(s: Shape, w: Integers) -> Integers:
    """Weights (m, c, r, s), and behind them the sum of those of each group."""
    own = s.m // s.groups
    return np.concatenate(
        [w, np.stack([w[g * own : g * own + own].sum(0) for g in range(s.groups)])]
    )


@dataclass
class Checker:
    """Sums of runs, those of the checker among them, and the windows of inputs that it had.

    Attributes:
        s, how: the layer.
        out: sums without bias (n, m + groups, e, f).
        windows: sums of inputs over positions (n, groups, c, r, s).
        w, bias: clean weights (m, c, r, s), bias (m,).
    """

    s: Shape
    how: Numbers
    out: Integers
    windows: Integers
    w: Integers
    bias: Integers

    def _gap(self, total: Integers) -> Integers:
        return total if self.how.wide is None else self.how.wrapped(total)

    def positions(self) -> Integers:
        """By how much sums over channels exceed the checker's at each position, (n, e, f)."""
        m = self.s.m
        return self._gap(self.out[:, :m].sum(1) - self.out[:, m:].sum(1))

    def channels(self) -> Integers:
        """The same of sums over positions of each channel, (n, m)."""
        found = []
        for m in range(self.s.m):
            expected = (self.windows[:, self.s.group(m)] * self.w[m]).sum((1, 2, 3))
            found.append(self.out[:, m].sum((1, 2)) - expected)
        return self._gap(np.stack(found, 1))

    def outputs(self) -> Integers:
        """What is stored, (n, m, e, f)."""
        return self.how.result(self.out[:, : self.s.m] + self.bias[:, None, None])

    def corrected(self) -> Integers:
        """The same where one position and one channel that disagree name an output."""
        found, rows, columns = self.out.copy(), self.positions(), self.channels()
        for lane in range(len(found)):
            if (rows[lane] != 0).sum() == 1 and (columns[lane] != 0).sum() == 1:
                (e, f), m = np.argwhere(rows[lane] != 0)[0], np.flatnonzero(columns[lane])[0]
                others = found[lane, : self.s.m, e, f].sum() - found[lane, m, e, f]
                found[lane, m, e, f] = found[lane, self.s.m :, e, f].sum() - others
        return self.how.result(found[:, : self.s.m] + self.bias[:, None, None])
