"""Candidates that a sampler looked at, as columns of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from radhard.faults.fault import Offered

if TYPE_CHECKING:
    import pyarrow as pa

#: Columns of lists, in the row of the first fault of a block: the candidates that were offered.
OFFERED = ("offered_stratum", "offered_cell", "offered_count")


def lists_of(offered: Offered, count: int) -> dict[str, Any]:
    """Candidates as columns of lists, (count,): of each block in the row of its first fault."""
    import pyarrow as pa

    order = np.argsort(offered.first, kind="stable")
    ends = np.searchsorted(offered.first[order], np.arange(count + 1)).astype(np.int32)
    kinds = (np.int32, np.int16, np.int32)
    columns = (offered.stratum, offered.cell, offered.count)
    return {
        name: pa.ListArray.from_arrays(ends, pa.array(column[order].astype(kind)))
        for name, column, kind in zip(OFFERED, columns, kinds, strict=True)
    }


def offered_of(table: pa.Table, size: int) -> Offered:
    """What `lists_of` made columns of."""
    lists = [table[name].combine_chunks() for name in OFFERED]
    ends = lists[0].offsets.to_numpy()
    first = np.repeat(np.arange(len(table)), np.diff(ends))
    stratum, cell, count = (
        part.flatten().to_numpy(zero_copy_only=False).astype(np.int64) for part in lists
    )
    return Offered(first, stratum, cell, count, size)
