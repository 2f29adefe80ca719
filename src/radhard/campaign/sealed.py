"""Files of results that know what they are, so that damaged and misplaced ones are told apart.

A table is a Parquet file like any other. Among its metadata stand the campaign that it belongs to,
its own name, and a hash of all its bytes (with zeros in the hash's place), which is compared before
the file is parsed: a reader of Parquet may take any time over bytes that are wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radhard.toml import parsed

#: Where the hash stands in the bytes of a table, and what stands there while it is taken.
_SEAL, _MARK, _OPEN = b"radhard.seal", b"radhard-sha256:", b"0" * 64
#: Under which name a file of arrays has its own.
_SEALED = "radhard.seal"


class StoreError(ValueError):
    """A store that can't be read, or that holds the answer to another question."""


def digest(data: Any) -> str:
    """A hash of plain data: the same in every process, and after a turn through TOML."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


def record_seal(held: Mapping[str, Any]) -> str:
    """A hash of all that ``campaign.toml`` says, but for itself."""
    identity = {key: value for key, value in held["identity"].items() if key != "seal"}
    return digest({**held, "identity": identity})


class Record(NamedTuple):
    """What a ``campaign.toml`` says.

    Attributes:
        held: all of it.
        asked: what the question is made of.
        whole: whether it is as it was written.
    """

    held: dict[str, Any]
    asked: dict[str, Any]
    whole: bool

    @property
    def identity(self) -> dict[str, Any]:
        """What radhard says of it."""
        own: dict[str, Any] = self.held["identity"]
        return own


def read_record(path: Path) -> Record:
    """What a ``campaign.toml`` says.

    Raises:
        StoreError: for what is no record of a campaign.
    """
    try:
        held = parsed(read_file(path).decode())
        identity = held["identity"]
        if missing := {"id", "name"} - set(identity):
            raise ValueError(f"no {', '.join(sorted(missing))} in it")
        own = {str(name): held[name] for name in identity.get("question", ()) if name in held}
        return Record(held, own, identity.get("seal") == record_seal(held))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"{path} is no record of a campaign ({error}): move it away and run the campaign "
            "again, which keeps the finished faults"
        ) from error


def write_table(path: Path, table: Any, campaign: str, **notes: str) -> None:
    """Write a table of pyarrow; a killed run leaves it whole or not at all.

    Args:
        path: of the file; its stem is the name that the table keeps.
        table: the rows.
        campaign: id of the one that it belongs to.
        notes: more metadata.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    own = {"campaign": campaign, "name": path.stem, **notes}
    metadata = {f"radhard.{name}".encode(): note.encode() for name, note in own.items()}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({**metadata, _SEAL: _MARK + _OPEN}), sink)
    content: bytes = sink.getvalue().to_pybytes()
    place = content.rindex(_MARK) + len(_MARK)
    seal = hashlib.sha256(content).hexdigest().encode()
    replace_file(path, content[:place] + seal + content[place + len(seal) :])


def read_table(
    path: Path, campaign: str, content: bytes | None = None
) -> tuple[Any, dict[str, str]]:
    """The table of pyarrow that `write_table` wrote, and its notes.

    Args:
        path: of the file.
        campaign: that it should belong to.
        content: its bytes, where it lies in another file; read where ``None``.

    Raises:
        StoreError: where the file is damaged, misplaced, or of another campaign.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = read_file(path) if content is None else content
    if not is_whole(content):
        raise StoreError(f"{path} is damaged: its bytes are not those that radhard wrote")
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            table = file.read(use_threads=False)
        metadata = (table.schema.metadata or {}).items()
        notes = {key.decode().removeprefix("radhard."): note.decode() for key, note in metadata}
        own, name = notes["campaign"], notes["name"]
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{path} can't be read: {error}") from error
    if own != campaign:
        raise StoreError(f"{path} belongs to campaign {own[:8]}, not to {campaign[:8]} as the rest")
    if name != path.stem:
        raise StoreError(f"{path} is {name}{path.suffix} under another name")
    return table, notes


def read_file(path: Path) -> bytes:
    """The bytes of a regular file; anything else might never end, or is not there.

    Raises:
        StoreError: when it is no file, or can't be read.
    """
    if not path.is_file():
        kind = "leads nowhere, as a link" if path.is_symlink() else "is a folder, a pipe or gone"
        raise StoreError(f"{path} can't be read: it {kind}, where a file should be")
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror}") from error


def read_part(path: Path, start: int, size: int) -> bytes:
    """Bytes out of the middle of a file.

    Raises:
        StoreError: where it can't be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror}") from error


