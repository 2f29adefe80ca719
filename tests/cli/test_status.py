"""`radhard status`: how far campaigns are, whatever the state of their folders."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import radhard as rh
from radhard.campaign.progress import PROGRESS, Progress, read_told
from radhard.campaign.union import merge

COMMAND = (sys.executable, "-c", "from radhard.cli import main; main()")
PLAIN = COMMAND[2] + "; assert 'torch' not in __import__('sys').modules"


def campaign(name: str = "tiny", seed: int = 0) -> rh.Campaign:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).eval()
    work = rh.capture(model, torch.randn(8, 1, 3, 3), torch.arange(8) % 3, name="tiny")
    return rh.Campaign(work, sampler=rh.Importance(), seed=seed, name=name)


def status(store: Path, *words: str, code: int = 0, command: str = COMMAND[2]) -> str:
    done = subprocess.run(
        [COMMAND[0], "-c", command, "status", str(store), *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_a_finished_and_a_stopped_campaign(tmp_path: Path) -> None:
    def stop(step: Progress) -> None:
        if step.done >= 1600:
            raise KeyboardInterrupt

    (result,) = rh.collect([campaign("one")], 3000, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        list(rh.collect([campaign("two")], 9000, tmp_path, stop))
    shown = json.loads(status(tmp_path, "--json"))["campaigns"]
    assert [one["state"] for one in shown] == ["finished", "stopped"]
    assert [(one["done"], one["goal"]) for one in shown] == [(3000, 3000), (1600, 9000)]
    assert shown[0]["estimate"]["high"] == pytest.approx(result["sdc1"].high)
    said = status(tmp_path)
    assert "two: stopped, 1,600 of 9,000 faults, sdc1 " in said
    assert said.splitlines()[1].endswith("the same command goes on")
    assert "<b>Unfinished:</b> 1,600 of 9,000 faults are done" in rh.report(tmp_path).read_text()
    told = (tmp_path / "one" / PROGRESS).stat()
    list(rh.collect([campaign("one")], 3000, tmp_path))  # finds all that it needs
    assert (tmp_path / "one" / PROGRESS).stat() == told
    (tmp_path / "one" / "rows-000003.parquet").unlink()
    assert "one: damaged: " in status(tmp_path, code=2)


def test_a_running_campaign_then_a_killed_one(tmp_path: Path) -> None:
    words = "assess digits-cnn --chip software --sampler importance --images 8 --out run"
    running = subprocess.Popen(
        [*COMMAND, *words.split(), "--faults", "100000000"], cwd=tmp_path,
        env={**os.environ, "RADHARD_ANSWERS": "no"},
    )  # fmt: skip
    try:
        for _ in range(1200):
            if list(tmp_path.glob(f"run/*/{PROGRESS}")):
                break
            time.sleep(0.1)
        time.sleep(1.5)
        said = status(tmp_path / "run", command=PLAIN)
        assert ": running, " in said
        assert f"process {running.pid} on " in said
        follow = subprocess.Popen(
            [*COMMAND, "status", "run", "--follow"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        time.sleep(4)
    finally:
        running.kill()
        running.wait()
    heard = follow.communicate(timeout=60)[0].splitlines()
    assert len(heard) > 1
    assert ": running, " in heard[0]
    assert ": killed, at least " in heard[-1]


def test_folders_of_every_kind(tmp_path: Path) -> None:
    assert "holds no campaign" in status(tmp_path, code=2)
    assert "holds no campaign" in status(tmp_path / "none", code=2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "campaign.toml").write_text("a = 3")
    assert "other: damaged: " in status(tmp_path, code=2)
    store = tmp_path / "store"
    for part in ((0, 3), (3, 5)):
        list(rh.collect([campaign()], 5000, store / str(part[0]), shards=part))
    assert "400 of 400 faults" in status(store / "0")
    told = read_told(store / "0" / "tiny", campaign().id)
    assert told is not None
    assert told.step.goal == 400
    merge([store / "0", store / "3"], store / "all")
    assert "tiny: unfinished, 1,600 of 5,000 faults, sdc1 " in status(store / "all")
    record = store / "all" / "tiny" / "campaign.toml"
    record.write_text(record.read_text().replace("5000", "1600"))
    assert "was changed since it was written" in status(store / "all", code=2)
    path = store / "0" / "tiny" / PROGRESS
    whole = path.read_bytes()
    path.write_bytes(b"")
    said = status(store / "0", code=2)
    assert f"tiny: damaged: {path} is damaged" in said
    assert "1 of 1 campaigns can't be read: radhard check" in said
    for damage in (b"{}", b"[]", whole[:-9], whole.replace(b"400", b"900")):
        path.write_bytes(damage)
        with pytest.raises(rh.StoreError, match="is damaged"):
            read_told(path.parent, campaign().id)
    path.write_bytes(whole)
    with pytest.raises(rh.StoreError, match="belongs to campaign"):
        read_told(path.parent, campaign(seed=1).id)
