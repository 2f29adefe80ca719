import gzip
import json
import pickle
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from radhard.network.architectures import ACTIVATIONS
from radhard.network.data import data_named, data_sources
from radhard.network.folder import Reading, _pixels
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


def classes(root: Path, names: Iterable[object], each: int = 1, size: tuple[int, int] = (4, 6)):
    """A folder of class folders with pictures whose red value is the number of the class."""
    for k, name in enumerate(names):
        (root / str(name)).mkdir()
        for n in range(each):
            Image.new("RGB", size, (k, 100, 200)).save(root / str(name) / f"{n:03}.png")
    return root


def test_image_folders_are_read(tmp_path: Path) -> None:
    for label, colour in (("cat", 0), ("dog", 255)):
        (tmp_path / label).mkdir()
        Image.new("RGB", (4, 6), (colour,) * 3).save(tmp_path / label / "a.png")
    found = data_named(str(tmp_path))
    assert found.images.shape == (2, 3, 6, 4)
    assert found.classes == (("cat", 1), ("dog", 1))
    assert [float(image.max()) for image in found.images] == [float(k) for k in found.labels]
    Image.new("RGB", (5, 6)).save(tmp_path / "dog" / "b.png")
    with pytest.raises(ValueError, match=r"different sizes: .*6 x 5.* --size"):
        data_named(str(tmp_path))


def test_hidden_and_stray_files_are_no_classes_and_no_images(tmp_path: Path) -> None:
    classes(tmp_path, ["cat", "dog"])
    for stray in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "dog/.ipynb_checkpoints"):
        (tmp_path / stray).mkdir()
        (tmp_path / stray / "cat-checkpoint.png").write_bytes(b"no image")
    (tmp_path / "cat" / "._000.png").write_bytes(b"no image")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"no image")
    (tmp_path / "labels.csv").write_text("cat")
    found = data_named(str(tmp_path))
    assert sorted(found.labels.tolist()) == [0, 1]
    assert found.classes == (("cat", 1), ("dog", 1))
    assert found.note == ""


def test_files_that_are_left_out_are_counted(tmp_path: Path) -> None:
    classes(tmp_path, ["cat", "dog"])
    for name in ("cat/a.gif", "cat/b.ico", "dog/deep/c.tga", "dog/none"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "dog" / "000.png").rename(tmp_path / "dog" / "000.PNG")
    found = data_named(str(tmp_path))
    assert found.classes == (("cat", 1), ("dog", 1))
    endings = ".png, .jpg, .jpeg, .bmp, .webp, .ppm, .pgm, .tif, .tiff"
    assert found.note == f"4 other files left out: images are read from files that end in {endings}"


@pytest.mark.parametrize("kind", ["png", "jpg", "jpeg", "bmp", "webp", "ppm", "pgm", "tif", "tiff"])
def test_all_endings_are_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("L", (4, 6), 51).save(tmp_path / "a" / f"x.{kind}")
    assert data_named(str(tmp_path)).images.mean() == pytest.approx(0.2, abs=0.01)


def test_numbers_sort_as_numbers_and_names_as_names(tmp_path: Path) -> None:
    numbers, names = tmp_path / "numbers", tmp_path / "names"
    numbers.mkdir()
    names.mkdir()
    found = data_named(str(classes(numbers, range(12))))
    assert [name for name, _ in found.classes] == [str(k) for k in range(12)]
    red = (found.images[:, 0, 0, 0] * 255).round().long()
    assert torch.equal(red, found.labels)
    mixed = data_named(str(classes(names, ["n10", "n2", "Zebra"])))
    assert [name for name, _ in mixed.classes] == ["Zebra", "n10", "n2"]


@pytest.mark.parametrize("sizes", [(100,) * 5, (7, 150, 33), (1,) * 40])
def test_each_class_has_its_share_of_the_first_images(
    sizes: tuple[int, ...], tmp_path: Path
) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for k, n in enumerate(sizes):
        (root / f"c{k:02}").mkdir()
        for i in range(n):
            Image.new("L", (2, 2), i).save(root / f"c{k:02}" / f"{i}.png")
    found = data_named(str(root))
    again = data_named(str(root), how=Reading(most=9))
    assert torch.equal(found.images[:9], again.images)
    assert again.classes == found.classes
    total = sum(sizes)
    for first in range(1, total + 1):
        counts = torch.bincount(found.labels[:first], minlength=len(sizes))
        share = torch.tensor(sizes) * first / total
        assert float((counts - share).abs().max()) <= 2
    assert sorted(found.labels.tolist()) == [k for k, n in enumerate(sizes) for _ in range(n)]


