"""A hundred shards in one file: the same rows and numbers, once, whatever befalls the file."""

import errno
import os
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

import radhard as rh
from radhard.campaign.pack import SUMS, member, summed
from radhard.campaign.sealed import replace_file
from radhard.campaign.shard import pack_path, packs_in, shard_name
from radhard.campaign.store import Folder
from radhard.campaign.union import held_in

PACK = 4


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radhard.campaign.shard.SHARD", 100)
    monkeypatch.setattr("radhard.campaign.shard.PACK", PACK)


@pytest.fixture(scope="module")
def campaign(residual, images, labels) -> rh.Campaign:
    work = rh.capture(residual, images, labels, format=rh.FLOAT16)
    sampler = rh.GradientImportance(candidates=5)  # which has weights, cells and candidates
    return rh.Campaign(work, sampler=sampler, name="it")


@pytest.fixture
def stored(campaign: rh.Campaign, tmp_path: Path) -> Path:
    """Ten shards: two files of four, and two files of one."""
    run(campaign, tmp_path)
    return tmp_path / "it"


def run(campaign: rh.Campaign, store: Path, until: int = 1000, **how) -> rh.Result:
    return next(rh.collect([campaign], until, store, **how))


def same(one: rh.Result, other: rh.Result) -> bool:
    """To the last bit: estimates, and what each fault did."""
    estimates = [[result[name] for name in result.metrics] for result in (one, other)]
    columns = ("id", "stratum", "image", "cell", "weight", "packed")
    rows = zip(*([getattr(r.runs, name) for name in columns] for r in (one, other)), strict=True)
    return estimates[0] == estimates[1] and all(np.array_equal(*pair) for pair in rows)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("rows-*"))


PACKED = [
    "rows-000000-000003.tar",
    "rows-000004-000007.tar",
    "rows-000008.parquet",
    "rows-000009.parquet",
]


def test_packed_shards_are_the_same(campaign: rh.Campaign, stored: Path, monkeypatch) -> None:
    assert names(stored) == PACKED
    alone = campaign.run(until=1000)
    assert same(Folder(stored).result(), alone)
    assert same(run(campaign, stored.parent), alone)
    assert same(run(campaign, stored.parent, 550), campaign.run(until=550))
    assert names(stored) == PACKED
    noted = summed(pack_path(stored, 1), campaign.id)  # without a row
    slow = Folder(stored)._added(range(4, 8), campaign.space(), campaign.proofs_hold)
    assert noted.seconds == slow.seconds
    for part in ("groups", "images"):
        mine, theirs = getattr(noted.tally, part), getattr(slow.tally, part)
        assert np.array_equal(mine.key, theirs.key)
        assert np.array_equal(mine.weights, theirs.weights)
        assert all(np.array_equal(mine.weighted[k], theirs.weighted[k]) for k in theirs.weighted)
    with tarfile.open(stored / PACKED[0]) as archive:
        assert archive.getnames() == [SUMS, *(f"{shard_name(k)}.parquet" for k in range(4))]
    precise = rh.Precision(0.02, most=1000)
    found = next(rh.collect([campaign], precise, stored.parent))
    assert found["sdc1"] == campaign.run(until=precise)["sdc1"]


def test_a_crash_at_any_step_counts_each_row_once(campaign, stored: Path) -> None:
    before = campaign.run(until=1000)
    path = pack_path(stored, 0)
    for left in range(PACK + 1):  # the file is there, so many single ones are gone
        for shard in range(left, PACK):
            name = f"{shard_name(shard)}.parquet"
            replace_file(stored / name, member(path, name))
        assert same(Folder(stored).result(), before)
    (stored / ".rows-000000-000003.tar.1.partial").write_bytes(b"half")
    assert same(run(campaign, stored.parent), before)
    assert names(stored) == PACKED
    assert not list(stored.glob(".*partial"))


