"""Several writers, folders that can't be written, full disks: who is refused, and what is kept."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import radhard as rh
from radhard.campaign.lock import LOCK, writing
from radhard.campaign.sealed import StoreError
from radhard.campaign.store import Folder

COMMAND = (sys.executable, "-c", "from radhard.cli import main; main()")
ASKED = ("assess", "digits-cnn", "--chip", "software", "--images", "8", "--out", "run")


@pytest.fixture(scope="module")
def campaign(residual, images, labels) -> rh.Campaign:
    return rh.Campaign(rh.capture(residual, images, labels, format=rh.FLOAT16), name="it")


def begun(tmp_path: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, *ASKED, *words], cwd=tmp_path, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def mounted(place: Path, options: str) -> bool:
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_two_campaigns_begun_at_once(tmp_path: Path, at_the_command_line, monkeypatch) -> None:
    """Of one name in one folder: one of them is refused, and the other one's store is sound."""
    ways = [("--seed", seed, "--faults", "1000000") for seed in ("0", "1")]
    running = [begun(tmp_path, *way) for way in ways]
    for _ in range(1200):
        ended = [one for one in running if one.poll() is not None]
        if ended and len(list(tmp_path.glob("run/*/rows-*"))) > 2:
            break
        time.sleep(0.1)
    (refused,) = ended
    (winner,) = (one for one in running if one is not refused)
    said = refused.communicate()[1]
    winner.terminate()
    winner.communicate(timeout=60)
    assert winner.returncode == 130
    assert refused.returncode == 2
    assert "radhard: run" in said
    assert "name another folder" in said
    assert "Traceback" not in said
    monkeypatch.chdir(tmp_path)
    code, out, _ = at_the_command_line("check", "run")
    assert code == 0
    assert "missing" not in out
    again = ("--seed", str(running.index(winner)), "--faults", "300")
    assert at_the_command_line(*ASKED, *again)[0] == 0


def test_a_second_writer_is_refused_by_name(campaign: rh.Campaign, tmp_path: Path) -> None:
    next(rh.collect([campaign], 100, tmp_path))
    before = {path: path.read_bytes() for path in (tmp_path / "it").iterdir()}
    match = rf"it is being written by process {os.getpid()} on .*: wait until that ends"
    with writing(tmp_path / "it"), pytest.raises(rh.StoreError, match=match):
        next(rh.collect([campaign], 300, tmp_path))
    assert {path: path.read_bytes() for path in (tmp_path / "it").iterdir()} == before
    assert next(rh.collect([campaign], 300, tmp_path)).n == 300  # it has let go


def test_who_is_killed_lets_go(campaign: rh.Campaign, tmp_path: Path) -> None:
    held = (
        "import sys, time; from pathlib import Path; from radhard.campaign.lock import writing\n"
        "with writing(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    words = [sys.executable, "-c", held, str(tmp_path / "it")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(rh.StoreError, match=f"written by process {other.pid} on"):
            next(rh.collect([campaign], 100, tmp_path))
        other.kill()
    assert next(rh.collect([campaign], 100, tmp_path)).n == 100


def test_a_system_without_locks_is_told(campaign, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("radhard.campaign.lock.fcntl", None)
    with pytest.warns(UserWarning, match="it can't be locked .* no other process writes there"):
        next(rh.collect([campaign], 100, tmp_path))


def test_a_page_leaves_out_what_has_only_begun(campaign: rh.Campaign, tmp_path: Path) -> None:
    """Another campaign of the store that has no faults yet is no reason to have no page."""
    next(rh.collect([campaign], 100, tmp_path))
    other = campaign.with_(seed=1, name="other")
    list(rh.collect([other], 100, tmp_path))
    (tmp_path / "other" / "rows-000000.parquet").unlink()
    assert "other" not in rh.report(tmp_path).read_text().partition("<script")[0]
    (tmp_path / "it" / "rows-000000.parquet").unlink()
    with pytest.raises(rh.StoreError, match="holds no finished faults yet"):
        rh.report(tmp_path)


def test_a_folder_that_can_only_be_read(
    campaign: rh.Campaign, tmp_path: Path, at_the_command_line
) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    if not mounted(place, "size=4m"):
        pytest.skip("a disk can't be mounted here")
    try:
        next(rh.collect([campaign], 100, place / "run"))
        found = Folder(place / "run" / "it").result()
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        with pytest.raises(OSError, match="Read-only") as told:
            next(rh.collect([campaign], 300, place / "run"))
        assert str(place) in str(told.value.filename)
        assert Folder(place / "run" / "it").result()["sdc1"] == found["sdc1"]  # it can be read
        for words in (["check", "run"], [*ASKED[:-1], "run2"], ["report", "run"]):
            words[-1] = str(place / words[-1])
            code, _, said = at_the_command_line(*words)
            assert code == (0 if words[0] == "check" else 1)
            assert said.count("\n") == (0 if words[0] == "check" else 1)
            assert words[0] == "check" or (str(place) in said and "once it may be written" in said)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(tmp_path: Path, monkeypatch, at_the_command_line) -> None:
    """A real one of half a megabyte: the command stops cleanly, and goes on once there is room."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "run"
    place.mkdir()
    if not mounted(place, "size=400k"):
        pytest.skip("a disk can't be mounted here")
    try:
        asked = (*ASKED, "--faults", "12000", "--json")  # without --out no page is made
        code, _, said = at_the_command_line(*asked)
        assert code == 1
        assert said.count("\n") == 1
        assert "rows-" in said
        assert "can't be written: No space left on device; what is finished is kept" in said
        (folder,) = (path for path in place.iterdir() if path.is_dir())
        assert not [path for path in folder.iterdir() if path.suffix == ".partial"]
        done = len(list(folder.glob("rows-*")))
        assert done > 0
        assert at_the_command_line("check", "run")[0] == 0
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        assert at_the_command_line(*asked)[0] == 0
        assert len(list(folder.glob("rows-*"))) > done
        assert LOCK in {path.name for path in folder.iterdir()}
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_that_is_no_file_is_left_alone(tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other"
    other.write_text("of somebody else")
    (tmp_path / "run").mkdir()
    lock = tmp_path / "run" / LOCK
    make = {"link": lambda: lock.symlink_to(other), "pipe": lambda: os.mkfifo(lock)}
    make.get(kind, lock.mkdir)()
    with pytest.raises(StoreError, match=r"\.lock is no file of its own"):
        writing(tmp_path / "run").__enter__()
    assert other.read_text() == "of somebody else"
