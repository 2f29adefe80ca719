"""The command line: one file per verb."""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from contextlib import nullcontext
from types import FrameType
from typing import NoReturn, TextIO

from radhard.cli.again import command_of, say
from radhard.cli.app import app
from radhard.cli.assess import assess
from radhard.cli.compare import compare_samplers
from radhard.cli.explore import explore
from radhard.cli.listing import listing
from radhard.cli.merge import check, merge
from radhard.cli.protect import protect
from radhard.cli.quantise import quantise
from radhard.cli.rank import rank
from radhard.cli.report import report
from radhard.cli.retune import retune
from radhard.cli.rtl import rtl
from radhard.cli.run import run
from radhard.cli.status import status
from radhard.cli.study import study
from radhard.cli.train import train
from radhard.cli.validate import validate

__all__ = [
    "app",
    "assess",
    "check",
    "compare_samplers",
    "explore",
    "listing",
    "main",
    "merge",
    "protect",
    "quantise",
    "rank",
    "report",
    "retune",
    "rtl",
    "run",
    "status",
    "study",
    "train",
    "validate",
]


#: No room, or none to write on, and broken disks: nobody asked for something wrong.
_FAILURES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}

#: Characters of a message, and of an argument, at most.
_LONGEST, _ARGUMENT = 1200, 4096


def main() -> None:
    """Run the command line: exit code 2 for wrong use, 1 for failure, 130 when interrupted."""
    warnings.showwarning = _show
    for name in ("SIGTERM", "SIGHUP"):  # what schedulers and closed terminals send
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores it
            signal.signal(number, _interrupt)
    if any(len(word) > _ARGUMENT for word in sys.argv):
        print(f"radhard: an argument of over {_ARGUMENT:,} characters can't be", file=sys.stderr)
        sys.exit(2)
    command = command_of(sys.argv[1:])
    if command is not None and command.repeated():
        sys.exit(0)
    try:
        with command.noted() if command is not None else nullcontext():
            app()
    except SystemExit as stop:
        if command is not None and not stop.code:
            command.keep()
        raise
    except KeyboardInterrupt:
        print("radhard: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if os.environ.get("RADHARD_DEBUG"):
            raise
        wrong_use = isinstance(error, ValueError | TypeError | OSError)
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.errno in _FAILURES:
            wrong_use = False
            text = (
                f"{error.filename or 'output'} can't be written: {error.strerror}; what is "
                "finished is kept, and the same command goes on once there is room"
            )
        elif isinstance(error, OSError) and error.filename and error.strerror:
            text = f"{error.filename} can't be used: {error.strerror}"
        elif not wrong_use:
            text = f"{type(error).__name__}: {text} (RADHARD_DEBUG=1 shows where)"
        print(f"radhard: {shortened(text)}", file=sys.stderr)
        sys.exit(2 if wrong_use else 1)


def shortened(text: str) -> str:
    """A message without the middle of what is too long to be read."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """As Ctrl-C."""
    raise KeyboardInterrupt


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning in one line, without the place in the code that it came from."""
    say(f"radhard: {' '.join(str(message).split())}")
