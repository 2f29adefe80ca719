"""Where on a faulty array a layer hurts least: output channels over columns, inputs over rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from radhard.network.layer import Layer
from radhard.network.multiplied import Placing
from radhard.network.sums import per_group_of
from radhard.protect.held import Held

Reals = NDArray[np.float64]
#: How often columns and rows are placed in turns.
_TURNS = 3


def least_hurt(layer: Layer, held: Held, slope: Tensor) -> Placing:
    """The order of channels and terms for which weights on faulty elements matter least.

    Rows and columns that a layer leaves empty are places, too. A weight matters by the variance of
    its products, times how much the loss changes with its channel's sums. For given rows the best
    columns are an assignment problem, and the other way round; both are solved in turns, exactly
    each.

    Args:
        layer: the layer.
        held: its weights.
        slope: mean squared slope of the loss by channel, (m,).
    """
    own, taps = per_group_of(layer), layer.bounds["r"] * layer.bounds["s"]
    matter = held.weights[held.codes].astype(np.float64) ** 2 * held.spread * slope.numpy()
    matter = matter.reshape(len(matter), -1, own).sum(1)  # groups pass the same elements
    lost = held.broken.astype(np.float64)
    rows, cols = lost.shape
    terms, columns = np.arange(layer.fan_in), np.arange(own)
    for _ in range(_TURNS):
        hit = matter.T @ lost[terms % rows]  # (n, cols)
        columns = _assigned(hit[:, np.arange(-(-own // cols) * cols) % cols])
        inputs = _assigned(_of_inputs(matter, lost[:, columns % cols], taps))
        terms = (inputs[:, None] * taps + np.arange(taps)).reshape(-1)
    return Placing(tuple(terms.tolist()), tuple(columns.tolist()))


def _of_inputs(matter: Reals, lost: Reals, taps: int) -> Reals:
    """What each input channel (rows) loses at each place for one (columns)."""
    inputs, places = len(matter) // taps, -(-len(matter) // len(lost)) * len(lost) // taps
    at = (np.arange(places)[:, None] * taps + np.arange(taps)) % len(lost)  # (places, taps)
    parts = matter.reshape(inputs, taps, -1)
    found: Reals = np.einsum("itn,ptn->ip", parts, lost[at], optimize=True)
    return found


def _assigned(cost: Reals) -> NDArray[np.int64]:
    """The place of each row, a column of its own, at the least cost."""
    from scipy.optimize import linear_sum_assignment  # which takes half a second to import

    places: NDArray[np.int64] = linear_sum_assignment(cost)[1].astype(np.int64)
    return places
