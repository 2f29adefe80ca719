import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import radhard as rh
from radhard.network.architectures import ACTIVATIONS
from radhard.network.archive import program_in
from radhard.network.format import Formats
from radhard.network.zoo import FUNCTIONS, zoo, zoo_model


@pytest.mark.parametrize("entry", zoo(), ids=lambda m: m.name)
def test_what_is_known_of_zoo_models_is_true(entry) -> None:
    with torch.device("meta"):
        made = entry.build(entry.classes)
    assert sum(part.numel() for part in made.parameters()) == entry.parameters


def test_other_functions_are_those_that_there_are() -> None:
    assert set(FUNCTIONS) == set(ACTIVATIONS)
    with pytest.raises(ValueError, match=r"resnet20 has no nn\.ReLU that tanh could stand for"):
        zoo_model("resnet20-tanh")


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


class Across(nn.Module):
    """A linear layer with a function of the user's behind it."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.inner = nn.Linear(128, 3)
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(self.inner(x.flatten(1)))


def _tail_reversed(y: Tensor) -> Tensor:
    """All images but the first two in reverse order."""
    k = torch.arange(y.shape[0])
    return y[torch.where(k > 1, 100 - k, k).argsort()]


def _first_three_reversed(y: Tensor) -> Tensor:
    """The first and the third image change places."""
    k = torch.arange(y.shape[0])
    return y[torch.where(k < 3, 2 - k, k).argsort()]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Identity(), Branch()), "layer 1"),
        (Centred(), "mean mixes the images"),
        (Across(lambda y: y.flip(0)), "flip lets one image of a batch influence another"),
        (Across(lambda y: y.roll(1, 0)), "roll lets one image of a batch influence another"),
        (Across(lambda y: y.cumsum(0)), "cumsum lets one image of a batch influence another"),
        (Across(_tail_reversed), "influence another"),
        (Across(_first_three_reversed), "influence another"),
        (Across(lambda y: torch.cat([y, torch.zeros(1, 3)])), "cat lets one image"),
        (Across(lambda y: y + torch.randn_like(y)), "randn_like draws random numbers"),
        (Across(lambda y: y + torch.rand(3)), "rand draws random numbers"),
        (Across(lambda y: F.dropout(y, 0.5, True)), "dropout draws random numbers"),
        (Across(lambda y: y.reshape(len(y), 3)), r"fixed number of images: .*len\(x\)"),
        (Across(lambda y: torch.stack([row * 2 for row in y])), "loop over the images"),
        (Across(lambda y: {"a": y, "b": y}), "gives 2 results"),
        (nn.BatchNorm2d(2, track_running_stats=False), "normalises by statistics of the images"),
        (nn.Sequential(nn.Flatten(), nn.Linear(128, 1)), "its output for one image is"),
        (nn.Sequential(nn.Flatten(), nn.Linear(128, 3), nn.Softmax(1)), "softmax"),
        (nn.Flatten(), "nothing to strike"),
    ],
    ids=[
        "branch",
        "mixing",
        "flip",
        "roll",
        "cumsum",
        "tail",
        "first three",
        "one more",
        "noise",
        "constant noise",
        "dropout",
        "len",
        "loop",
        "two results",
        "batch statistics",
        "one class",
        "softmax",
        "no layers",
    ],
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
        s.layer != work.layers[number].name for s in rh.software_space(work, ("weight",)).strata
    )


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # torch.compile imports what torch warns of
def test_wrappers_are_taken_off(residual: nn.Module, images: Tensor, labels: Tensor) -> None:
    plain = rh.capture(residual, images, labels)
    for wrapped in (
        nn.DataParallel(residual),
        torch.compile(residual),
        torch.compile(nn.DataParallel(residual)),
    ):
        work = rh.capture(wrapped, images, labels)
        assert work.fingerprint() == plain.fingerprint()
        assert work.name == "Residual"
        assert [layer.name for layer in work.layers] == ["stem", "left", "right", "head"]


@pytest.mark.parametrize(
    ("dtype", "message"),
    [(torch.float64, "rounded"), (torch.float16, "stay the same"), (torch.bfloat16, "the same")],
)
def test_other_precisions_are_told(
    residual: nn.Module, images: Tensor, labels: Tensor, dtype: torch.dtype, message: str
) -> None:
    other = copy.deepcopy(residual).to(dtype)
    with pytest.warns(UserWarning, match=f"are taken as float32 .*{message}"):
        work = rh.capture(other, images.to(dtype), labels)
    assert other.stem.weight.dtype == dtype
    assert torch.equal(work.weight(0), other.stem.weight.float())


def test_images_and_labels_of_other_kinds(images: Tensor, labels: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 5))
    plain = rh.capture(model, images, labels).fingerprint()
    for x, y in (
        (images.numpy(), labels.numpy()),
        (images.numpy().astype(np.float64), labels.tolist()),
        (images.tolist(), labels.to(torch.uint8)),
        (list(images), list(labels)),
        (images.clone().requires_grad_(), labels.numpy().astype(np.int16)),
    ):
        assert rh.capture(model, x, y).fingerprint() == plain
    for y, message in ((["a"] * 6, "labels of type list"), (labels * 1.0, "one class number")):
        with pytest.raises((TypeError, ValueError), match=message):
            rh.capture(model, images, y)
    with pytest.raises(ValueError, match="there are no images: give one or more"):
        rh.capture(model, images[:0], labels[:0])
    with pytest.raises(TypeError, match=r"labels of type NoneType can't be: .* list of numbers$"):
        rh.capture(model, images, None)
    with pytest.raises(ValueError, match=r"image 2 holds not-a-number \(2 of 6 images do\)"):
        rh.capture(model, images.index_fill(0, torch.tensor([2, 4]), torch.nan), labels)
    with pytest.raises(ValueError, match="on the meta device"):
        rh.capture(model, images.to("meta"), labels)


def test_models_that_hide_or_lack_something(images: Tensor, labels: Tensor) -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(128, 5))
    quantised = nn.Sequential(nn.Flatten(), nn.Linear(128, 5))
    quantised[1].weight = nn.Parameter(Tagged(torch.rand(5, 128)))
    fixed = torch.export.export(linear, (images[:2],))
    dynamic = ({0: torch.export.Dim("batch", min=1)},)
    double = copy.deepcopy(linear).double()
    for model, message in (
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(5)), "lazy layer has no shape"),
        (copy.deepcopy(linear).to("meta"), "parameter 1.weight is on the meta device"),
        (quantised, r"parameter 1.weight is a Tagged: .*--format int8"),
        (fixed, "batches of exactly 2 images: export it with dynamic_shapes"),
        (
            torch.export.export(double, (images[:2].double(),), dynamic_shapes=dynamic),
            "exported for images of torch.float64",
        ),
    ):
        with pytest.raises(rh.CaptureError, match=message):
            rh.capture(model, images, labels)
    with pytest.raises(TypeError, match="a function is no model"):
        rh.capture(lambda x: x, images, labels)


class Tagged(Tensor):
    """A weight of another class, as libraries for quantisation make them."""


def test_quantised_layers_and_scripts_are_refused(images: Tensor, labels: Tensor) -> None:
    class Packed(nn.Linear):
        """A layer from a library of quantised ones."""

    Packed.__module__ = "torch.ao.nn.quantized.modules.linear"
    with pytest.raises(rh.CaptureError, match=r"layer 1 is quantised already: .*--format int8"):
        rh.capture(nn.Sequential(nn.Flatten(), Packed(128, 5)), images, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        script = torch.jit.trace(nn.Sequential(nn.Flatten(), nn.Linear(128, 5)), images)
    with pytest.raises(rh.CaptureError, match="is a ScriptModule"):
        rh.capture(script, images, labels)


def test_the_mode_of_a_model_is_left_alone(images: Tensor, labels: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5))
    model.train()
    model[1].eval()
    before = [part.training for part in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    rh.capture(model, images, labels)
    with pytest.raises(rh.CaptureError):
        rh.capture(nn.Sequential(model, nn.Softmax(1)), images, labels)
    assert [part.training for part in model.modules()] == before
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


class Logarithm(nn.Module):
    """Not-a-number where the first layer is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(128, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.flatten(1)).log())


