"""Tables of faults on disk: a file for each shard, and a file for a hundred that are done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from radhard.campaign.offered import OFFERED, lists_of, offered_of
from radhard.campaign.pack import SUMS, Summed, lacking, member, strange, summed, write_pack
from radhard.campaign.runs import Runs, tallied
from radhard.campaign.sealed import (
    StoreError,
    is_whole,
    read_file,
    read_table,
    replace_file,
    set_aside,
    write_table,
)
from radhard.campaign.shard import (
    pack_of,
    pack_path,
    packs_in,
    shard_name,
    shard_of,
    shards_of_pack,
    single,
    span,
    stored,
    tables_of_pack,
)
from radhard.faults.fault import COLUMNS, Faults
from radhard.faults.space import SiteSpace

#: Faults with what they did, by name of the outcome, and how many seconds that took.
Table = tuple[Faults, dict[str, np.ndarray], float]


@dataclass(frozen=True, slots=True)
class Rows:
    """The tables of a folder.

    Attributes:
        path: of the folder.
        id: of the campaign.
    """

    path: Path
    id: str = ""

    def keep(
        self, name: str, faults: Faults, columns: Mapping[str, np.ndarray], seconds: float = 0.0
    ) -> None:
        """Store a table with a row per fault as ``NAME.parquet``."""
        import pyarrow as pa

        data = {name: getattr(faults, name) for name in COLUMNS}
        notes = {"seconds": repr(seconds)}
        if faults.offered is not None:
            data |= lists_of(faults.offered, len(faults))
            notes["candidates"] = str(faults.offered.size)
        table = pa.table({**data, **columns})
        write_table(self.path / f"{name}.parquet", table, self._own, **notes)

    def kept(self, name: str) -> Table | None:
        """The table that `keep` stored, and its seconds; ``None`` where there is none.

        Raises:
            StoreError: when the file can't be used.
        """
        path = self.path / f"{name}.parquet"
        content = None
        if not os.path.lexists(path):
            path = self._pack(name) / path.name
            if not path.parent.exists():
                return None
            content = member(path.parent, path.name)
        table, notes = read_table(path, self._own, content)
        offered = offered_of(table, int(notes["candidates"])) if "candidates" in notes else None
        names = [name for name in table.column_names if name not in OFFERED]
        held = {name: table[name].to_numpy().copy() for name in names}
        columns = {name: hits for name, hits in held.items() if name not in COLUMNS}
        return Faults.of(held, offered), columns, float(notes["seconds"])

    def reusable(self, name: str) -> Table | None:
        """The same for a run: a file that can't be used is set aside with a warning."""
        try:
            return self.kept(name)
        except StoreError as error:
            path = self.path / f"{name}.parquet"
            path = path if os.path.lexists(path) else self._pack(name)
            set_aside(path, error, "its faults are run again where they are asked for")
            return None

    def holds(self, name: str) -> bool:
        """Whether there is a file of a shard, whatever is in it."""
        return (self.path / f"{name}.parquet").exists() or self._pack(name).exists()

    def content(self, name: str) -> bytes:
        """The bytes of a shard's own file, wherever they lie.

        Raises:
            StoreError: where they can't be read.
        """
        path = self.path / f"{name}.parquet"
        return read_file(path) if path.exists() else member(self._pack(name), path.name)

    def shards(self) -> list[int]:
        """The numbers of the stored shards, ascending."""
        return stored(self.path)

    def single(self) -> list[int]:
        """Those that have a file of their own, ascending."""
        return single(self.path)

    def summed(self, shards: Iterable[int], space: SiteSpace, proofs: bool) -> Summed:
        """What stored shards add up to: a hundred by what was noted of them, others row by row.

        Sums are made hundred by hundred, and these are added up, in `Job` as well: so the last
        digits of weights do not depend on which files there are.

        Raises:
            StoreError: for a file that can't be used, with what to do.
        """
        total: Summed | None = None
        for pack, own in groupby(shards, pack_of):
            some = list(own)
            found = self.noted(pack, proofs) if some == list(shards_of_pack(pack)) else None
            found = found or self._added(some, space, proofs)
            total = found if total is None else _both(total, found)
        if total is None:
            raise StoreError(f"{self.path} holds no finished faults yet: run the campaign first")
        return total

    def noted(self, pack: int, proofs: bool) -> Summed | None:
        """What the hundred shards of a file add up to, if it says so.

        Where some did what was proved to be impossible, rows are read anew, which tells.
        """
        path = pack_path(self.path, pack)
        if not path.exists():
            return None
        with suppress(StoreError):  # what is damaged there is in the rows as well
            found = summed(path, self._own)
            return found if found.tally.proofs == proofs else None
        return None

    def _added(self, shards: Iterable[int], space: SiteSpace, proofs: bool) -> Summed:
        total: Summed | None = None
        for shard in shards:
            faults, columns, seconds = self.table(shard)
            own = Summed(tallied(faults, columns, space, proofs), seconds)
            total = own if total is None else _both(total, own)
        assert total is not None
        return total

    def table(self, shard: int) -> Table:
        """The table of a shard that is there; errors say what to do.

        Raises:
            StoreError: when the file can't be used.
        """
        try:
            found = self.kept(shard_name(shard))
        except StoreError as error:
            raise StoreError(
                f"{error}: move it away, or run the campaign again, which does so and runs the rest"
            ) from error
        if found is None:
            raise StoreError(f"shard {shard} of {self.path} is gone: run the campaign again")
        return found

    def pack(self, pack: int, space: SiteSpace, proofs: bool) -> None:
        """Put the files of a hundred shards into one, if all are there and whole.

        Raises:
            StoreError: for one that can't be used.
            OSError: with the name of the file, when it can't be written.
        """
        path, shards = pack_path(self.path, pack), shards_of_pack(pack)
        names = [shard_name(shard) for shard in shards]
        if path.exists() or not all(map(self.holds, names)):
            return
        sums = self._added(shards, space, proofs)
        if sums.tally.total == sum(span(shard)[1] for shard in shards):  # each has all its faults
            tables = {f"{name}.parquet": self.content(name) for name in names}
            write_pack(path, tables, sums, self._own)
            self._forget(pack)

    def mend(self) -> None:
        """Take apart files of which a part is damaged, and remove what is there twice.

        What a killed run left behind goes. No whole shard is lost: those of a damaged file get
        files of their own again, before it is set aside with a warning.
        """
        for partial in self.path.glob(".*.partial"):
            partial.unlink(missing_ok=True)
        for pack in packs_in(self.path):
            path = pack_path(self.path, pack)
            names = tables_of_pack(pack)
            wrong = lacking(path, names, self._own)
            if not wrong:
                self._forget(pack)
                continue
            for name in names:
                with suppress(StoreError):
                    content = member(path, name)
                    if is_whole(content) and not os.path.lexists(self.path / name):
                        replace_file(self.path / name, content)
            set_aside(path, StoreError(wrong[0]), "what is whole of it is kept, the rest run again")
        for shard in self.single():  # also those that a run does not need: a report counts all
            self.reusable(shard_name(shard))

    def damaged(self) -> dict[Path, str]:
        """Why files of a hundred shards, or their sums, can't be used, by their paths."""
        found = {}
        for pack in packs_in(self.path):
            path = pack_path(self.path, pack)
            for said in strange(path, tables_of_pack(pack))[:1]:
                found[path] = said
            try:
                summed(path, self._own)
            except StoreError as error:
                found[path / SUMS] = str(error)
        return found

    def _forget(self, pack: int) -> None:
        """Remove the files of shards that a file of a hundred has as well."""
        for shard in set(self.single()).intersection(shards_of_pack(pack)):
            (self.path / f"{shard_name(shard)}.parquet").unlink(missing_ok=True)

    def _pack(self, name: str) -> Path:
        """The file of a hundred shards that a table is in, where it is in one."""
        shard = shard_of(Path(f"{name}.parquet"))
        return self.path / f"{name}.tar" if shard is None else pack_path(self.path, pack_of(shard))

    @property
    def _own(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class Stored:
    """What each fault of some shards did, read when it is asked for.

    Attributes:
        rows: of the folder.
        shards: their numbers, and how many of each one's faults.
    """

    rows: Rows
    shards: tuple[tuple[int, int | None], ...]

    def __call__(self) -> Runs:
        """All of them, in their order."""
        parts = []
        for shard, count in self.shards:
            faults, columns, _ = self.rows.table(shard)
            some = {name: hits[:count] for name, hits in columns.items()}
            parts.append(Runs.of(faults[:count], some))
        return Runs.joined(parts)


def _both(one: Summed, other: Summed) -> Summed:
    return Summed(one.tally + other.tally, one.seconds + other.seconds)
