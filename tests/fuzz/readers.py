"""Every reader of outside files, with whole samples, and what must hold of what it accepts."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import radhard as rh
from radhard.accel.chipfile import read_chip
from radhard.arith.compiled import _program
from radhard.campaign.ask import asked
from radhard.campaign.sealed import content_of, kept_arrays
from radhard.campaign.store import Folder
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace, Stratum
from radhard.network.data import DataSet, data_named
from radhard.network.given import inputs_in
from radhard.network.source import subject
from radhard.network.weights import trained
from radhard.network.zoo import zoo_model

ASSETS = Path(__file__).parents[1] / "network" / "assets"


@dataclass(frozen=True)
class Reader:
    """A reader, by the file that it is given.

    Attributes:
        place: of the file, below a folder of its own.
        samples: makes whole files.
        read: takes the file; gives what it accepts.
        sound: raises AssertionError for what should not have been accepted.
        beside: makes what must lie beside the file, given the folder.
        named: what messages name; the file where empty.
    """

    place: str
    samples: Callable[[], list[bytes]]
    read: Callable[[Path], Any]
    sound: Callable[[Any], None] = lambda found: None
    beside: Callable[[Path], None] = lambda folder: None
    named: str = ""


class Payload:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch radhard-fuzz-marker",)


def _saved(write: Callable[[Any], Any]) -> bytes:
    held = io.BytesIO()
    write(held)
    return held.getvalue()


def _npz() -> list[bytes]:
    x, labels = np.random.default_rng(0).random((4, 3), np.float32), np.arange(4)
    return [
        _saved(lambda f: np.savez(f, x=x, labels=labels)),
        _saved(lambda f: np.savez_compressed(f, x=x, labels=labels)),
        _saved(lambda f: np.savez(f, x=x * np.nan, labels=labels)),
        _saved(lambda f: np.savez(f, x=x, labels=labels[:3])),
        _saved(lambda f: np.savez(f, x=np.array([Payload()], object), labels=labels)),
    ]


def _labelled(found: Any) -> None:
    """As many labels as images, and no image of what is no number."""
    if isinstance(found, tuple):  # inputs, packed images, labels
        _, images, labels = found
    else:
        assert isinstance(found, DataSet)
        images, labels = found.images, found.labels
    assert len(images) == len(labels) > 0
    assert not bool(images.isnan().any())


def _images() -> list[bytes]:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8))
    return [
        _saved(lambda f, kind=kind: picture.save(f, kind)) for kind in ("PNG", "JPEG", "BMP", "PPM")
    ]


def _other_image(folder: Path) -> None:
    for name in ("set/a/y.png", "set/b/z.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(_images()[0])


def _idx(*head: int, items: bytes) -> bytes:
    return gzip.compress(struct.pack(f">{len(head)}I", *head) + items, 1)


_PIXELS, _LABELS = (f"MNIST/raw/t10k-{k}-ubyte.gz" for k in ("images-idx3", "labels-idx1"))


def _idx_beside(folder: Path) -> None:
    (folder / _PIXELS).parent.mkdir(parents=True, exist_ok=True)
    (folder / _PIXELS).write_bytes(_idx(2051, 2, 28, 28, items=bytes(1568)))
    (folder / _LABELS).write_bytes(_idx(2049, 2, items=bytes([7, 3])))


def _cifar() -> list[bytes]:
    rows, labels = np.full((3, 3072), 51, np.uint8), [1, 2, 3]
    held = {b"data": rows, b"labels": labels}
    return [pickle.dumps(held, protocol) for protocol in range(5)] + [
        pickle.dumps({b"data": Payload(), b"labels": labels}, 2)
    ]


def _batch(folder: Path) -> None:
    (folder / "cifar-10-batches-py").mkdir(exist_ok=True)


@cache
def _state() -> dict[str, Tensor]:
    return zoo_model("digits-cnn").build(10).state_dict()


def _checkpoints() -> list[bytes]:
    state = _state()
    broken = {**state, next(iter(state)): next(iter(state.values())) * torch.nan}
    return [
        _saved(lambda f: torch.save(state, f)),
        _saved(
            lambda f: torch.save({"state_dict": state}, f, _use_new_zipfile_serialization=False)
        ),
        _saved(lambda f: torch.save(broken, f)),
        _saved(lambda f: torch.save({"w": Payload()}, f)),
        pickle.dumps(Payload()),
    ]


def _safetensors() -> list[bytes]:
    import json

    head, body = {}, b""
    for name, value in _state().items():
        held = value.numpy().tobytes()
        head[name] = {"dtype": "F32", "shape": list(value.shape),
                      "data_offsets": [len(body), len(body) + len(held)]}  # fmt: skip
        body += held
    text = json.dumps(head).encode()
    return [struct.pack("<Q", len(text)) + text + body]


def _finite(module: nn.Module) -> None:
    assert not any(bool(value.isnan().any()) for value in module.state_dict().values())


@cache
def _program_file() -> bytes:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 10)).eval()
    batch = torch.export.Dim("batch", min=1)
    shapes = ({0: batch},)
    program = torch.export.export(model, (torch.rand(2, 1, 8, 8),), dynamic_shapes=shapes)
    return _saved(lambda f: torch.export.save(program, f))


SPACE = SiteSpace(
    tuple(Stratum(*place, 16, 100, 1.0, 100) for place in
          (("weight", "0", 3), ("activation", "a layer", 0), ("activation", "2%", 15))),
    images=5,
)  # fmt: skip


def _fault_list() -> list[bytes]:
    n = 6
    rng = np.random.default_rng(0)
    columns = [np.arange(n), rng.integers(0, 3, n), rng.integers(0, 100, n), rng.integers(0, 5, n)]
    faults = Faults(*columns, np.full(n, -1), np.full(n, 8), rng.random(n))
    return [faults.to_text(SPACE).encode()]


def _faults(path: Path) -> Faults:
    return Faults.from_text(path.read_bytes().decode(errors="replace"), SPACE)


def _weighted(faults: Faults) -> None:
    assert np.isfinite(faults.weight).all()
    assert (faults.weight >= 0).all()
    assert (faults.id >= 0).all()


CHIP = b"""name = "own"
about = "a line for lists"
pes = 256
latches_per_pe = 7
resident_filters = 16
[[component]]
name = "global-buffer"
kind = "sram"
holds = "inputs-of-layer"
instances = 1
kib = 128
rate_fit_per_mbit = 20.49
[[component]]
name = "product-latch"
kind = "latch"
holds = "product"
rate_fit_per_mbit = 20.49
"""


def _chips() -> list[bytes]:
    return [CHIP, (Path(__file__).parents[2] / "examples" / "own_array.toml").read_bytes()]


def _numbers(found: Any) -> None:
    """No number in it is none; parts that are made later are looked at then."""
    if isinstance(found, float):
        assert np.isfinite(found)
    elif isinstance(found, tuple | list):
        for part in found:
            _numbers(part)
    elif hasattr(found, "model_dump") or is_dataclass(found):
        parts = (
            type(found).__dataclass_fields__ if is_dataclass(found) else type(found).model_fields
        )
        for name in parts:
            _numbers(getattr(found, name))


CAMPAIGN = b"""model = "digits-cnn"
data = "digits"
format = "fp16"
chip = {type = "Systolic", rows = 4, cols = 4, dataflow = "ws"}
sampler = "gradient-importance:candidates=5"
protections = ["RangeDetector", {type = "RangeRestriction", cushion = 0.1}]
until = 0.02
confidence = 0.9
most = 5000
mean = [0.5]
std = [0.25]
seed = 3
tensors = "tensors.npz"
[criteria]
mine = "own:moved"
[identity]
model = "x"
"""


def _asked(path: Path) -> Any:
    ask = asked(path)
    assert ask.tensors is None or ask.tensors.parent == path.parent, "it leaves its folder"
    return ask, ask.budget(), ask.reading()


VERILOG = b"""module mul2u_own ( A, B, O );
  input [1:0] A;
  input [1:0] B;
  output [3:0] O;
  wire x, y, z;
  assign x = (A[1] & B[0]);
  assign y = (A[0] & B[1]);
  assign z = (x & y);
  assign O[0] = (A[0] & B[0]);
  assign O[1] = (x ^ y);
  assign O[2] = ((A[1] & B[1]) ^ z);
  assign O[3] = ((A[1] & B[1]) & z);
