"""A flipped bit in a store changes no number in silence; `make survival` flips more of them."""

import subprocess
import sys
from pathlib import Path


def test_a_flipped_bit_is_noticed_or_has_no_effect() -> None:
    """In a process of its own, since shards are shorter there, and there are fewer in a file."""
    words = [sys.executable, str(Path(__file__).with_name("flipped.py")), "--rounds", "30"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "30 bits flipped" in done.stdout
    assert "by name" in done.stdout