@pytest.mark.parametrize("what", ["row", "sums", "header", "cut", "other", "empty"])
def test_a_damaged_file_loses_the_shard_that_is_damaged(campaign, stored, what: str) -> None:
    before, path = campaign.run(until=1000), pack_path(stored, 0)
    whole, other = path.read_bytes(), pack_path(stored, 1).read_bytes()
    with tarfile.open(path) as archive:
        places = {about.name: about for about in archive}
    second = places["rows-000001.parquet"]
    at = {"row": second.offset_data + 99, "header": second.offset + 3,
          "sums": places[SUMS].offset_data + 700}  # fmt: skip
    held = bytearray(whole)
    if what in at:
        held[at[what]] ^= 16
    contents = {"cut": whole[: second.offset_data + 100], "other": other, "empty": b""}
    path.write_bytes(contents.get(what, held))
    (held_now,) = held_in(stored)
    assert held_now.damaged
    if what in ("row", "sums", "header"):  # the other parts say all
        assert Folder(stored).result()["sdc1"] == before["sdc1"] or what == "header"
    with pytest.warns(UserWarning, match=r"rows-000000-000003.*aside-1"):
        assert same(run(campaign, stored.parent), before)
    assert names(stored) == sorted([*PACKED, "rows-000000-000003.tar.aside-1"])
    (held_now,) = held_in(stored)
    assert (held_now.damaged, held_now.missing) == ({}, ())


def test_whole_shards_of_a_damaged_file_are_not_run_again(campaign, stored: Path) -> None:
    path = pack_path(stored, 0)
    held = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        held[archive.getmember("rows-000002.parquet").offset_data + 50] ^= 1
    path.write_bytes(held)
    steps: list[int] = []
    with pytest.warns(UserWarning, match=r"rows-000002.parquet is damaged.* what is whole"):
        run(campaign, stored.parent, watch=lambda step: steps.append(step.fresh))
    assert steps[-1] == 100


def test_parts_are_packed_when_they_are_united(campaign, tmp_path: Path) -> None:
    run(campaign, tmp_path / "a", shards=(0, 6))
    run(campaign, tmp_path / "b", shards=(6, 10))
    assert names(tmp_path / "a" / "it") == [PACKED[0], "rows-000004.parquet", "rows-000005.parquet"]
    (held,) = rh.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    assert (sum(held.faults.values()), held.missing) == (1000, ())
    assert names(tmp_path / "all" / "it") == PACKED
    assert packs_in(tmp_path / "all" / "it") == [0, 1]
    assert same(Folder(tmp_path / "all" / "it").result(), campaign.run(until=1000))


def test_precision_packs_as_well(campaign: rh.Campaign, tmp_path: Path) -> None:
    next(rh.collect([campaign], rh.Precision(0.0001, most=900), tmp_path))
    assert names(tmp_path / "it") == PACKED[:3]


def test_no_room_for_a_file_of_many(campaign, tmp_path: Path, monkeypatch) -> None:
    """The shards are kept as they are, and put together once there is room."""
    fsync, calls = os.fsync, []

    def full(number: int) -> None:
        calls.append(number)
        if any(path.name.endswith(f".tar.{os.getpid()}.partial") for path in folder.iterdir()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    folder = tmp_path / "it"
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as told:
            run(campaign, tmp_path)
    assert told.value.filename == str(folder / PACKED[0])
    assert names(folder) == [f"{shard_name(k)}.parquet" for k in range(4)]
    assert not list(folder.glob(".*partial"))
    assert same(run(campaign, tmp_path), campaign.run(until=1000))
    assert names(folder) == PACKED


@pytest.mark.parametrize("name", ["rows-000001.parquet", "other.txt"])
def test_what_is_not_of_a_file_is_told(campaign, stored: Path, name: str) -> None:
    """Put in again, or by others; all shards are kept, and the file is made anew."""
    before, path = run(campaign, stored.parent), stored / PACKED[0]
    with tarfile.open(path, "a") as archive:
        about = tarfile.TarInfo(name)
        about.size = 3
        archive.addfile(about, BytesIO(b"abc"))
    (held,) = held_in(stored)
    assert f"{name} is in it" in held.damaged[path]
    with pytest.warns(UserWarning, match=f"{name} is in it"):
        assert same(run(campaign, stored.parent), before)
    assert names(stored)[:2] == [PACKED[0], f"{PACKED[0]}.aside-1"]
    assert not held_in(stored)[0].damaged
