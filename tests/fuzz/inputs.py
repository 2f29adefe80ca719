"""What readers are given: bytes at random, and files that were whole before something was done."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from collections.abc import Sequence
from contextlib import suppress

from hypothesis import strategies as st

#: What text is given of, besides what it has: numbers that are none, and what opens and never ends.
WORDS = (
    b"nan", b"inf", b"-inf", b"1e400", b"-0", b"0", b"-1", b"9" * 30, b"1e-400", b"\x00", b"\xff",
    b"[" * 3000, b"{" * 3000, b"(" * 3000, b'"', b"'", b"\n", b"=", b",", b":", b"{}", b"[]",
    b"true", b"null", b"../../../etc/passwd", b"/dev/zero", b"<a href='http://x'>", b"%s", b"$(id)",
    "\u202e\u0130".encode(), b"\r", b" ", b"#", b"\\", b"1" + b"0" * 5000,
)  # fmt: skip
KINDS = ("flip", "put", "over", "drop", "cut", "twice")
#: An edit: what is done, where (a share of the length), and with what.
Edit = tuple[str, float, bytes]

_bytes = st.one_of(st.sampled_from(WORDS), st.binary(min_size=1, max_size=8))
_edits: st.SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.floats(0, 1, exclude_max=True),
        _bytes,
    ),
    min_size=1,
    max_size=4,
)


def damaged(samples: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Samples with up to four edits, of their bytes or, in containers, of what these hold."""

    def made(sample: bytes, inside: bool, edits: list[Edit]) -> bytes:
        return _inside(sample, edits) if inside else _edited(sample, edits)

    edited = st.builds(made, st.sampled_from(samples), st.booleans(), _edits)
    return st.one_of(edited, edited, edited, st.binary(max_size=300), st.just(b""))


def spoiled(samples: Sequence[bytes], chance: random.Random) -> bytes:
    """The same without a search for the shortest."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.randrange(300))
    edits = [
        (
            chance.choice(KINDS),
            chance.random(),
            chance.choice(WORDS)
            if chance.random() < 0.5
            else chance.randbytes(chance.randint(1, 8)),
        )
        for _ in range(chance.randint(1, 4))
    ]
    sample = chance.choice(samples)
    return _inside(sample, edits) if chance.random() < 0.5 else _edited(sample, edits)


def _edited(data: bytes, edits: Sequence[Edit]) -> bytes:
    for kind, share, what in edits:
        at = int(share * len(data))
        if kind == "flip" and data:
            changed = bytearray(data)
            changed[at] ^= 1 << what[0] % 8
            data = bytes(changed)
        elif kind == "put":
            data = data[:at] + what + data[at:]
        elif kind == "over":
            data = data[:at] + what + data[at + len(what) :]
        elif kind == "drop":
            data = data[:at] + data[at + len(what) :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "twice":
            data = data[:at] + data[at // 2 :]
    return data


def _inside(data: bytes, edits: Sequence[Edit]) -> bytes:
    """The same of what is packed, so that sums of containers are right."""
    if data[:2] == b"\x1f\x8b":
        return gzip.compress(_edited(gzip.decompress(data), edits), 1)
    if data[:2] != b"PK":
        return _edited(data, edits)
    with zipfile.ZipFile(io.BytesIO(data)) as held:
        members = [(name, held.read(name)) for name in held.namelist()]
    chosen = int(edits[0][1] * len(members))
    name, content = members[chosen]
    members[chosen] = name, _edited(content, [(edits[0][0], edits[-1][1], edits[0][2]), *edits[1:]])
    if edits[0][0] == "drop":
        del members[chosen]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as packed, suppress(UserWarning):
        for name, content in members:
            packed.writestr(name, content)
    return made.getvalue()
