"""Results on disk: one folder per campaign, files that are only ever added.

A campaign's folder holds ``campaign.toml`` (the question and its identity), ``strata.parquet``
(the population) and one ``rows-NNNNNN.parquet`` per shard with a row per fault. Each file is
written under a temporary name, synced and renamed, so a killed run leaves whole files only, and
copying the files of two halves into one folder merges them.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radhard.campaign.campaign import Campaign
from radhard.campaign.result import Result
from radhard.faults.fault import Faults
from radhard.faults.space import Known, SiteSpace, Stratum
from radhard.sampling.catalogue import sampler_named
from radhard.sampling.tally import Tally

_FAULT_COLUMNS = ("id", "stratum", "index", "image", "keep", "flip", "weight", "cell")
_SECONDS = b"radhard.seconds"


class StoreError(ValueError):
    """A store that can't be read, or that holds the answer to another question."""


def keep_arrays(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name to an ``.npz`` file that a killed run leaves whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **columns)  # type: ignore[arg-type]
    partial.replace(path)


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one campaign."""

    path: Path

    def begin(
        self, campaign: Campaign, space: SiteSpace, golden: float, about: Mapping[str, Any]
    ) -> None:
        """Make the folder, or check that it belongs to ``campaign``.

        Args:
            campaign: the question.
            space: its population.
            golden: fault-free accuracy over its images.
            about: whatever else a reader of ``campaign.toml`` should know.

        Raises:
            StoreError: when the folder holds another campaign.
        """
        held = self.about() if (self.path / "campaign.toml").exists() else {}
        known = held.pop("identity", {}).get("id")
        if known is None:
            self.path.mkdir(parents=True, exist_ok=True)
            self._write_strata(space)
        elif known != campaign.id:
            raise StoreError(
                f"{self.path} holds the answer to another question (campaign {known[:8]}, asked "
                f"is {campaign.id[:8]}): name another folder, or delete this one"
            )
        self._describe(campaign, space, golden, {**held, **about})

    def golden_accuracy(self, campaign_id: str) -> float | None:
        """The stored fault-free accuracy; ``None`` where this campaign has not begun."""
        if not (self.path / "campaign.toml").exists():
            return None
        identity = self.about()["identity"]
        return float(identity["golden_accuracy"]) if identity["id"] == campaign_id else None

    def _describe(
        self, campaign: Campaign, space: SiteSpace, golden: float, about: Mapping[str, Any]
    ) -> None:
        import tomli_w

        identity = {
            "id": campaign.id,
            "name": campaign.name,
            "model": campaign.workload.name,
            "format": campaign.workload.formats.name,
            "chip": campaign.chip.name,
            "sampler": campaign.sampler.name,
            "fault_model": campaign.model.name,
            "seed": campaign.seed,
            "images": space.images,
            "metrics": list(campaign.metrics),
            "golden_accuracy": golden,
            "known": [asdict(part) for part in space.known],
            "covered": asdict(campaign.workload.covered),
        }
        if space.rate_fit is not None:
            identity["rate_fit"] = space.rate_fit
        text = tomli_w.dumps({**about, "identity": identity})
        self._replace("campaign.toml", text.encode())

    def about(self) -> dict[str, Any]:
        """The contents of ``campaign.toml``.

        Raises:
            StoreError: when it can't be read.
        """
        path = self.path / "campaign.toml"
        try:
            held = tomllib.loads(path.read_text(encoding="utf-8"))
            identity = held["identity"]
            _ = identity["id"], identity["name"], identity["images"], identity["metrics"]
            _ = identity["golden_accuracy"], identity["known"]
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise StoreError(f"{path} is no record of a campaign: {error}") from error
        return held

    def write(
        self, shard: int, faults: Faults, columns: Mapping[str, np.ndarray], seconds: float
    ) -> None:
        """Store the first faults of a shard; a file that is there already is replaced."""
        self.keep(f"rows-{shard:06d}", faults, columns, seconds)

    def keep(
        self, name: str, faults: Faults, columns: Mapping[str, np.ndarray], seconds: float = 0.0
    ) -> None:
        """Store a table with a row per fault as ``NAME.parquet``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        data = {name: getattr(faults, name) for name in _FAULT_COLUMNS}
        table = pa.table({**data, **columns})
        table = table.replace_schema_metadata({_SECONDS: repr(seconds).encode()})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        self._replace(f"{name}.parquet", sink.getvalue().to_pybytes())

    def kept(self, name: str) -> tuple[Faults, dict[str, np.ndarray]] | None:
        """The table that `keep` stored; ``None`` where there is none.

        Raises:
            StoreError: when the file can't be read.
        """
        path = self.path / f"{name}.parquet"
        return self._rows(path)[:2] if path.exists() else None

    def read(self, shard: int, strata: int, count: int | None = None) -> tuple[Tally, float] | None:
        """Tally of a shard's first ``count`` faults (all where ``None``) and their seconds.

        ``None`` where fewer are stored.

        Raises:
            StoreError: when the file can't be read.
        """
        path = self.path / f"rows-{shard:06d}.parquet"
        if not path.exists():
            return None
        faults, columns, seconds = self._rows(path)
        count = len(faults) if count is None else count
        if len(faults) < count:
            return None
        part = {name: hits[:count] for name, hits in columns.items()}
        return Tally.of(faults[:count], part, strata), seconds * count / max(len(faults), 1)

    def shards(self) -> list[int]:
        """The numbers of the stored shards, ascending."""
        return sorted(int(path.stem[5:]) for path in self.path.glob("rows-*.parquet"))

    def _rows(self, path: Path) -> tuple[Faults, dict[str, np.ndarray], float]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
            held = {name: table[name].to_numpy() for name in table.column_names}
            faults = Faults(*(held.pop(name) for name in _FAULT_COLUMNS))
            seconds = float((table.schema.metadata or {})[_SECONDS])
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise StoreError(f"{path} can't be read, delete it to run it again: {error}") from error
        return faults, held, seconds

    def _write_strata(self, space: SiteSpace) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist([asdict(s) for s in space.strata]), sink)
        self._replace("strata.parquet", sink.getvalue().to_pybytes())

    def space(self) -> SiteSpace:
        """The population, as stored.

        Raises:
            StoreError: when the files can't be read.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path / "strata.parquet"
        try:
            strata = tuple(Stratum(**row) for row in pq.read_table(path).to_pylist())
        except (OSError, TypeError, pa.ArrowException) as error:
            raise StoreError(f"{path} can't be read: {error}") from error
        identity = self.about()["identity"]
        known = tuple(Known(**part) for part in identity["known"])
        rate = identity.get("rate_fit")
        return SiteSpace(strata, identity["images"], rate_fit=rate, known=known)

    def result(self) -> Result:
        """The answer from all stored faults, with intervals as the campaign was last asked.

        Raises:
            StoreError: when files can't be read, or there are none.
        """
        space, held = self.space(), self.about()
        found = [self.read(shard, len(space.strata)) for shard in self.shards()]
        parts = [part for part in found if part is not None]
        if not parts:
            raise StoreError(f"{self.path} holds no finished faults yet: run the campaign first")
        tally, seconds = parts[0]
        for more, took in parts[1:]:
            tally, seconds = tally + more, seconds + took
        identity, asked = held["identity"], held.get("budget", {})
        return Result(
            id=identity["id"],
            name=identity["name"],
            space=space,
            sampler=sampler_named(identity["sampler"]),
            tally=tally,
            golden_accuracy=identity["golden_accuracy"],
            confidence=asked.get("confidence", 0.95),
            anytime="until" in asked,
            seconds=seconds,
        )

    def _replace(self, name: str, content: bytes) -> None:
        partial = self.path / f".{name}.{os.getpid()}.partial"
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path / name)


def folders(store: Path) -> list[Folder]:
    """The campaigns of a store, or the one campaign whose folder this is, by name.

    Raises:
        StoreError: when there is none.
    """
    own = [store] if (store / "campaign.toml").exists() else []
    inner = sorted(path.parent for path in store.glob("*/campaign.toml"))
    if not own and not inner:
        raise StoreError(f"{store} holds no campaign: name the folder given to --out or store=")
    return [Folder(path) for path in own + inner]
