"""What is no layer is named, and no chip leaves it out in silence."""

import copy

import pytest
import torch
from torch import Tensor, nn

import radhard as rh

IMAGES, LABELS = torch.rand(5, 3, 12, 12), torch.arange(5) % 4


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(12, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 32)
        for k in range(4):
            h = self.cell(x[:, 0, k], h)
        return self.head(h)


class Einsum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.w = nn.Linear(12, 64), nn.Parameter(torch.randn(64, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bc,ck->bk", self.first(x.mean((1, 2))), self.w)


class Form(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.form, self.head = nn.Linear(12, 8), nn.Bilinear(8, 8, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x.mean((1, 2)))
        return self.head(self.form(y, y))


def transposed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2), nn.ConvTranspose2d(6, 64, 3, 2), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(64, 4),
    )  # fmt: skip


class Unknown(nn.Module):
    """An operation that torch.export does not take apart."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.form, self.head = nn.Linear(12, 8), nn.Bilinear(8, 8, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x.mean((1, 2)))
        axes = [1, 3], [0], [1, 2], [2, 3]
        return self.head(torch.ops.aten._trilinear(y, self.form.weight, y, *axes))


# struck weights, work of layers, by hand
@pytest.mark.parametrize(
    ("model", "weights", "macs"),
    [
        (Recurrent(), 128 + 96 * (12 + 32), 128 + 4 * 96 * (12 + 32)),
        (transposed(), 418 + 6 * 64 * 9, 4306 + 6 * 64 * 9 * 25),
        (Einsum(), 768 + 256, 768 + 256),
        (Form(), 96 + 20 + 320, 96 + 20 + 320 + 40),
    ],
    ids=["cells", "transposed", "einsum", "bilinear"],
)
def test_what_comes_apart_into_layers_is_struck(model: nn.Module, weights: int, macs: int) -> None:
    work = rh.capture(model.eval(), IMAGES, LABELS)
    parameters = sum(p.numel() for p in model.parameters())
    assert work.covered.parameters == pytest.approx(weights / parameters)
    assert (work.covered.macs, work.covered.missing) == (1.0, ())
    assert sum(layer.macs for layer in work.layers) == macs


def test_what_is_no_layer_is_named() -> None:
    model = Unknown().eval()
    work = rh.capture(model, IMAGES, LABELS)
    parameters = sum(p.numel() for p in model.parameters())
    assert work.covered.parameters == pytest.approx(116 / parameters)
    assert work.covered.macs == pytest.approx(116 / (116 + 320))
    assert work.covered.missing == ("_trilinear of form",)
    for chip in (rh.chips.EYERISS, rh.chips.NVDLA_SMALL, rh.chips.SYSTOLIC(4, 4)):
        with pytest.raises(ValueError, match="_trilinear of form"):
            chip.sites(work)
    assert rh.Campaign(work, rh.chips.SOFTWARE).run(until=50)["sdc1"].n == 50


@pytest.mark.parametrize(("model", "layer"), [(transposed(), "layer 1 .transposed"),
                                              (Form(), "layer matmul")])  # fmt: skip
def test_chips_name_the_layers_that_they_can_t_run(model: nn.Module, layer: str) -> None:
    work = rh.capture(model.eval(), IMAGES, LABELS)
    for chip in (rh.chips.EYERISS, rh.chips.NVDLA_SMALL, rh.chips.SYSTOLIC(4, 4)):
        with pytest.raises(ValueError, match=f"{layer}.*use the chip software"):
            chip.sites(work)


def test_a_network_of_layers_is_covered() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.Flatten(), nn.Linear(600, 4, bias=False)
    )
    covered = rh.capture(model, IMAGES, LABELS).covered
    assert (covered.parameters, covered.macs, covered.missing) == (1.0, 1.0, ())


class Rescaled(nn.Module):
    """A weight that a layer reads, and a product value by value."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(12, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x.mean((1, 2))))
        return self.head(y * self.first.weight[0])


def test_other_readers_of_a_stored_weight_are_named() -> None:
    with pytest.warns(UserWarning, match="weight of layer first is also read by step mul"):
        rh.capture(Rescaled().eval(), IMAGES, LABELS)


def test_a_vector_is_a_layer_of_one_channel() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.by = nn.Linear(12, 5), nn.Parameter(torch.randn(5))

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.first(x[:, 0, :4])) @ self.by

    model = Pooled().eval()
    work = rh.capture(model, IMAGES, LABELS)
    assert (work.layers[1].channels, work.layers[1].macs) == (1, 20)
    name = work.layers[1].name
    lines = [f"{k} weight {name} 28 {k} {k} 0xffffffff 0x10000000 1" for k in range(5)]
    faults = rh.Faults.from_text("\n".join(lines), rh.software_space(work))
    found = rh.resume(
        rh.record(work), rh.chips.SOFTWARE.corrupt(work, rh.software_space(work), faults)
    )
    for k in range(5):
        wrong = copy.deepcopy(model)
        wrong.by.data.view(torch.int32)[k] ^= 1 << 28
        with torch.no_grad():
            torch.testing.assert_close(
                found.logits[k], wrong(IMAGES[k : k + 1])[0], rtol=1e-3, atol=0
            )