def test_images_keep_their_levels(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray((ramp * 4).astype(np.uint8)).save(tmp_path / "a" / "eight.png")
    Image.fromarray(ramp * 1024 + 3).save(tmp_path / "a" / "sixteen.png")
    Image.fromarray(ramp * 1024 + 3).save(tmp_path / "a" / "sixteen.tif")
    grey = data_named(str(tmp_path), how=Reading(grey=True)).images
    assert grey.shape == (3, 1, 8, 8)
    expected = torch.from_numpy((ramp * 1024 + 3).astype(np.float32)) / 65535
    exact = [bool(torch.equal(image[0], expected)) for image in grey]
    assert sorted(exact) == [False, True, True]
    colour = data_named(str(tmp_path)).images
    assert torch.equal(colour, grey.expand(3, 3, 8, 8))


def test_kinds_of_images(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    half = Image.new("RGB", (6, 4), (10, 20, 30))
    half.paste((200, 100, 50), (0, 0, 2, 4))
    half.putalpha(Image.new("L", (6, 4), 7))
    half.save(folder / "rgba.png")
    half.convert("RGB").quantize(4).save(folder / "palette.png", transparency=b"\0\x80")
    half.convert("LA").save(folder / "la.png")
    half.convert("RGB").convert("CMYK").save(folder / "cmyk.tif")
    turned = half.convert("RGB").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn to the left
    turned.save(folder / "turned.png", exif=exif)
    found = {
        path.name: torch.from_numpy(_pixels(path, Reading())) for path in sorted(folder.iterdir())
    }
    expected = torch.tensor([200, 100, 50]) / 255
    for name in ("rgba.png", "palette.png", "cmyk.tif", "turned.png"):
        assert found[name].shape == (3, 4, 6), name
        torch.testing.assert_close(found[name][:, 1, 1], expected, atol=0.02, rtol=0)
    assert found["la.png"].unique().numel() == 2
    grey = _pixels(folder / "rgba.png", Reading(grey=True))
    assert grey.shape == (1, 4, 6)
    assert grey[0, 0, 0] == pytest.approx((0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255, abs=0.003)


def test_sizes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    wide = np.repeat(np.arange(0, 240, 2, dtype=np.uint8)[None], 60, 0)  # 60 rows, 120 columns
    Image.fromarray(wide).save(tmp_path / "a" / "wide.png")
    Image.fromarray(wide.T.copy()).save(tmp_path / "a" / "high.png")
    whole = data_named(str(tmp_path), how=Reading.of("60", grey=True)).images
    assert whole.shape == (2, 1, 60, 60)
    middle = torch.from_numpy(wide[:, 30:90].astype(np.float32)) / 255  # nothing was scaled
    assert any(torch.equal(image[0], middle) for image in whole)
    assert any(torch.equal(image[0], middle.T) for image in whole)
    cut = data_named(str(tmp_path), how=Reading.of("20x10/30", grey=True)).images
    assert cut.shape == (2, 1, 20, 10)
    scaled = torch.nn.functional.interpolate(
        torch.from_numpy(wide.astype(np.float32))[None, None], scale_factor=0.5, mode="bilinear",
        antialias=True,
    )[0, 0, 5:25, 25:35] / 255  # fmt: skip
    assert min(float((image[0] - scaled).abs().max()) for image in cut) < 1.1 / 255
    for size in ("0", "3x", "a", "224/100", "10x40/30", "-3", "10000", "8x99999999", "9/12345"):
        with pytest.raises(ValueError, match=r"size '.*' can't be"):
            Reading.of(size)
    with pytest.raises(ValueError, match="positive"):
        Reading.of(std=(0.5, 0.0))


def test_images_that_memory_can_t_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(shape: tuple[int, ...], dtype: type) -> None:
        raise MemoryError

    classes(tmp_path, ["a"])
    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(ValueError, match=r"1 images of shape \(3, 512, 512\) take 0 GiB.*fewer"):
        data_named(str(tmp_path), how=Reading.of("512"))


def test_mean_and_deviation_are_those_given(tmp_path: Path) -> None:
    classes(tmp_path, ["a"])
    raw = data_named(str(tmp_path)).standardised()
    assert torch.equal(raw, data_named(str(tmp_path)).images)
    three = data_named(str(tmp_path), how=Reading(mean=(0.1, 0.2, 0.3), std=(0.5,))).standardised()
    torch.testing.assert_close(three, (raw - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / 0.5)
    digits = data_named("digits", how=Reading(mean=(0.5,)))
    assert (digits.mean, digits.deviation) == ((0.5,), (0.3760,))
    with pytest.raises(ValueError, match="of 3 channels can't be"):
        data_named(str(tmp_path), how=Reading(mean=(0.1, 0.2))).standardised()
    with pytest.raises(ValueError, match="are for folders"):
        data_named("digits", how=Reading.of("16"))


def test_folders_that_can_t_be(tmp_path: Path) -> None:
    for k, (path, message) in enumerate(
        (
            ("train/cat/a.png", r"holds parts of a set \(train\)"),
            ("cat/a.png", r"a.png can't be read"),
            ("cat/none.txt", "no images under"),
            ("a.png", "no images under"),
        )
    ):
        root = tmp_path / str(k)
        (root / path).parent.mkdir(parents=True)
        (root / path).write_bytes(b"no image")
        with pytest.raises(ValueError, match=message):
            data_named(str(root))
    root = tmp_path / "whole"
    root.mkdir()
    classes(root, ["a", "c"])
    (root / "b").mkdir()
    with pytest.raises(ValueError, match=r"whole/b holds no image.*shift the labels"):
        data_named(str(root))
    (root / "b").rmdir()
    picture = np.random.default_rng(0).integers(0, 255, (60, 40), np.uint8)
    Image.fromarray(picture).save(root / "a" / "000.png")
    whole = (root / "a" / "000.png").read_bytes()
    (root / "a" / "000.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a/000.png can't be read"):
        data_named(str(root))


def idx(magic: int, *sizes: int, items: bytes) -> bytes:
    return gzip.compress(struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + items, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images", b"<html>503</html>", "can't be unpacked"),
        ("images", idx(2051, 2, 28, 28, items=bytes(1568))[:-9], "can't be unpacked"),
        ("images", idx(2051, 2, 28, 28, items=bytes(784)), "2 items, but there are 1"),
        ("images", idx(2051, 2, 14, 14, items=bytes(392)), "does not begin as"),
        ("images", gzip.compress(b"<html>", mtime=0), "does not begin as"),
        ("labels", idx(2049, 3, items=bytes(3)), "3 labels for 2 images"),
        ("labels", idx(2049, 2, items=bytes([3, 10])), "a label of 10"),
        ("labels", idx(2051, 2, 28, 28, items=bytes(1568)), "does not begin as"),
    ],
)
def test_damaged_files_are_named(folder: Path, name: str, content: bytes, message: str) -> None:
    axes = {"images": 3, "labels": 1}[name]
    path = folder / "MNIST" / "raw" / f"t10k-{name}-idx{axes}-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path.name} is damaged: .*{message}.*published file"):
        data_named("mnist")


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({b"data": np.zeros((3, 3072), np.uint8), b"labels": [1, 2]}, "2 labels for 3 images"),
        ({b"data": np.zeros((3, 3072), np.uint8), b"labels": [1, 2, 10]}, "none of the classes"),
        ({b"data": np.zeros((3, 1024), np.uint8), b"labels": [1, 2, 3]}, "no rows of 3,072"),
        ({b"data": [1]}, "no whole pickle"),
        ([1], "no whole pickle"),
    ],
)
def test_damaged_batches_are_named(folder: Path, held: object, message: str) -> None:
    path = folder / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(pickle.dumps(held))
    with pytest.raises(ValueError, match=rf"test_batch is damaged: .*{message}"):
        data_named("cifar10")


