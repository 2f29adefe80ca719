"""Results on disk: one folder per campaign, files that are only ever added.

A campaign's folder holds ``campaign.toml`` (the question as data, and what was found out once),
``strata.parquet`` (the population) and one ``rows-NNNNNN.parquet`` per shard with a row per fault;
``tensors.npz`` where protections have learned some. Each file is written under a temporary name,
synced and renamed, so a killed run leaves whole files only. Tables carry the campaign's id, their
own name and a checksum, so copying the files of two halves into one folder merges them, and a file
that is damaged, of another campaign or there twice is never counted.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from radhard.accel.chip import Software
from radhard.campaign.description import Arrays, array_name, in_words
from radhard.campaign.lock import writing
from radhard.campaign.question import Question, id_of, semantics_of
from radhard.campaign.rebuild import rebuilt
from radhard.campaign.result import Result
from radhard.campaign.rows import Rows, Stored
from radhard.campaign.sealed import (
    StoreError,
    keep_arrays,
    kept_arrays,
    read_record,
    read_table,
    record_seal,
    replace_file,
    set_aside,
    write_table,
)
from radhard.campaign.shard import pack_path, strays
from radhard.campaign.windows import ImageSample
from radhard.faults.space import Known, SiteSpace, Stratum
from radhard.network.coverage import Covered
from radhard.protect.protection import Cost
from radhard.version import version

__all__ = ["TENSORS", "Folder", "StoreError", "folders", "read_arrays"]

#: What learned protections hold, by hash.
TENSORS = "tensors.npz"
#: Keys of ``campaign.toml`` that say how much was asked for last.
_GOALS = {"faults", "until", "metric", "confidence", "most"}


@dataclass(frozen=True, slots=True)
class Folder(Rows):
    """The files of one campaign.

    Attributes:
        path: of the folder.
        id: of the campaign; as ``campaign.toml`` says where empty.
    """

    def begin(
        self,
        question: Question,
        space: SiteSpace,
        identity: Mapping[str, Any],
        about: Mapping[str, Any],
    ) -> None:
        """Make the folder, or check that it belongs to the question.

        Args:
            question: what is asked.
            space: the population.
            identity: what was found out once, its name among it.
            about: whatever else a reader of ``campaign.toml`` should know.

        Raises:
            StoreError: when the folder holds the answer to another question.
        """
        with writing(self.path):
            held = self.check_own()
            self._begin_strata(question.id, space)
            held = {k: value for k, value in held.items() if k not in {*_GOALS, "identity"}}
            self._describe(question, space, identity, {"images": space.images, **held, **about})
            self._warn_of_strays()
            self.mend()

    def check_own(self) -> dict[str, Any]:
        """What ``campaign.toml`` says, nothing where there is none.

        Raises:
            StoreError: where it belongs to another question.
        """
        held = self.about() if (self.path / "campaign.toml").exists() else {}
        known = held.get("identity", {}).get("id", self.id)
        if known != self.id:
            raise StoreError(
                f"{self.path} holds the answer to another question (campaign {known[:8]}, asked "
                f"is {self.id[:8]}): name another folder, or delete this one"
            )
        return held

    @property
    def of_software(self) -> bool:
        """Whether what is struck is no chip, but any value of software."""
        return bool(self.about()["chip"]["type"] == Software.__name__)

    def clean(self, campaign_id: str) -> tuple[float, float] | None:
        """The stored fault-free accuracy and share of alarms; ``None`` before it has begun."""
        if not (self.path / "campaign.toml").exists():
            return None
        identity = self.about()["identity"]
        found = identity["golden_accuracy"], identity.get("clean_alarms", 0.0)
        return found if identity["id"] == campaign_id else None

    def told(self, campaign_id: str, what: str) -> tuple[str, ...] | None:
        """The stored names of what is ``flat`` or ``idle``; ``None`` where there is no saying.

        That is where this campaign has not begun, its sampler has no scores, or it has no
        protections.
        """
        if not (self.path / "campaign.toml").exists():
            return None
        identity = self.about()["identity"]
        known = identity["id"] == campaign_id and what in identity
        return tuple(identity[what]) if known else None

    def _describe(
        self,
        question: Question,
        space: SiteSpace,
        identity: Mapping[str, Any],
        about: Mapping[str, Any],
    ) -> None:
        import tomli_w

        own: dict[str, Any] = {
            "id": question.id,
            "semantics": semantics_of(question.keys),
            "radhard": version(),
            "question": sorted(question.keys),
            **identity,
            "images": space.images,
            "known": [asdict(part) for part in space.known],
        }
        if space.rate_fit is not None:
            own["rate_fit"] = space.rate_fit
        found = {"name": own["name"], **about, **question.keys, "identity": own}
        if question.arrays:
            found["tensors"] = TENSORS
            keep_arrays(self.path / TENSORS, question.arrays)
        own["seal"] = record_seal(found)
        replace_file(self.path / "campaign.toml", tomli_w.dumps(found).encode())

    def about(self) -> dict[str, Any]:
        """The contents of ``campaign.toml``.

        Raises:
            StoreError: when it can't be read, was written by another generation of radhard, or was
                changed since.
        """
        path = self.path / "campaign.toml"
        record = read_record(path)
        identity, asked = record.identity, record.asked
        if identity.get("semantics") != semantics_of(asked):
            raise StoreError(
                f"{path} was written by radhard {identity.get('radhard', 'of before')}, which "
                "drew or judged faults by other rules; it is left as it is: name another folder, "
                f"or read it with that version ({identity['name']})"
            )
        if not record.whole or id_of(asked) != identity["id"]:
            raise StoreError(
                f"{path} was changed since it was written: undo that, or move it away and run the "
                "campaign again; to ask another question, change a copy elsewhere"
            )
        return record.held

    def result(self) -> Result:
        """The answer from all stored faults, with intervals as the campaign was last asked.

        Raises:
            StoreError: when files can't be used, or there are none.
        """
        held, own = self.about(), replace(self, id=self.about()["identity"]["id"])
        identity, asked = held["identity"], held.get("budget", {})
        space = own.space()
        self._warn_of_strays()
        shards, proofs = own.shards(), bool(identity["proofs_hold"])
        tally, seconds = own.summed(shards, space, proofs)
        sampler = rebuilt(held["sampler"], f"{self.path}: sampler", self.arrays(held))
        return Result(
            id=identity["id"],
            name=identity["name"],
            space=space,
            sampler=sampler,
            tally=tally,
            golden_accuracy=identity["golden_accuracy"],
            confidence=asked.get("confidence", 0.95),
            anytime="until" in asked,
            seconds=seconds,
            cost=Cost(**identity["cost"]),
            protections=tuple(map(in_words, held["protections"])),
            images=_sample(identity.get("of_images")),
            covered=Covered(**{k: _frozen(v) for k, v in identity["covered"].items()}),
            flat=tuple(identity.get("flat", ())),
            idle=tuple(identity.get("idle", ())),
            clean_alarms=identity.get("clean_alarms", 0.0),
            rows=Stored(own, tuple((shard, None) for shard in shards)),
            unproved=getattr(sampler, "proofs", False) and not proofs,
        )

    def strays(self) -> dict[Path, str]:
        """Why files that seem to have rows are not counted, by their paths."""
        return {
            path: f"{path} is not counted, since no shard has that name: delete it if it is a "
            f"copy, or give it its name back, as {pack_path(path, 0).name} or rows-000000.parquet"
            for path in strays(self.path)
        }

    def _warn_of_strays(self) -> None:
        for said in self.strays().values():
            warnings.warn(said, stacklevel=3)

    def _begin_strata(self, campaign_id: str, space: SiteSpace) -> None:
        import pyarrow as pa

        path = self.path / "strata.parquet"
        try:
            if path.exists():
                read_table(path, campaign_id)
                return
        except StoreError as error:
            set_aside(path, error, "made anew")
        write_table(path, pa.Table.from_pylist([asdict(s) for s in space.strata]), campaign_id)

    def space(self) -> SiteSpace:
        """The population, as stored.

        Raises:
            StoreError: when the files can't be used.
        """
        identity = self.about()["identity"]
        path = self.path / "strata.parquet"
        try:
            table, _ = read_table(path, identity["id"])
            rows = table.to_pylist()
            strata = tuple(Stratum(**{k: _frozen(v) for k, v in row.items()}) for row in rows)
        except (StoreError, TypeError) as error:
            raise StoreError(f"{error}: run the campaign again, which makes it anew") from error
        known = tuple(Known(**part) for part in identity["known"])
        rate = identity.get("rate_fit")
        return SiteSpace(strata, identity["images"], rate_fit=rate, known=known)

    def arrays(self, about: Mapping[str, Any]) -> Arrays:
        """What parts of the question have learned, by hash; none where nothing has.

        Raises:
            StoreError: when the file is damaged.
        """
        return read_arrays(self.path / about["tensors"]) if "tensors" in about else {}

    @property
    def _own(self) -> str:
        return self.id or str(self.about()["identity"]["id"])


def read_arrays(path: Path) -> Arrays:
    """The arrays of a `TENSORS` file, each compared with the hash that is its name.

    Raises:
        StoreError: when it is missing or damaged.
    """
    arrays = kept_arrays(path)
    if any(array_name(array) != name for name, array in arrays.items()):
        raise StoreError(f"{path} is damaged: its numbers are not those that were learned")
    return arrays


def folders(store: Path) -> list[Folder]:
    """The campaigns of a store, or the one campaign whose folder this is, by name.

    Raises:
        StoreError: when there is none.
    """
    own = [store] if (store / "campaign.toml").exists() else []
    inner = sorted(path.parent for path in store.glob("*/campaign.toml"))
    nameless = {path.parent for path in (*store.glob("rows-*"), *store.glob("*/rows-*"))}
    for path in sorted(nameless - {*own, *inner}):
        lost = f"{path} has rows, but no campaign.toml says of what: the command that made them "
        if not own and not inner:
            raise StoreError(f"{lost}writes it anew")
        warnings.warn(f"{lost}writes it anew; until then they are not counted", stacklevel=2)
    if not own and not inner:
        raise StoreError(f"{store} holds no campaign: name the folder given to --out or store=")
    return [Folder(path) for path in own + inner]


def _sample(held: Mapping[str, Any] | None) -> ImageSample | None:
    return ImageSample(held["of"], tuple(held["always"])) if held else None


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
