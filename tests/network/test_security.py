"""Files that would run code while they are loaded, and don't."""

import contextlib
import gzip
import json
import os
import pickle
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import EpsImagePlugin, Image
from torch import Tensor, nn

import radhard as rh
from radhard.network.archive import program_in
from radhard.network.data import data_named
from radhard.network.pickled import arrays_in
from radhard.network.source import subject

Edit = Callable[[dict[str, bytes], str], None]


class Payload:
    """Runs a shell command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 10))
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(
        model.eval(), (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: batch},)
    )


@pytest.fixture(scope="module")
def saved(program, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The members of a sound archive."""
    path = tmp_path_factory.mktemp("sound") / "net.pt2"
    torch.export.save(program, path)
    with zipfile.ZipFile(path) as held:
        return {name: held.read(name) for name in held.namelist()}


def written(members: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as held:
        for name, content in members.items():
            held.writestr(name, content)
    return path


def member(members: dict[str, bytes], end: str) -> str:
    return next(name for name in members if name.endswith(end))


def changed(members: dict[str, bytes], end: str, change: Callable[[Any], None]) -> None:
    name = member(members, end)
    held = json.loads(members[name])
    change(held)
    members[name] = json.dumps(held).encode()


def torch_bytes(held: Any, path: Path) -> bytes:
    torch.save(held, path)
    return path.read_bytes()


def sample_inputs(members: dict[str, bytes], command: str) -> None:
    name = member(members, "sample_inputs/model.pt")
    members[name] = torch_bytes(((Payload(command),), {}), Path("payload"))


def expression(members: dict[str, bytes], command: str) -> None:
    def change(held: Any) -> None:
        sizes = held["graph_module"]["graph"]["tensor_values"]["input"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = f"__import__('os').system({command!r})"

    changed(members, "model.json", change)


def weight(members: dict[str, bytes], command: str) -> None:
    def change(held: Any) -> None:
        held["config"]["0.weight"]["use_pickle"] = True

    changed(members, "model_weights_config.json", change)
    members[member(members, "weights/weight_0")] = torch_bytes(Payload(command), Path("payload"))


def constant(members: dict[str, bytes], command: str) -> None:
    def change(held: Any) -> None:
        held["config"]["thing"] = {
            "path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None,
        }  # fmt: skip

    changed(members, "model_constants_config.json", change)
    folder = member(members, "model_constants_config.json").rpartition("/")[0]
    members[f"{folder}/opaque_obj_0"] = pickle.dumps(Payload(command))


def guard(members: dict[str, bytes], command: str) -> None:
    def change(held: Any) -> None:
        held["guards_code"] = [f"__import__('os').system({command!r}) == 0"]

    changed(members, "model.json", change)


def function(target: str) -> Edit:
    def edit(members: dict[str, bytes], command: str) -> None:
        def change(held: Any) -> None:
            node = held["graph_module"]["graph"]["nodes"][0]
            node["target"] = target
            node["inputs"] = [{"name": "x", "arg": {"as_string": command}, "kind": 1}]

        changed(members, "model.json", change)

    return edit


CRAFTED: dict[str, tuple[Edit, str, bool]] = {
    "sample inputs": (sample_inputs, "posix.system (sample inputs)", True),
    "expression": (expression, "the formula", True),
    "weight": (weight, "posix.system (0.weight)", True),
    "constant": (constant, "the object thing", True),
    "guard": (guard, "the formula", False),
    "function of Python": (function("torch.os.system"), "torch.os.system", False),
    "operator": (function("_operator.call"), "_operator.call", False),
    "file": (function("torch.ops.aten.save.default"), "aten.save", False),
    "other library": (function("torch.ops.prim.device.default"), "prim.device", False),
}


@pytest.mark.parametrize("what", CRAFTED)
def test_crafted_programs_run_nothing(
    what: str, saved: dict[str, bytes], tmp_path: Path, monkeypatch, at_the_command_line
) -> None:
    monkeypatch.chdir(tmp_path)
    edit, message, runs_when_trusted = CRAFTED[what]
    members = dict(saved)
    edit(members, "touch marker")
    written(members, tmp_path / "net.pt2")
    code, _, said = at_the_command_line("assess", "net.pt2", "--data", "digits")
    assert not Path("marker").exists()
    assert code == 2
    assert message in said
    assert "--trust" in said
    assert said.count("\n") == 1
    if runs_when_trusted:  # the payload is a real one
        with contextlib.suppress(rh.CaptureError):
            subject("net.pt2", "digits", trust=True)
        assert Path("marker").exists()


def test_sound_programs_are_read_as_torch_reads_them(
    program, saved: dict[str, bytes], tmp_path: Path
) -> None:
    module = program_in(written(saved, tmp_path / "net.pt2"))
    images, labels = torch.rand(3, 1, 8, 8), torch.tensor([1, 2, 3])
    ours, theirs = (rh.capture(m, images, labels) for m in (module, program))
    assert ours.fingerprint() == theirs.fingerprint()
    assert [layer.name for layer in ours.layers] == ["0", "3"]


def test_programs_with_more_than_convolutions(attention: nn.Module, tmp_path: Path) -> None:
    class Around(nn.Module):
        """Sizes in formulas, constants, a buffer that is not stored, results in a list."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = attention
            self.register_buffer("place", torch.rand(2, 1, 1), persistent=False)
            self.weight = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])

        def forward(self, x: Tensor) -> Tensor:
            a, b = (x + self.place).chunk(2, 1)
            y = self.inner(torch.cat([b, a], 1).reshape(x.shape[0] * 2, -1).reshape(x.shape))
            return y * self.weight + torch.full((x.shape[0], 5), float("inf")).clamp(max=1.0)

    images = torch.rand(3, 2, 8, 8)
    dynamic = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(Around().eval(), (images[:2],), dynamic_shapes=dynamic)
    torch.export.save(program, tmp_path / "net.pt2")
    with torch.no_grad():
        assert torch.equal(program_in(tmp_path / "net.pt2")(images), program.module()(images))


def test_programs_of_a_fixed_batch_and_damaged_ones(
    program, saved: dict[str, bytes], tmp_path: Path
) -> None:
    fixed = torch.export.export(program.module(), (torch.rand(2, 1, 8, 8),))
    torch.export.save(fixed, tmp_path / "fixed.pt2")
    with pytest.raises(rh.CaptureError, match=r"fixed.pt2: .* batches of exactly 2 images"):
        program_in(tmp_path / "fixed.pt2")
    whole = written(saved, tmp_path / "net.pt2").read_bytes()
    (tmp_path / "cut.pt2").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(rh.CaptureError, match=r"cut.pt2 is no program of torch.export.save"):
        program_in(tmp_path / "cut.pt2")
    old = {"serialized_state_dict.pt": b"", "version": b"8.1"}
    with pytest.raises(rh.CaptureError, match="older version"):
        program_in(written(old, tmp_path / "old.pt2"))


@pytest.mark.parametrize("version", [{"major": 99, "minor": 1}, {"major": 7, "minor": 3}, {}])
def test_programs_of_another_version_are_refused(
    version: dict[str, int], saved: dict[str, bytes], tmp_path: Path
) -> None:
    members = dict(saved)
    changed(members, "model.json", lambda held: held.update(schema_version=version))
    named = rf"net.pt2: .* version {version.get('major')} .*, of which 8 is read"
    with pytest.raises(rh.CaptureError, match=named):
        program_in(written(members, tmp_path / "net.pt2"))
    changed(members, "model.json", lambda held: held.update(schema_version={"major": 8}))
    assert program_in(written(members, tmp_path / "net.pt2"))


def test_a_file_can_t_ask_for_trust(tmp_path: Path, monkeypatch, at_the_command_line) -> None:
    (tmp_path / "ask.toml").write_text('model = "net.pt2"\ntrust = true\n')
    code, _, said = at_the_command_line("run", str(tmp_path / "ask.toml"))
    assert code == 2
    assert "--trust" in said


@pytest.mark.parametrize("cached", [False, True])
def test_crafted_checkpoints_run_nothing(
    cached: bool, tmp_path: Path, monkeypatch, at_the_command_line
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RADHARD_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "cache" / "weights" / "digits-cnn-digits.pt"
    path.parent.mkdir(parents=True)
    torch.save({"weight": Payload("touch marker")}, path)
    chosen = [] if cached else ["--weights", str(path)]
    code, _, said = at_the_command_line("assess", "digits-cnn", *chosen)
    assert not Path("marker").exists()
    assert code == 2
    assert "posix.system" in said
    assert "weights_only" not in said
    assert said.count("\n") == 1
    torch.load(path, weights_only=False)
    assert Path("marker").exists()


def test_a_crafted_cifar_batch_runs_nothing(
    tmp_path: Path, monkeypatch, at_the_command_line
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RADHARD_DATA", str(tmp_path))
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    content = pickle.dumps({b"data": Payload("touch marker"), b"labels": [1]})
    (folder / "test_batch").write_bytes(content)
    code, _, said = at_the_command_line("train", "convnet")
    assert code == 2
    code, _, said = at_the_command_line("assess", "convnet")
    assert not Path("marker").exists()
    assert code == 2
    assert "test_batch is damaged: it asks for posix.system" in said
    assert said.count("\n") == 1
    pickle.loads(content)
    assert Path("marker").exists()


def test_no_bytes_are_made_but_none(tmp_path: Path) -> None:
    assert arrays_in(pickle.dumps([b"", b"a"], protocol=2)) == [b"", b"a"]
    with pytest.raises(TypeError):  # a terabyte
        arrays_in(b"c__builtin__\nbytes\n(I1000000000000\ntR.")


def test_a_folder_of_pickles_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(gzip.compress(pickle.dumps(Payload("touch marker"))))
    with pytest.raises(ValueError, match=r"a/x.png can't be read"):
        subject("digits-cnn", str(tmp_path))


def test_an_image_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = tmp_path / "called"
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {called}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    path = tmp_path / "set" / "a" / "x.png"
    path.parent.mkdir(parents=True)
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match=r"a/x.png can't be read \(it is none of PNG, JPEG, "):
        subject("digits-cnn", str(tmp_path / "set"))
    assert not called.exists()
    with contextlib.suppress(OSError, subprocess.CalledProcessError), Image.open(path) as image:
        image.load()
    assert called.exists()  # Pillow left to itself starts it


@pytest.mark.parametrize("place", ["set/a/x.png", "MNIST/raw/t10k-images-idx3-ubyte.gz"])
def test_pipes_are_not_waited_for(place: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RADHARD_DATA", str(tmp_path))
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("images-idx3", "labels-idx1"):
        (raw / f"t10k-{name}-ubyte.gz").write_bytes(b"")
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(ValueError, match=rf"{path.name}.* no regular file"):
        data_named("mnist" if "MNIST" in place else str(tmp_path / "set"))


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "w.pt2"])
def test_models_in_pipes_are_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    program = name.endswith(".pt2")
    model, weights = (str(tmp_path / name), None) if program else ("digits-cnn", tmp_path / name)
    with pytest.raises(FileNotFoundError, match=f"{name}: "):
        subject(model, "digits", weights)