def test_cut_and_missing_batches(folder: Path) -> None:
    path = folder / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="test_batch is damaged: it is no whole pickle"):
        data_named("cifar10")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="test_batch"):
        data_named("cifar10")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_batches_of_any_protocol(folder: Path, protocol: int) -> None:
    rows = np.arange(2 * 3072, dtype=np.uint16).astype(np.uint8).reshape(2, 3072)
    path = folder / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(pickle.dumps({b"data": rows, b"labels": [4, 9], b"": b""}, protocol))
    found = data_named("cifar10")
    assert torch.equal((found.images * 255).round().reshape(2, -1), torch.from_numpy(rows).float())
    assert found.labels.tolist() == [4, 9]


def test_files_that_are_not_the_published_ones_are_told(folder: Path, real_data: Path) -> None:
    assert "t10k-images-idx3-ubyte.gz is whole, but not the published" in data_named("mnist").note
    assert data_named("mnist").note.count("MD5") == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADHARD_DATA", str(real_data))
        assert data_named("mnist").note == ""
        assert data_named("fashion-mnist").note == ""


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


@pytest.mark.parametrize("function", sorted(ACTIVATIONS))
def test_networks_have_other_activation_functions(function: str) -> None:
    entry, plain = zoo_model(f"digits-cnn-{function}"), zoo_model("digits-cnn").build(10)
    own = entry.build(10)
    kind = type(ACTIVATIONS[function]())
    for before, after in zip(plain, own, strict=True):
        assert type(after) is (kind if isinstance(before, torch.nn.ReLU) else type(before))
    assert own.state_dict().keys() == plain.state_dict().keys()
    with pytest.raises(FileNotFoundError, match=f"radhard train digits-cnn-{function} --data"):
        trained(entry, "digits")