@pytest.mark.parametrize("fmt", [rh.FLOAT32, rh.INT8], ids=lambda f: f.name)
def test_where_not_a_number_begins_is_told(images: Tensor, labels: Tensor, fmt) -> None:
    with pytest.warns(UserWarning, match="this begins at step log, behind layer first"):
        rh.capture(Logarithm(), images, labels, format=fmt)
    wide = nn.Sequential(nn.Flatten(), nn.Linear(128, 6, bias=False), nn.Linear(6, 5))
    with pytest.warns(UserWarning, match=r"logits .* begins at layer 1: .* range than fp8"):
        rh.capture(wide, images * 1e6, labels, format=rh.FLOAT8_E5M2)


@pytest.mark.parametrize(
    ("axes", "kernel", "stride", "dilation", "padding"),
    [
        (2, 3, 1, 1, "same"),
        (2, 3, 1, 2, "same"),
        (2, 4, 1, 1, "same"),
        (2, 3, 2, 1, "valid"),
        (2, 2, 1, 2, "valid"),
        (1, 4, 1, 1, "same"),
        (3, 3, 2, 1, "valid"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_padding_in_words(axes: int, kernel: int, stride: int, dilation: int, padding: str) -> None:
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    layer = kind(2, 3, kernel, stride, padding, dilation, padding_mode="zeros")
    model = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(4)).eval()
    images = torch.randn(3, 2, *(9, 8, 7)[:axes])
    with torch.no_grad():
        expected = model(images)
    work = rh.capture(model, images, torch.tensor([0, 1, 2]))
    assert torch.equal(work.logits(images), expected)
    assert [layer.kind for layer in work.layers] == ["conv", "linear"]
    assert (work.layers[0].geometry is not None) == (axes < 3)
    chips = [rh.chips.SOFTWARE] + ([rh.chips.EYERISS, rh.chips.SYSTOLIC(4, 4)] if axes < 3 else [])
    for chip in chips:
        assert rh.Campaign(work, chip).run(until=60).n == 60


def test_padding_in_words_is_that_in_numbers(images: Tensor, labels: Tensor) -> None:
    words, numbers = (
        nn.Sequential(nn.Conv2d(2, 4, 3, padding=p), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5))
        for p in ("same", 1)
    )
    numbers.load_state_dict(words.state_dict())
    ours, theirs = (rh.capture(model, images, labels, name="net") for model in (words, numbers))
    assert ours.fingerprint() == theirs.fingerprint()
    assert ours.layers[0].geometry == theirs.layers[0].geometry


def test_formats_are_fitted_to_other_images(residual, images, labels) -> None:
    """What is fitted follows ``fit_to``; what is run follows the images."""
    wide = rh.capture(residual, 3 * images, labels, rh.INT8)
    fitted = rh.capture(residual, images, labels, rh.INT8, fit_to=(3 * images).double().numpy())
    for own, other in zip(fitted.extremes, wide.extremes, strict=True):
        assert all(map(torch.equal, own, other))
    narrow = rh.capture(residual, images, labels, rh.INT8)
    assert torch.equal(fitted.images, narrow.images)
    assert not torch.equal(fitted.logits(images), narrow.logits(images))
    assert torch.equal(fitted.logits(images), wide.logits(images))
    assert len({work.fingerprint() for work in (wide, fitted, narrow)}) == 3
    for wrong in (images[:0], images[:, :1], torch.zeros(3)):
        with pytest.raises(ValueError, match=r"fit_to of shape .* can't be: use at least one"):
            rh.capture(residual, images, labels, fit_to=wrong)


def test_only_the_images_of_the_fit_are_looked_at(residual, images, labels) -> None:
    huge = images.clone()
    huge[3] = 3e38
    with pytest.warns(UserWarning, match="are not numbers"):
        rh.capture(residual, huge, labels)
    rh.capture(residual, huge, labels, fit_to=images)


def test_fingerprints_follow_images_that_are_written_to(residual, images, labels) -> None:
    work = rh.capture(residual, images.clone(), labels)
    before = work.fingerprint()
    assert work.fingerprint() == before == rh.capture(residual, images, labels).fingerprint()
    work.images[2, 0, 0, 0] += 1
    changed = work.fingerprint()
    assert changed != before
    work.images[2, 0, 0, 0] -= 1
    assert work.fingerprint() != changed
    assert work.with_(format=rh.FLOAT64).fingerprint() == work.fingerprint()
    with torch.inference_mode():
        inside = rh.capture(residual, images.clone() + 0, labels)
        assert inside.fingerprint() == before


class TwoInputs(nn.Module):
    """Reals and numbers of words."""

    def __init__(self) -> None:
        super().__init__()
        self.real, self.words = nn.Linear(6, 8), nn.Embedding(20, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        return self.head(torch.relu(self.real(x) + self.words(ids).mean(1)))


def test_programs_of_several_inputs_are_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, given = TwoInputs().eval(), (torch.randn(9, 6), torch.randint(0, 20, (9, 5)))
    labels, batch = model(*given).argmax(1), {0: torch.export.Dim("batch")}
    program = torch.export.export(model, given, dynamic_shapes=(batch, batch))
    torch.export.save(program, tmp_path / "two.pt2")
    named = {"ids": given[1], "x": given[0]}  # in another order
    wanted = rh.capture(model, named, labels)
    for one in (program, program_in(tmp_path / "two.pt2")):
        work = rh.capture(one, named, labels)
        assert torch.equal(work.logits(work.images), wanted.logits(wanted.images))
        assert [layer.name for layer in work.layers] == [layer.name for layer in wanted.layers]
        with pytest.raises(rh.CaptureError, match="takes inputs x, ids, and x are given"):
            rh.capture(one, {"x": given[0]}, labels)
        with pytest.raises(rh.CaptureError, match="takes 2 inputs, x, ids: give each by its name"):
            rh.capture(one, given[0], labels)
