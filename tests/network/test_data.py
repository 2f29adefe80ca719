import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from radhard.network.data import data_named, data_sources
from radhard.network.source import subject
from radhard.network.train import accuracy, train
from radhard.network.weights import save_weights, trained
from radhard.network.zoo import zoo_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small stand-ins for MNIST and CIFAR-10 in the layout that torchvision uses."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.arange(2 * 784, dtype=np.uint32).astype(np.uint8)
    for prefix in ("train", "t10k"):
        head = struct.pack(">IIII", 2051, 2, 28, 28)
        with gzip.open(raw / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
            file.write(head + pixels.tobytes())
        with gzip.open(raw / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">II", 2049, 2) + bytes([7, 3]))
    cifar = tmp_path / "cifar-10-batches-py"
    cifar.mkdir()
    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
        rows = np.full((3, 3072), 51, dtype=np.uint8)
        (cifar / name).write_bytes(pickle.dumps({b"data": rows, b"labels": [1, 2, 3]}))
    monkeypatch.setenv("RADHARD_DATA", str(tmp_path))
    return tmp_path


def test_digits_are_in_the_package() -> None:
    test, learn = data_named("digits"), data_named("digits", train=True)
    assert test.images.shape == (500, 1, 8, 8)
    assert learn.images.shape == (1297, 1, 8, 8)
    assert 0 <= float(test.images.min()) < float(test.images.max()) <= 1
    assert abs(float(learn.standardised().mean())) < 0.05


def test_mnist_is_read(folder: Path) -> None:
    found = data_named("mnist")
    assert found.images.shape == (2, 1, 28, 28)
    assert found.labels.tolist() == [7, 3]
    assert float(found.images[0, 0, 0, 1]) == pytest.approx(1 / 255)


def test_cifar_is_read(folder: Path) -> None:
    assert data_named("cifar10").images.shape == (3, 3, 32, 32)
    learn = data_named("cifar10", train=True)
    assert learn.images.shape == (15, 3, 32, 32)
    assert float(learn.images[0, 0, 0, 0]) == pytest.approx(0.2)


def test_image_folders_are_read(tmp_path: Path) -> None:
    for label, colour in (("cat", 0), ("dog", 255)):
        (tmp_path / label).mkdir()
        Image.new("RGB", (4, 6), (colour,) * 3).save(tmp_path / label / "a.png")
    found = data_named(str(tmp_path))
    assert found.images.shape == (2, 3, 6, 4)
    assert found.labels.tolist() == [0, 1]
    assert found.images[1].min() == 1
    Image.new("RGB", (5, 6)).save(tmp_path / "dog" / "b.png")
    with pytest.raises(ValueError, match="2 different sizes"):
        data_named(str(tmp_path))


def test_unknown_and_missing_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="did you mean cifar10"):
        data_named("cifar")
    with pytest.raises(ValueError, match="no images under"):
        data_named(str(tmp_path))
    monkeypatch.setenv("RADHARD_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="is no folder"):
        data_named("mnist")
    with pytest.raises(ValueError, match="use 1 to 500"):
        data_named("digits").first(501)


def test_real_data_have_the_known_sizes(real_data: Path) -> None:
    for source in data_sources():
        test = data_named(source.name)
        assert test.images.shape[1:] == source.shape
        assert int(test.labels.max()) == source.classes - 1


def test_shipped_weights_know_their_digits() -> None:
    entry = zoo_model("digits-cnn")
    assert accuracy(trained(entry, "digits"), entry, data_named("digits")) > 0.94


def test_training_learns_and_weights_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADHARD_CACHE", str(tmp_path))
    entry = zoo_model("digits-cnn")
    epochs: list[float] = []
    sets = data_named("digits", train=True), data_named("digits")
    model = train(entry, sets, 1, lambda _, loss, __: epochs.append(loss))
    assert len(epochs) == entry.recipe.epochs
    assert epochs[-1] < epochs[0] / 5
    path = save_weights(model, entry.name, "digits")
    again = trained(entry, "digits")
    assert path.parent == tmp_path / "weights"
    assert accuracy(again, entry, sets[1]) == accuracy(model, entry, sets[1])


def test_checkpoints_of_other_makers_load(tmp_path: Path) -> None:
    entry = zoo_model("resnet20")
    state = {f"module.{name}": value for name, value in entry.build(10).state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.th")
    assert trained(entry, "cifar10", tmp_path / "a.th").linear.out_features == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no zip", "no PyTorch checkpoint"), ({"a": 1}, "no state dict"), ({}, "don't fit")],
)
def test_bad_checkpoints(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "w.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        trained(zoo_model("lenet5"), "mnist", path)


def test_missing_weights_say_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADHARD_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="radhard train lenet5 --data mnist"):
        trained(zoo_model("lenet5"), "mnist")
    with pytest.raises(FileNotFoundError, match="no weights at"):
        trained(zoo_model("lenet5"), "mnist", tmp_path / "none.pt")


def test_models_of_the_user_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_models.py").write_text(
        "import torch\n"
        "def bare(): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
        "def whole(): return bare(), torch.rand(3, 1, 8, 8), torch.tensor([1, 2, 3])\n"
        "def wrong(): return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    assert subject("own_models:bare", "digits").images.shape == (500, 1, 8, 8)
    assert len(subject("own_models:whole").labels) == 3
    for name, message in (
        ("own_models:wrong", "gave int"),
        ("own_models:none", "no function 'none'"),
        ("no_such_module:f", "no module"),
        ("own_models:bare", "needs --data"),
    ):
        with pytest.raises(ValueError, match=message):
            subject(name)
