"""The same command again: what was printed before, where nothing that it came from has changed.

While a command runs, the files that it opens, the folders that it lists and the modules that it
imports are noted. What it printed is kept beside the size and the times of each of them. The same
words in the same place then print it at once, before torch is imported, if all of these are as they
were; else the command runs as ever, and what it finds in its store is not run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from radhard.folders import cache_place, keep_newest, keeps, own_code

#: Verbs that only answer: what they write lies in a folder of results. Explorations also depend on
#: tools outside of Python.
_VERBS = ("assess", "run", "protect", "study", "list")
#: What a command sees of its surroundings, beside what begins with RADHARD.
_SEEN = (
    "COLUMNS", "CUDA_VISIBLE_DEVICES", "FORCE_COLOR", "LANG", "LC_ALL", "NO_COLOR",
    "PYTHONIOENCODING", "PYTHONUTF8", "TERM",
)  # fmt: skip
#: Most answers that are kept; the oldest go first.
_MOST = 100

#: Size, and when content and file were changed last, in nanoseconds; nothing where there is none.
State = tuple[int, int, int] | None


class Command:
    """What one command says, and what that comes from."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._path = cache_place() / "answers" / f"{_key(words)}.z"
        self._begun = time.time_ns()
        self._said: list[tuple[str, str]] = []
        self._read, self._made = set[str](), set[str]()
        self._folders = set[Path]()

    def repeated(self) -> bool:
        """Print what was said before; tells whether there is such an answer, and it holds."""
        try:
            kept = json.loads(zlib.decompress(self._path.read_bytes()))
            if any(_state(path) != (state and tuple(state)) for path, state in kept["files"]):
                return False
            for stream, text in kept["said"]:
                print(text, end="", file=getattr(sys, stream))
        except (OSError, ValueError, zlib.error, LookupError, TypeError, RecursionError):
            return False
        return True

    @contextmanager
    def noted(self) -> Iterator[None]:
        """What is printed and opened meanwhile is noted."""
        stdout, sys.stdout = sys.stdout, _Tee(sys.stdout, self._said)
        _listen()
        _running.append(self)
        try:
            yield
        finally:
            sys.stdout = stdout
            _running.remove(self)

    def keep(self) -> None:
        """Keep what was said, unless code of a user's own had a part in it or a file changed."""
        files = {
            file
            for module in list(sys.modules.values())
            if isinstance(file := getattr(module, "__file__", None), str) and os.path.isabs(file)
        }
        if own_code():
            return
        words = {part for word in self._words for part in (word, word.partition("=")[2]) if part}
        read = {*files, *self._read, *map(os.path.abspath, filter(os.path.exists, words))}
        read.add(str(cache_place() / "weights"))
        made = {str(path) for folder in self._folders for path in (folder, *folder.rglob("*"))}
        states = {path: _state(path) for path in read | made | self._made if _matters(path)}
        fixed = (state for path, state in states.items() if path not in made | self._made)
        if any(state and max(state[1:]) >= self._begun for state in fixed):
            return
        kept: dict[str, Any] = {"files": sorted(states.items()), "said": self._said}
        with suppress(OSError):  # without room, or a place to write, the command runs again
            keep_newest(self._path, zlib.compress(json.dumps(kept).encode(), 1), _MOST)


#: The command that runs, if one is noted.
_running: list[Command] = []


def command_of(words: Sequence[str]) -> Command | None:
    """What is noted of a command; nothing of one that does more than answer."""
    if not keeps() or os.environ.get("RADHARD_DEBUG"):
        return None
    return Command(words) if words and words[0] in _VERBS and "--help" not in words else None


def say(text: str) -> None:
    """Print a line on standard error that belongs to the answer."""
    print(text, file=sys.stderr)
    for command in _running:
        command._said.append(("stderr", f"{text}\n"))


def results_in(folder: Path) -> None:
    """Whatever lies in a folder of results belongs to the answer."""
    for command in _running:
        command._folders.add(folder.resolve())


@cache
def _listen() -> None:
    """Hear of every file that Python opens and folder that it lists, from now on."""
    sys.addaudithook(_heard)


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if not _running or event not in ("open", "os.listdir", "os.scandir"):
        return
    path = arguments[0] if arguments[0] is not None else "."
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if isinstance(path, str):
        mode = arguments[1] if event == "open" else "r"
        flags = arguments[2] if event == "open" else 0
        writes = not set("wax+").isdisjoint(mode or "") or flags & (os.O_WRONLY | os.O_RDWR)
        for command in _running:
            (command._made if writes else command._read).add(os.path.abspath(path))


def _key(words: Sequence[str]) -> str:
    """The words, and what else a command sees before it opens a file."""
    tty = sys.stdout.isatty()
    seen = {k: v for k, v in os.environ.items() if k in _SEEN or k.startswith("RADHARD")}
    around = (os.getcwd(), sys.path, sys.executable, sys.version, platform.node())
    size = tuple(os.get_terminal_size(sys.stdout.fileno())) if tty else None
    text = json.dumps([list(words), around, sorted(seen.items()), size])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _state(path: str) -> State:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _matters(path: str) -> bool:
    """Compiled code and captured programs come from what is noted; devices hold no content."""
    programs = str(cache_place() / "programs")
    return "__pycache__" not in path and not path.startswith(("/proc/", "/sys/", "/dev/", programs))


class _Tee:
    """A stream that notes what is written to it."""

    def __init__(self, stream: TextIO, said: list[tuple[str, str]]) -> None:
        self._stream, self._said = stream, said

    def write(self, text: str) -> int:
        self._said.append(("stdout", text))
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
