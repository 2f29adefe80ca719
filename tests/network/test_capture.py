import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from radhard.network.arithmetic import Formats
from radhard.network.zoo import zoo, zoo_model


@pytest.mark.parametrize("entry", [m for m in zoo() if m.data != "imagenet"], ids=lambda m: m.name)
def test_zoo_models_are_captured_faithfully(entry) -> None:
    model = entry.build(entry.classes).eval()
    images = torch.randn(3, *entry.shape, generator=torch.Generator().manual_seed(0))
    work = rh.capture(model, images, torch.tensor([0, 1, 2]))
    with torch.no_grad():
        torch.testing.assert_close(work.logits(images), model(images), rtol=1e-4, atol=1e-4)
    kinds = (nn.Conv2d, nn.Linear)
    assert len(work.layers) == sum(isinstance(m, kinds) for m in model.modules())


@pytest.mark.parametrize(
    ("name", "macs"),
    [("lenet5", 416_520), ("resnet20", 40_551_040), ("alexnet", 724_406_816)],
)
def test_macs_are_the_known_ones(name: str, macs: int) -> None:
    entry = zoo_model(name)
    work = rh.capture(entry.build(entry.classes), torch.randn(1, *entry.shape), torch.tensor([0]))
    assert sum(layer.macs for layer in work.layers) == macs


def test_loop_bounds(residual: nn.Module, images: Tensor, labels: Tensor) -> None:
    work = rh.capture(residual, images, labels)
    assert [layer.name for layer in work.layers] == ["stem", "left", "right", "head"]
    left, right, head = (dict(layer.bounds) for layer in work.layers[1:])
    assert left == {"m": 6, "c": 3, "e": 8, "f": 8, "r": 3, "s": 3, "groups": 2}
    assert right == {"m": 4, "c": 6, "e": 4, "f": 4, "r": 3, "s": 3, "groups": 1}
    assert head == {"m": 5, "c": 40, "e": 1, "f": 1, "r": 1, "s": 1, "groups": 1}


def test_attention_layers_are_found(attention: nn.Module, images: Tensor, labels: Tensor) -> None:
    work = rh.capture(attention, images, labels)
    kinds = [layer.kind for layer in work.layers]
    assert kinds.count("attention") + kinds.count("matmul") >= 1
    assert kinds[0] == "conv"
    assert kinds[-1] == "linear"
    with torch.no_grad():
        torch.testing.assert_close(work.logits(images), attention(images), rtol=1e-4, atol=1e-4)


class Shapes(nn.Module):
    """One- and three-dimensional convolutions, a plain matrix product, a module that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Conv1d(2, 4, 3, padding=1)
        self.solid = nn.Conv3d(1, 2, 3, padding=1, dilation=1)
        self.twice = nn.Linear(16, 16)
        self.matrix = nn.Parameter(torch.randn(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.line(x.flatten(2)).unflatten(1, (1, 4)).unflatten(3, (8, 8))
        y = self.solid(y).flatten(2).mean(2)
        y = torch.cat([y] * 8, 1)
        return torch.matmul(self.twice(self.twice(y)), self.matrix)


def test_other_layers_and_repeated_modules(images: Tensor) -> None:
    work = rh.capture(Shapes(), images, torch.tensor([0, 1, 2, 0, 1, 2]))
    names = [layer.name for layer in work.layers]
    assert names[:4] == ["line", "solid", "twice", "twice#2"]
    assert [layer.kind for layer in work.layers] == ["conv", "conv", "linear", "linear", "matmul"]
    assert dict(work.layers[1].bounds)["e"] == 4 * 8
    faults = rh.Campaign(work, model=rh.StuckAt(1)).run(until=300)
    assert faults.n == 300


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(128, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x.flatten(1))
        return y if y.sum() > 0 else -y


class Centred(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(128, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x.flatten(1))
        return y - y.mean(0)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Identity(), Branch()), "layer 1"),
        (Centred(), "mean mixes the images"),
        (nn.Conv2d(2, 3, 3), "gives no logits: its output for one image is"),
        (nn.Sequential(nn.Flatten(), nn.Linear(128, 3), nn.Softmax(1)), "softmax"),
        (nn.Flatten(), "nothing to strike"),
    ],
    ids=["branch", "mixing", "map", "softmax", "no layers"],
)
def test_models_that_can_t_be_captured(model: nn.Module, message: str, images: Tensor) -> None:
    with pytest.raises(rh.CaptureError, match=message):
        rh.capture(model, images, torch.zeros(6, dtype=torch.int64))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1]), "2 labels for 6 images"),
        (torch.tensor([0, 1, 2, 3, 4, 5]), "label 5 can't be: the model tells 5 classes"),
        (torch.tensor([0, 1, 2, 3, 4, -1]), "label -1"),
        (torch.zeros(6), "one class number"),
    ],
)
def test_labels_that_don_t_match(residual, images: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rh.capture(residual, images, labels)


def test_formats_that_are_none(residual: nn.Module, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(TypeError, match="no number format"):
        rh.capture(residual, images, labels, format="fp16")
    with pytest.raises(ValueError, match="use floating point"):
        rh.capture(residual, images.long(), labels)


def test_formats_per_tensor(residual: nn.Module, images: Tensor, labels: Tensor) -> None:
    mixed = Formats(rh.INT4_CHANNEL, rh.FLOAT16, rh.FLOAT32)
    work = rh.capture(residual, images, labels, format=mixed)
    assert work.formats.name == "int4-channel/fp16/fp32"
    assert not work.arithmetic[0].exact
    assert work.weight(0).unique().numel() <= 16 * 6
    assert torch.isfinite(work.logits(images)).all()


def test_changed_copies_keep_ranges(residual: nn.Module, images: Tensor, labels: Tensor) -> None:
    work = rh.capture(residual, images, labels, format=rh.INT8)
    fewer = work.with_(images=images[:2], labels=labels[:2])
    assert fewer.arithmetic == work.arithmetic
    assert work.with_(format=rh.FLOAT16).formats.name == "fp16"
    assert fewer.fingerprint() != work.fingerprint()
    again = rh.capture(residual, images, labels, format=rh.INT8)
    assert again.fingerprint() == work.fingerprint()


def test_exported_programs_are_taken(residual: nn.Module, images: Tensor, labels: Tensor) -> None:
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(residual, (images[:2],), dynamic_shapes=({0: batch},))
    work = rh.capture(program, images, labels)
    with torch.no_grad():
        torch.testing.assert_close(work.logits(images), residual(images), rtol=1e-4, atol=1e-4)
    assert [layer.name for layer in work.layers] == ["stem", "left", "right", "head"]


def test_two_weightless_operands_have_no_weight(attention, images: Tensor, labels: Tensor) -> None:
    work = rh.capture(attention, images, labels)
    number = next(k for k, layer in enumerate(work.layers) if layer.kind in {"attention", "matmul"})
    with pytest.raises(ValueError, match="both operands are activations"):
        work.weight(number)
    assert all(
        s.layer != work.layers[number].name for s in rh.SoftwareSpace(work, ("weight",)).strata
    )