def test_sigmoids_learn() -> None:
    entry, lost = zoo_model("digits-cnn-sigmoid"), []
    sets = data_named("digits", train=True), data_named("digits")
    entry = replace(entry, recipe=replace(entry.recipe, epochs=20))
    train(entry, sets, 0, lambda *found: lost.append(found[2]))
    assert lost[-1] > 0.85


def test_unknown_activation_functions_are_refused() -> None:
    with pytest.raises(ValueError, match="-FUNCTION behind a name"):
        zoo_model("lenet5-relu6")
    with pytest.raises(ValueError, match=r"resnet20 has no nn\.ReLU"):
        zoo_model("resnet20-tanh")


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


def test_safetensors_are_read(tmp_path: Path) -> None:
    entry = zoo_model("lenet5")
    state = entry.build(10).state_dict()
    names = {torch.float32: "F32", torch.int64: "I64"}
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for name, value in state.items():
        ends = [len(content), len(content) + value.numel() * value.element_size()]
        header[name] = {
            "dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": ends,
        }  # fmt: skip
        content += value.numpy().tobytes()
    head = json.dumps(header).encode()
    path = tmp_path / "w.safetensors"
    whole = len(head).to_bytes(8, "little") + head + content
    path.write_bytes(whole)
    loaded = trained(entry, "mnist", path).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
    for damaged in (whole[:-40], whole[:30], b"", b"x" * 100):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"w.safetensors is no whole safetensors file"):
            trained(entry, "mnist", path)


def safetensors(header: object, content: bytes = b"") -> bytes:
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + content


def entry(**other: object) -> dict[str, object]:
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **other}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (safetensors([]), "no table of tensors"),
        (safetensors({"w": 3}), "w has dtype None, not one of F64, F32"),
        (safetensors(entry(dtype="F8"), bytes(8)), "w has dtype 'F8'"),
        (safetensors(entry(dtype=["F32"]), bytes(8)), r"w has dtype \['F32'\]"),
        (safetensors(entry(shape=[-1]), bytes(8)), r"w has shape \[-1\]"),
        (safetensors(entry(shape=[True]), bytes(8)), r"w has shape \[True\]"),
        (
            safetensors(entry(shape=[3]), bytes(12)),
            r"F32 \[3\] takes 12 bytes, but lies at \[0, 8\]",
        ),
        (safetensors(entry(data_offsets=[0, 4, 8]), bytes(8)), r"data_offsets \[0, 4, 8\]"),
        (safetensors(entry(), bytes(7)), r"lies at \[0, 8\] of 7"),
        (safetensors(entry(more=1)), r"lies at \[0, 8\] of 0"),
        ((2**63).to_bytes(8, "little") + b"{}", "a header of 9223372036854775808 bytes"),
        ((10**5).to_bytes(8, "little") + b"[" * 10**5, "recursion"),
    ],
)
def test_damaged_safetensors_say_what_is_wrong(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"w.safetensors is no whole safetensors file: .*{message}"
    ):
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
