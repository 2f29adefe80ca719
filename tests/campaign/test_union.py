"""Parts of a campaign, run in several places and united."""

from pathlib import Path

import numpy as np
import pytest

import radhard as rh
from radhard.campaign.shard import part_of
from radhard.campaign.store import Folder
from radhard.campaign.union import held_in, merge


@pytest.fixture(scope="module")
def campaign(residual, images, labels) -> rh.Campaign:
    work = rh.capture(residual, images, labels, format=rh.FLOAT32, name="small")
    return rh.Campaign(work, rh.chips.SOFTWARE, name="it")


def part(campaign: rh.Campaign, folder: Path, shards: tuple[int, int], until: int = 3000) -> None:
    next(rh.collect([campaign], until, folder, shards=shards))


def test_parts_are_the_whole(campaign: rh.Campaign, tmp_path: Path, at_the_command_line) -> None:
    whole = campaign.run(until=3000)
    for number, shards in enumerate([(0, 2), (4, 9), (2, 4)]):
        part(campaign, tmp_path / f"p{number}", shards)
    part(campaign, tmp_path / "p3", (4, 5), 1200)  # the same shard, less far
    places = [str(tmp_path / f"p{number}") for number in (3, 0, 1)]
    code, out, _ = at_the_command_line("merge", *places, "--out", str(tmp_path / "all"))
    assert code == 0
    assert "2,400 faults in 4 shards, shards 2:4 are missing" in out
    assert (tmp_path / "all" / "report.html").exists()
    (held,) = rh.merge([tmp_path / "p2"], tmp_path / "all")
    assert (sum(held.faults.values()), held.missing) == (3000, ())
    found = next(rh.collect([campaign], 3000, tmp_path / "all"))
    assert np.array_equal(found.runs.packed, whole.runs.packed)
    assert (found["sdc1"], found.ra) == (whole["sdc1"], whole.ra)
    code, out, _ = at_the_command_line("check", str(tmp_path / "all"))
    assert (code, out) == (0, f"{tmp_path / 'all' / 'it'}: 3,000 faults in 6 shards\n")


def test_damaged_files_and_other_campaigns_are_named(
    campaign: rh.Campaign, tmp_path: Path, at_the_command_line
) -> None:
    part(campaign, tmp_path / "one", (0, 3))
    part(campaign.with_(seed=7, name="it"), tmp_path / "other", (3, 4))
    with pytest.raises(rh.StoreError, match="holds the answer to another question than the other"):
        rh.merge([tmp_path / "one", tmp_path / "other"], tmp_path / "all")
    path = tmp_path / "one" / "it" / "rows-000001.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(rh.StoreError, match=r"rows-000001\.parquet"):
        rh.merge([tmp_path / "one"], tmp_path / "all")
    assert not (tmp_path / "all").exists()
    code, out, said = at_the_command_line("check", str(tmp_path / "one"))
    assert code == 2
    assert "300 faults in 2 shards, shards 1:2 are missing" in out
    assert "rows-000001.parquet" in out
    assert "1 damaged files: run the campaign again" in said
    assert [len(held.damaged) for held in held_in(tmp_path / "other")] == [0]
    assert path.exists()  # nothing is changed


def test_parts_that_can_t_be(campaign: rh.Campaign, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shards 6:9 can't be: 3,000 faults are shards 0 to 5"):
        part(campaign, tmp_path / "none", (6, 9))
    with pytest.raises(ValueError, match="shards of a precision can't be"):
        next(rh.collect([campaign], rh.Precision(0.1), shards=(0, 1)))
    for text in ("3", "5:5", "a:b", "-1:2", "1:"):
        with pytest.raises(ValueError, match="use FROM:TO"):
            part_of(text)


def test_a_campaign_is_no_place_for_campaigns(campaign: rh.Campaign, tmp_path: Path) -> None:
    for number in (0, 1):
        part(campaign, tmp_path / str(number), (number, number + 1))
    with pytest.raises(rh.StoreError, match="is the folder of one campaign"):
        rh.merge([tmp_path / "0", tmp_path / "1"], tmp_path / "0" / "it")
    assert not list(tmp_path.glob("*/it/it"))


def test_rows_that_nothing_names_are_told(
    campaign: rh.Campaign, tmp_path: Path, at_the_command_line
) -> None:
    """A file of rows of no shard's name, and a folder of rows without a record."""
    store = tmp_path / "store"
    part(campaign, store, (0, 2))
    (store / "it" / "rows-000000-000099 (1).tar").write_bytes(b"")
    (store / "lost").mkdir()
    (store / "lost" / "rows-000000.parquet").write_bytes(b"")
    with pytest.warns(UserWarning, match="lost has rows, but no campaign.toml says of what"):
        (held,) = held_in(store)
    assert [path.name for path in held.damaged] == ["rows-000000-000099 (1).tar"]
    with pytest.raises(rh.StoreError, match=r"\(1\).tar is not counted"), pytest.warns():
        rh.merge([store], tmp_path / "all")
    code, out, _ = at_the_command_line("check", str(store / "it"))
    assert code == 2
    assert "(1).tar is not counted, since no shard has that name" in out
    with pytest.raises(rh.StoreError, match="lost has rows, but no"):
        held_in(store / "lost")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_goal_is_the_largest_one(
    campaign: rh.Campaign, tmp_path: Path, order: tuple[int, int]
) -> None:
    part(campaign, tmp_path / "0", (0, 2), 200)
    part(campaign, tmp_path / "1", (2, 3), 6000)
    merge([tmp_path / str(k) for k in order], tmp_path / "all")
    assert Folder(tmp_path / "all" / campaign.name).about()["budget"]["faults"] == 6000
