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
