"""Programs that are found again: the same as captured anew, and only where nothing has changed."""

import io
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from conftest import seeded
from radhard import folders
from radhard.network import export, remembered
from radhard.network.pickled import tensors_in

LABELS = torch.tensor([0, 1, 2, 0])
OWN = """
import torch
from torch import nn

MOST = 50.0

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 3)
    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)).clamp(max=MOST))
"""


def images(seed: int = 0) -> torch.Tensor:
    return torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(seed))


def model(channels: int = 3) -> nn.Module:
    return seeded(
        nn.Sequential(
            nn.Conv2d(1, channels, 3), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(channels * 4, 3),
        ),
        3,
    ).eval()  # fmt: skip


class Exports:
    """How often torch.export was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = export.exported

        def counted(*given):
            self.count += 1
            return real(*given)

        monkeypatch.setattr(export, "exported", counted)


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exports:
    monkeypatch.setenv("RADHARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RADHARD_ANSWERS", "yes")
    monkeypatch.setattr(folders, "installed", lambda file: True)  # the tests are there, too
    return Exports(monkeypatch)


def own_module(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "own_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(folder)
    sys.modules.pop("own_network", None)
    import own_network

    return own_network


def kept(exports: Exports, tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "programs").glob("*"))


def test_the_same_module_is_followed_once(exports: Exports, tmp_path: Path) -> None:
    first = rh.capture(model(), images(), LABELS, format=rh.INT8)
    again = rh.capture(model(), images(), LABELS, format=rh.FLOAT16)
    assert exports.count == 1
    anew = rh.capture(model(), images(), LABELS, format=rh.INT8)
    assert anew.fingerprint() == first.fingerprint()
    assert anew.covered == first.covered == again.covered
    assert torch.equal(rh.record(anew).logits, rh.record(first).logits)
    assert anew.program.steps[1].constant.data_ptr() != first.program.steps[1].constant.data_ptr()
    assert all(path.stat().st_size < 20_000 for path in kept(exports, tmp_path))


def test_weights_and_images_are_looked_at(exports: Exports) -> None:
    one = model()
    found = [rh.capture(one, images(), LABELS).fingerprint()]
    one[0].weight.data[0, 0] += 1
    found.append(rh.capture(one, images(), LABELS).fingerprint())  # another weight
    one[1].running_mean[1] += 1
    found.append(rh.capture(one, images(), LABELS).fingerprint())  # another statistic
    one[3].stride = 1
    one[3].kernel_size = 3
    found.append(rh.capture(one, images(), LABELS).fingerprint())  # other settings
    assert exports.count == 4
    assert len(set(found)) == len(found)
    rh.capture(one, images(1), LABELS)
    assert exports.count == 5  # other images
    one[2] = nn.Tanh()
    rh.capture(one, images(1), LABELS)
    assert exports.count == 6  # another class


def test_a_network_that_answers_otherwise_is_captured(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that was replaced, which no digest sees."""
    rh.capture(model(), images(), LABELS)
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: torch.tanh(x))
    after = rh.capture(model(), images(), LABELS)
    assert exports.count == 2
    with torch.no_grad():
        assert torch.allclose(rh.record(after).logits, model()(images()), rtol=1e-5)


