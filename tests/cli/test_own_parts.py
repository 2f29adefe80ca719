"""Parts of the user's own that are wrong: a message that names them, and no number."""

import sys
from pathlib import Path

import pytest

PARTS = """
from dataclasses import dataclass
import numpy as np, torch, radhard as rh
from own_chip import Scratchpad
from own_format import Posit8
from own_multiplier import OrInsteadOfAdd
from own_protection import Limited, Limiter
from own_sampler import EarlyFirst

class Raises(Posit8):
    def round(self, real): raise RuntimeError("no rounding today")
class Short(Posit8):
    def round(self, real): return super().round(real).flatten()[:3]
class Nothing(EarlyFirst):
    def proposal(self, space): return space.probability * np.nan
class Negative(EarlyFirst):
    def proposal(self, space):
        found = -space.probability
        found[0] += 2
        return found
class Twice(EarlyFirst):
    def proposal(self, space): return 2 * space.probability
class Few(EarlyFirst):
    def proposal(self, space): return np.ones(3) / 3
class Typo(Scratchpad):
    def corrupt(self, *given):
        found = super().corrupt(*given)
        object.__setattr__(found, "operand", np.full(len(found), "wieght"))
        return found
class OneAlarm(Limiter):
    def inspect(self, layer, output):
        kept, alarms = super().inspect(layer, output)
        return kept, alarms[:1]
class Alarmed(Limited):
    def guard(self, workload): return OneAlarm(50.0)
class Shut(Limited):
    def guard(self, workload): raise KeyError("shut")
"""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_the_command_line):
    (tmp_path / "wrong_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    monkeypatch.syspath_prepend(tmp_path)

    def asked(*words: str) -> tuple[int, str]:
        known = ("assess", "digits-cnn", "--faults", "100", "--images", "4", "--chip", "software")
        code, out, said = at_the_command_line(*known, *words, "--out", str(tmp_path / "run"))
        assert "Traceback" not in out + said
        return code, said

    yield asked
    for name in [name for name in sys.modules if name.startswith(("wrong_", "own_"))]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("option", "part", "said"),
    [  # those that raise, or lead to an error somewhere, fail (1); others are wrong use (2)
        ("--format", "Raises", "of wrong_parts.py, in round, raised RuntimeError: no rounding"),
        ("--format", "Short", "wrong_parts:Short"),
        ("--sampler", "Nothing", "Nothing proposes nan for stratum 0"),
        ("--sampler", "Negative", "Negative proposes -"),
        ("--sampler", "Twice", "whose sum is 2"),
        ("--sampler", "Few", "Few proposes shape (3,)"),
        ("--chip", "Typo", "Typo strikes operand 'wieght': use one of weight, input"),
        ("--protect", "Alarmed", "alarms of shape (1,)"),
        ("--protect", "Shut", "in guard, raised KeyError: 'shut'"),
        ("--multiplier", "Scratchpad", "is no Multiplier"),
    ],
)
def test_wrong_parts_are_named(ask, option: str, part: str, said: str) -> None:
    code, told = ask(option, f"wrong_parts:{part}")
    assert code == (1 if part in ("Raises", "Short", "Shut") else 2), told
    assert said in told


def test_a_multiplier_of_ones_own_runs(ask) -> None:
    code, told = ask("--multiplier", "wrong_parts:OrInsteadOfAdd")
    assert code == 0, told
