"""The command line: one file per verb."""

from __future__ import annotations

import _thread
import errno
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
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
from radhard.folders import installed

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

#: Exit code after Ctrl-C and its like, and seconds after which one that was lost comes again.
_STOPPED, _AGAIN = 130, 0.05

#: Characters of a message, and of an argument, at most.
_LONGEST, _ARGUMENT = 1200, 4096


def main() -> None:
    """Run the command line: exit code 2 for wrong use, 1 for failure, 130 when interrupted."""
    warnings.showwarning = _show
    for name in ("SIGTERM", "SIGHUP"):  # what schedulers and closed terminals send
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores it
            signal.signal(number, _interrupt)
    sys.unraisablehook = _unheard
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
        if stop.code == _STOPPED and not isinstance(stop.__context__, KeyboardInterrupt):
            print("radhard: interrupted", file=sys.stderr)  # of which typer says nothing
        raise
    except KeyboardInterrupt:
        print("radhard: interrupted", file=sys.stderr)
        sys.exit(_STOPPED)
    except Exception as error:
        if os.environ.get("RADHARD_DEBUG"):
            raise
        text, code = told(error)
        print(f"radhard: {shortened(text)}", file=sys.stderr)
        sys.exit(code)


def told(error: Exception) -> tuple[str, int]:
    """What is said of an error, and the exit code."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.errno in _FAILURES:
        written = error.filename or "output"
        then = "once it may be written" if error.errno == errno.EROFS else "once there is room"
        return (
            f"{written} can't be written: {error.strerror}; what is finished is kept, and the "
            f"same command goes on {then}"
        ), 1
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename} can't be used: {error.strerror}", 2
    own = blamed(error, sys.argv[1:])
    if own is not None:
        return own, 1
    if isinstance(error, ValueError | TypeError | OSError):
        return text, 2
    return f"{type(error).__name__}: {text} (RADHARD_DEBUG=1 shows where)", 1


def shortened(text: str) -> str:
    """A message without the middle of what is too long to be read."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"


def blamed(error: Exception, words: Sequence[str]) -> str | None:
    """An error that code of the user's own raised, or led to, as a message that names it."""
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = frame.f_code.co_filename
        if os.path.abspath(file).startswith(os.path.join(package, "")):
            break
        if os.path.isfile(file) and not installed(file):
            where = f"line {line} of {os.path.basename(file)}, in {frame.f_code.co_name},"
            return f"{where} raised {said}: mend it (RADHARD_DEBUG=1 shows how it was called)"
    if isinstance(error, ValueError | OSError) or error.__cause__ is not None:
        return None
    from radhard.campaign.rebuild import is_own  # which takes seconds to import

    named = [part for word in words for part in word.split(",") if is_own(part)]
    if not named:
        return None
    return (
        f"{said}, with {', '.join(named)} in use: see that what it gives has the shapes and types "
        "that docs/your-own.md says (radhard.testing checks them; RADHARD_DEBUG=1 shows where)"
    )


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """As Ctrl-C."""
    raise KeyboardInterrupt


def _unheard(lost: sys.UnraisableHookArgs) -> None:
    """Ctrl-C that came while Python cleared something away, where errors are dropped."""
    if lost.exc_type is None or not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    later = threading.Timer(_AGAIN, _thread.interrupt_main)
    later.daemon = True
    later.start()


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