def test_nothing_is_kept_beside_code_of_ones_own(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of the user's own may read a number that no image shows."""
    monkeypatch.setattr(folders, "installed", lambda file: "own_network" not in file)
    own = own_module(tmp_path, monkeypatch)
    one = seeded(own.Own(), 1).eval()
    before = rh.capture(one, images(), LABELS)
    monkeypatch.setattr(own, "MOST", 60.0)  # far above all values
    after = rh.capture(one, images(), LABELS)
    assert exports.count == 2
    assert not kept(exports, tmp_path)
    assert after.fingerprint() != before.fingerprint()


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_damaged_files_are_made_anew(exports: Exports, tmp_path: Path, damage: str) -> None:
    first = rh.capture(model(), images(), LABELS)
    (path,) = kept(exports, tmp_path)
    held = path.read_bytes()
    parts = {"cut": held[: len(held) // 2], "empty": b"", "foreign": b"PK\3\4"}
    path.write_bytes(parts[damage])
    again = rh.capture(model(), images(), LABELS)
    assert again.fingerprint() == first.fingerprint()
    assert exports.count == 2
    rh.capture(model(), images(), LABELS)
    assert exports.count == 2


def test_a_flipped_bit_is_noticed_or_changes_nothing(exports: Exports, tmp_path: Path) -> None:
    one = nn.Sequential(model(), nn.Hardtanh(-50.0, 50.0)).eval()
    right = rh.capture(one, images(), LABELS).fingerprint()
    (path,) = kept(exports, tmp_path)
    sound = repr(remembered._read(path, one))
    held, bound = path.read_bytes(), struct.pack(">d", 50.0)
    places = [held.index(bound) + 1, *np.random.default_rng(0).integers(0, len(held), 200)]
    for place in places:
        path.write_bytes(held[:place] + bytes([held[place] ^ 16]) + held[place + 1 :])
        found = remembered._read(path, one)
        assert found is None or repr(found) == sound
        assert found is None or place != places[0]
    path.write_bytes(held)
    assert rh.capture(one, images(), LABELS).fingerprint() == right
    assert exports.count == 1


def test_equal_weights_are_not_taken_for_one(exports: Exports) -> None:
    """One stored weight that two layers read is struck for both of them."""
    one = seeded(nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Linear(36, 36)), 5).eval()
    one[2].load_state_dict(one[1].state_dict())
    tied = nn.Sequential(nn.Flatten(), one[1], one[1]).eval()
    works = [rh.capture(net, images(), LABELS) for net in (one, tied, one, tied)]
    one[2].weight = nn.Parameter(one[1].weight.data)  # one place, two parameters
    rh.capture(one, images(), LABELS)
    assert exports.count == 3
    assert [bool(work.shared) for work in works] == [False, True, False, True]


def _sealed(program: bytes) -> dict:
    held = {"program": program, "others": []}
    return held | {"seal": remembered._seal(held)}


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["radhard.folders\nos.system", "os\nsystem", "torch\nload",
                                  "radhard.network.pickled\ntorch", "builtins\neval"])  # fmt: skip
def test_nothing_foreign_is_looked_up(exports: Exports, tmp_path: Path, name: str) -> None:
    rh.capture(model(), images(), LABELS)
    (path,) = kept(exports, tmp_path)
    reader = remembered._Reader(io.BytesIO(path.read_bytes()), model(), [])
    with pytest.raises(remembered.ForeignError):
        reader.find_class(*name.split("\n"))


def test_a_crafted_file_runs_nothing(exports: Exports, tmp_path: Path) -> None:
    rh.capture(model(), images(), LABELS)
    (path,) = kept(exports, tmp_path)
    target = tmp_path / "ran"
    for crafted in (Runs(target), [Runs(target)]):
        torch.save(_sealed(pickle.dumps(crafted)), path)
        assert "program" in tensors_in(path)
        rh.capture(model(), images(), LABELS)
        torch.save({"program": crafted, "others": []}, path)
        rh.capture(model(), images(), LABELS)
        assert not target.exists()
    assert exports.count == 5


def test_modules_without_a_file_are_captured_each_time(exports: Exports) -> None:
    class Local(nn.Sequential):
        pass

    for _ in range(2):
        rh.capture(Local(nn.Flatten(), nn.Linear(36, 3)).eval(), images(), LABELS)
    assert exports.count == 2


def test_nothing_is_kept_where_that_is_asked(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADHARD_ANSWERS", "no")
    for _ in range(2):
        rh.capture(model(), images(), LABELS)
    assert exports.count == 2
    assert not kept(exports, tmp_path)
