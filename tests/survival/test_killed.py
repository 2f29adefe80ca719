"""Campaigns that are killed lose nothing; `make survival` has more rounds of it."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to see processes in")
def test_nothing_is_lost_when_processes_are_killed() -> None:
    """In a process of its own, since shards are shorter there."""
    words = [sys.executable, str(Path(__file__).with_name("killed.py")), "--rounds", "3"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "rows, none lost, doubled or changed" in done.stdout
