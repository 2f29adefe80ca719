"""Styles of models that were refused, or ended in an error of Python's, against plain passes."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import radhard as rh
from conftest import seeded

X = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(1))
LABELS = torch.zeros(5, dtype=torch.int64)


class Cast(nn.Module):
    """A module in a precision of its own behind a cast to it."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
        self.dtype, self.net = dtype, seeded(net, 2).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.to(self.dtype)).float()


class Grouped(nn.Module):
    """Filters that each image makes for itself: as many groups as images."""

    def __init__(self) -> None:
        super().__init__()
        self.filters, self.head = nn.Linear(3, 27), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        filters = self.filters(x.mean((2, 3))).view(b * 3, 1, 3, 3)
        y = F.conv2d(x.reshape(1, b * 3, 6, 6), filters, groups=b * 3)
        return self.head(y.view(b, 3, -1).mean(2))


class Aside(nn.Module):
    """A result that nobody asks for, from a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head, self.aside = nn.Linear(108, 4), nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = torch.relu(self.trunk(x.flatten(1)))
        return {"aside": self.aside(y), "logits": self.head(y)}


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.double])
@pytest.mark.filterwarnings("ignore:parameters of:UserWarning")
def test_modules_behind_a_cast(dtype: torch.dtype) -> None:
    model = Cast(dtype).eval()
    work = rh.capture(model, X, LABELS)
    assert all(value.dtype == dtype for value in model.parameters())
    assert [layer.name for layer in work.layers] == ["net.0", "net.3"]
    with torch.no_grad():
        gap = (rh.record(work).logits - model(X)).abs().max()
        assert gap <= model(X).abs().max() * (1e-6 if dtype == torch.double else 0.05)
        cast = model.net.float()(X.to(dtype).float())
    assert torch.allclose(rh.record(work).logits, cast, atol=1e-4)
    assert rh.Campaign(work, rh.chips.SOFTWARE).run(until=200)["sdc1"].n == 200


def test_what_the_answer_does_not_read_is_left_out() -> None:
    work = rh.capture(seeded(Aside(), 1), X, LABELS, output="logits")
    assert [layer.name for layer in work.layers] == ["trunk", "head"]
    assert work.covered.parameters < 1
    assert rh.Campaign(work, rh.chips.SOFTWARE).run(until=200)["sdc1"].n == 200


def test_as_many_groups_as_images() -> None:
    model = seeded(Grouped(), 1)
    work = rh.capture(model, X, LABELS)
    assert [layer.name for layer in work.layers] == ["filters", "head"]
    assert work.covered.missing
    with torch.no_grad():
        assert torch.allclose(rh.record(work).logits, model(X), rtol=1e-5, atol=1e-6)
    assert rh.Campaign(work, rh.chips.SOFTWARE).run(until=200)["sdc1"].n == 200


@pytest.mark.filterwarnings("ignore:Initializing zero-element:UserWarning")
def test_a_layer_without_outputs() -> None:
    class Nothing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.none, self.head = nn.Linear(108, 0), nn.Linear(108, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1)
            return self.head(torch.cat([x, self.none(x)], 1))

    work = rh.capture(Nothing().eval(), X, LABELS)
    assert [layer.name for layer in work.layers] == ["head"]
    assert rh.Campaign(work, rh.chips.SOFTWARE).run(until=200)["sdc1"].n == 200