def is_whole(content: bytes) -> bool:
    """Whether bytes are those that `write_table` wrote."""
    place = content.rfind(_MARK) + len(_MARK)
    seal = content[place : place + len(_OPEN)]
    without = content[:place] + _OPEN + content[place + len(_OPEN) :]
    return place >= len(_MARK) and hashlib.sha256(without).hexdigest().encode() == seal


def set_aside(path: Path, reason: StoreError, then: str) -> None:
    """Rename a file that can't be used, so that nothing is lost, and warn.

    Args:
        path: the file.
        reason: why it can't be used.
        then: what happens in its stead.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    path.rename(aside)
    warnings.warn(f"{reason}; it was renamed to {aside.name}, and {then}", stacklevel=2)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that a killed run, or a full disk, leaves whole or not at all.

    Raises:
        OSError: with the name of the file, when it can't be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        error.filename, error.filename2 = str(path), None
        raise


def keep_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name to an ``.npz`` file, with a seal of them and of its own name."""
    replace_file(path, content_of(path, arrays))


def content_of(path: Path, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a file that `keep_arrays` writes."""
    content, sealed = BytesIO(), {**arrays, _SEALED: np.array(_seal_of(path, arrays))}
    np.savez_compressed(content, **sealed)  # type: ignore[arg-type]
    return content.getvalue()


def kept_arrays(path: Path, sealed: bool = False) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file, which has a checksum for each; no code in it is run.

    Args:
        path: the file.
        sealed: whether it must have a seal; one that it has is compared in any case.

    Raises:
        StoreError: when it can't be read, or its seal is missing or another one's.
    """
    return arrays_in(read_file(path), path, sealed)


def arrays_in(held: bytes, path: Path, sealed: bool = False) -> dict[str, NDArray[Any]]:
    """The same of bytes that were read from ``path``."""
    content = BytesIO(held)
    if not zipfile.is_zipfile(content):
        raise StoreError(f"{path} is damaged, or no file of arrays (.npz) that radhard wrote")
    try:
        with np.load(content, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except Exception as error:  # whatever the archive reader raises
        raise StoreError(f"{path} is damaged: it holds other things than whole arrays") from error
    seal = found.pop(_SEALED, None)
    if sealed and seal is None:
        raise StoreError(f"{path} has no seal: an earlier radhard, or something else, wrote it")
    if seal is not None and str(seal) != _seal_of(path, found):
        raise StoreError(f"{path} holds other numbers than were kept under this name")
    return found


def _seal_of(path: Path, arrays: Mapping[str, NDArray[Any]]) -> str:
    """A hash of a file's name and of what it holds."""
    found = hashlib.sha256(path.name.encode())
    for name, array in sorted(arrays.items()):
        whole = np.asarray(array)
        found.update(f"{name} {whole.dtype} {whole.shape} ".encode())
        found.update(np.ascontiguousarray(whole).tobytes())
    return found.hexdigest()


def reusable_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """The same for a run: ``None`` where there is none; a damaged one is set aside."""
    if not os.path.lexists(path):
        return None
    try:
        return kept_arrays(path, sealed=True)
    except StoreError as error:
        set_aside(path, error, "what it held is run again")
        return None
