"""Programs that are found again: the same as captured anew, and only where nothing has changed."""

import io
import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import radhard as rh
from conftest import seeded
from radhard.network import export, remembered
from radhard.network.pickled import tensors_in

LABELS = torch.tensor([0, 1, 2, 0])
OWN = """
import torch
from torch import nn

GAIN = 1.0

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.head, self.times = nn.Linear(3, 3), 2
    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)) * self.times * GAIN)
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
    return Exports(monkeypatch)


def own_module(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = OWN):
    (folder / "own_network.py").write_text(text)
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


def test_weights_images_and_code_are_looked_at(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_module(tmp_path, monkeypatch)
    one = seeded(own.Own(), 1).eval()
    found = [rh.capture(one, images(), LABELS).fingerprint()]
    rh.capture(seeded(own.Own(), 1).eval(), images(), LABELS)
    assert exports.count == 1
    one.head.weight.data[0, 0] += 1
    found.append(rh.capture(one, images(), LABELS).fingerprint())  # another weight
    one.norm.running_mean[1] += 1
    found.append(rh.capture(one, images(), LABELS).fingerprint())  # another statistic
    one.times = 3
    found.append(rh.capture(one, images(), LABELS).fingerprint())  # another number
    assert exports.count == 4
    rh.capture(one, images(1), LABELS)
    assert exports.count == 5  # other images
    other = own_module(tmp_path, monkeypatch, OWN.replace("torch.relu", "torch.tanh"))
    two = other.Own().eval()
    two.load_state_dict(one.state_dict())
    two.times = 3
    found.append(rh.capture(two, images(), LABELS).fingerprint())  # other code
    assert exports.count == 6
    assert len(set(found)) == len(found)


def test_what_no_digest_sees_is_seen_in_the_logits(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that lies outside of the module, in one that is imported."""
    own = own_module(tmp_path, monkeypatch)
    one = seeded(own.Own(), 1).eval()
    before = rh.capture(one, images(), LABELS)
    monkeypatch.setattr(own, "GAIN", 5.0)
    after = rh.capture(one, images(), LABELS)
    assert exports.count == 2
    with torch.no_grad():
        assert torch.allclose(rh.record(after).logits, one(images()), rtol=1e-5)
    assert not torch.allclose(rh.record(before).logits, rh.record(after).logits)


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "flipped"])
def test_damaged_files_are_made_anew(exports: Exports, tmp_path: Path, damage: str) -> None:
    first = rh.capture(model(), images(), LABELS)
    (path,) = kept(exports, tmp_path)
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 255
    parts = {"cut": held[: len(held) // 2], "empty": b"", "foreign": b"PK\3\4", "flipped": held}
    path.write_bytes(parts[damage])
    again = rh.capture(model(), images(), LABELS)
    assert again.fingerprint() == first.fingerprint()
    assert exports.count == 2 or damage == "flipped"
    rh.capture(model(), images(), LABELS)
    assert exports.count <= 2


def test_equal_weights_are_not_taken_for_one(exports: Exports) -> None:
    """One stored weight that two layers read is struck for both of them."""
    one = seeded(nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Linear(36, 36)), 5).eval()
    one[2].load_state_dict(one[1].state_dict())
    tied = nn.Sequential(nn.Flatten(), one[1], one[1]).eval()
    works = [rh.capture(net, images(), LABELS) for net in (one, tied, one, tied)]
    assert exports.count == 2
    assert [bool(work.shared) for work in works] == [False, True, False, True]


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
        torch.save({"program": pickle.dumps(crafted), "others": []}, path)
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