endmodule
"""

C = b"""#include <stdint.h>
/* a multiplier */
uint16_t mul8u_own(uint8_t A, uint8_t B) { return (uint16_t)A * B; }
"""


def _tables() -> list[bytes]:
    products = np.multiply.outer(np.arange(4), np.arange(4)).astype(np.int32)
    return [
        _saved(lambda f: np.save(f, products)),
        _saved(lambda f: np.save(f, products.astype(float))),
        _saved(lambda f: np.save(f, np.array([[Payload()]], object))),
    ]


@cache
def _store() -> dict[str, bytes]:
    from tempfile import TemporaryDirectory

    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    work = rh.capture(model, torch.rand(6, 1, 2, 2), torch.arange(6) % 3, name="tiny")
    clamp = rh.RangeRestriction().learned(work)
    campaign = rh.Campaign(work, protections=[clamp], name="it")
    with TemporaryDirectory() as place:
        next(rh.collect([campaign], 200, place))
        return {p.name: p.read_bytes() for p in Path(place, "it").iterdir() if p.name != ".lock"}


def _stored(folder: Path) -> None:
    for other, content in _store().items():
        (folder / other).write_bytes(content)


def _arrays() -> list[bytes]:
    return [content_of(Path("tensors.npz"), {"a": np.arange(9), "b": np.ones((2, 3))})]


def _result(path: Path) -> Any:
    return Folder(path.parent).result()


def _same(found: rh.Result) -> None:
    assert found.n in (100, 200)


READERS = {
    "npz": Reader("in.npz", _npz, inputs_in, _labelled),
    "images": Reader("set/a/x.png", _images, lambda path: data_named(str(path.parents[1])),
                     _labelled, _other_image),
    "idx images": Reader(_PIXELS, lambda: [_idx(2051, 2, 28, 28, items=bytes(1568))],
                         lambda _: data_named("mnist"), _labelled, _idx_beside),
    "idx labels": Reader(_LABELS, lambda: [_idx(2049, 2, items=bytes([7, 3]))],
                         lambda _: data_named("mnist"), _labelled, _idx_beside),
    "cifar": Reader("cifar-10-batches-py/test_batch", _cifar, lambda _: data_named("cifar10"),
                    _labelled, _batch),
    "checkpoint": Reader("w.pt", _checkpoints,
                         lambda path: trained(zoo_model("digits-cnn"), "digits", path), _finite),
    "safetensors": Reader("w.safetensors", _safetensors,
                          lambda path: trained(zoo_model("digits-cnn"), "digits", path), _finite),
    "pt2": Reader("net.pt2", lambda: [_program_file()],
                  lambda path: subject(str(path), "digits").model, _finite),
    "onnx": Reader("net.onnx", lambda: [p.read_bytes() for p in sorted(ASSETS.glob("*.onnx"))],
                   lambda path: subject(str(path), "digits").model, _finite),
    "fault list": Reader("faults.txt", _fault_list, _faults, _weighted, named="fault list"),
    "chip": Reader("chip.toml", _chips, read_chip, _numbers),
    "campaign": Reader("ask.toml", lambda: [CAMPAIGN], _asked, _numbers),
    "table": Reader("own.npy", _tables, lambda path: rh.read_table(path, False)),
    "verilog": Reader("own.v", lambda: [VERILOG], lambda path: rh.read_netlist(path, False)),
    "c": Reader("own.c", lambda: [C], lambda path: _program(path, False)),
    "store record": Reader("campaign.toml", lambda: [_store()["campaign.toml"]], _result, _same,
                           _stored),
    "store rows": Reader("rows-000001.parquet", lambda: [_store()["rows-000001.parquet"]],
                         _result, _same, _stored),
    "store arrays": Reader("tensors.npz", _arrays, kept_arrays),
}  # fmt: skip
