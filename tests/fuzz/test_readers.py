"""Readers take what is whole and refuse the rest by name; `make fuzz` has 10,000 files for each."""

import subprocess
import sys
from pathlib import Path


def test_readers_survive_what_they_are_given() -> None:
    """In a process of its own, whose memory is limited."""
    words = [sys.executable, str(Path(__file__).with_name("judge.py")), "--inputs", "30"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" taken") == 18
