"""Stores of one campaign, run in parts: looked through, and united."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from radhard.campaign.lock import writing
from radhard.campaign.progress import PROGRESS
from radhard.campaign.sealed import StoreError, read_file, replace_file
from radhard.campaign.shard import pack_of, pack_path, packs_in, shard_name
from radhard.campaign.store import TENSORS, Folder, folders

#: What a campaign's folder has beside tables of faults.
_BESIDE = ("campaign.toml", "strata.parquet", TENSORS)


@dataclass(frozen=True, slots=True)
class Held:
    """What can be kept of a campaign's folder.

    Attributes:
        folder: of the campaign.
        faults: in whole tables, by number of shard.
        damaged: why a file can't be used, by its path.
    """

    folder: Folder
    faults: dict[int, int]
    damaged: dict[Path, str]

    @property
    def missing(self) -> tuple[int, ...]:
        """Shards before the last one of which there is no whole table."""
        last = max(self.faults, default=-1)
        return tuple(shard for shard in range(last) if shard not in self.faults)


def held_in(store: Path) -> list[Held]:
    """Look through every file of a store.

    Raises:
        StoreError: where there is no campaign, or its own record can't be read.
    """
    return [_held(folder) for folder in folders(store)]


def _held(folder: Folder) -> Held:
    own, faults = Folder(folder.path, folder.about()["identity"]["id"]), dict[int, int]()
    damaged: dict[Path, str] = {}
    shards = own.shards()
    for shard in shards:
        try:
            kept = own.kept(shard_name(shard))
        except StoreError as error:
            damaged[own.path / f"{shard_name(shard)}.parquet"] = str(error)
            continue
        if kept is not None:
            faults[shard] = len(kept[0])
    damaged |= own.damaged() | own.strays()
    try:
        own.space()
    except StoreError as error:
        damaged[own.path / "strata.parquet"] = str(error)
    return Held(own, faults, damaged)


def merge(stores: Sequence[Path | str], into: Path | str) -> list[Held]:
    """Unite parts of campaigns, such as those that `collect` ran with ``shards``, into one store.

    Nothing is written before all files were looked at. Of a shard that several parts have, the
    table of most faults is taken: they are the same as far as they go.

    Args:
        stores: folders given to ``--out``, or to ``collect(store=...)``.
        into: the united store, which may hold a part itself.

    Returns:
        what it holds then, by campaign.

    Raises:
        StoreError: for damaged files, which are named, or other campaigns of one name.

    >>> merge([], "united")
    Traceback (most recent call last):
    ...
    radhard.campaign.sealed.StoreError: no parts to merge: name the folders given to --out
    """
    into = Path(into)
    if not stores:
        raise StoreError("no parts to merge: name the folders given to --out")
    if (into / "campaign.toml").exists():
        raise StoreError(f"{into} is the folder of one campaign: give the one that it lies in")
    parts = [held for store in stores for held in held_in(Path(store))]
    if into.exists() and any(into.iterdir()):
        parts += held_in(into)
    ids: dict[str, str] = {}
    for held in parts:
        if held.damaged:
            raise StoreError(next(iter(held.damaged.values())))
        name, own = held.folder.path.name, held.folder.id
        if ids.setdefault(name, own) != own:
            raise StoreError(
                f"{held.folder.path} holds the answer to another question than the other {name}: "
                "merge parts of one campaign"
            )
    return [
        _united([held for held in parts if held.folder.path.name == name], into / name)
        for name in ids
    ]


def _goal(held: Held) -> float:
    """The faults that were asked for of a part; a precision is beyond any number."""
    faults = held.folder.about().get("budget", {}).get("faults")
    return inf if faults is None else float(faults)


def _united(parts: Sequence[Held], into: Path) -> Held:
    own = Folder(into, parts[0].folder.id)
    best: dict[int, Held] = {}
    for held in parts:
        for shard, count in held.faults.items():
            if shard not in best or count > best[shard].faults[shard]:
                best[shard] = held
    with writing(into):
        own.check_own()
        first = max(parts, key=_goal).folder.path  # asked for most, in whatever order they come
        for name in _BESIDE:
            if (first / name).exists() and first.resolve() != into.resolve():
                replace_file(into / name, (first / name).read_bytes())
        whole = {pack: held for held in parts for pack in packs_in(held.folder.path)}
        for pack, held in whole.items():
            if not pack_path(into, pack).exists():
                source = pack_path(held.folder.path, pack)
                replace_file(pack_path(into, pack), read_file(source))
        for shard, held in best.items():
            name = shard_name(shard)
            if pack_of(shard) not in whole and held.folder.path.resolve() != into.resolve():
                replace_file(into / f"{name}.parquet", held.folder.content(name))
        space, proofs = own.space(), bool(own.about()["identity"]["proofs_hold"])
        for pack in sorted(set(map(pack_of, best)) - set(whole)):
            own.pack(pack, space, proofs)
        (into / PROGRESS).unlink(missing_ok=True)  # what one part said of itself
    faults = {shard: best[shard].faults[shard] for shard in sorted(best)}
    return Held(own, faults, {})
