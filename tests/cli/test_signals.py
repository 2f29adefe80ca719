"""What stops a command ends it as Ctrl-C does: with a word on how to go on, and nothing lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-c", "from radhard.cli import main; main()")


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signals")
def test_a_stopped_campaign_goes_on(tmp_path: Path) -> None:
    words = ["assess", "digits-cnn", "--chip", "software", "--images", "8", "--out", "run"]
    running = subprocess.Popen(
        [*COMMAND, *words, "--faults", "10000000"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    for _ in range(1200):
        if len(list(tmp_path.glob("run/*/rows-*.parquet"))) > 3:
            break
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "stopped; what is done is in run, the same command goes on" in said
    assert "Traceback" not in said
    done = len(list(tmp_path.glob("run/*/rows-*.parquet")))
    assert done > 3
    assert not list(tmp_path.glob("run/*/.*partial"))
    checked = subprocess.run(
        [*COMMAND, "check", "run"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert f"in {done} shards\n" in checked.stdout


DEAF = """
import os, signal, torch
from torch import nn

class Cleared:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)  # what is raised here, Python drops

sent = []

def moved(faulty, golden, labels):
    if not sent:
        sent.append(1)
        Cleared()
    return faulty.argmax(-1) != golden.argmax(-1)

def net():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).eval()
    images = torch.rand(4, 1, 3, 3)
    return model, images, model(images).argmax(1)

def slow():
    print("slow", flush=True)
    import time
    time.sleep(30)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signals")
@pytest.mark.parametrize("begun", [True, False])
def test_a_signal_is_heard_whenever_it_comes(tmp_path: Path, begun: bool) -> None:
    """While Python clears something away, and before the campaign has begun."""
    (tmp_path / "deaf.py").write_text(DEAF)
    more = ["deaf:net", "--criterion", "deaf:moved"] if begun else ["deaf:slow"]
    words = ["assess", *more, "--chip", "software", "--faults", "10000000", "--out", "run"]
    running = subprocess.Popen(
        [*COMMAND, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    if not begun:
        assert running.stdout.readline() == "slow\n"
        running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 130, said
    told = "stopped; what is done is in run" if begun else "radhard: interrupted"
    assert said.splitlines()[-1].startswith(told)
    assert "Traceback" not in said
