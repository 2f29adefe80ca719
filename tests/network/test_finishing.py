"""Integers are scaled and rounded alike, whatever type holds their sums."""

import torch
from torch import nn

import radhard as rh
from radhard.rtl.design import ArrayDesign
from radhard.rtl.inference import Simulated


def test_codes_are_those_of_float64() -> None:
    """Of 64,000 codes two were one off when sums that float32 holds were scaled in it."""
    torch.manual_seed(27)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10)).eval()
    images = torch.randn(2000, 16)
    work = rh.capture(model, images, torch.zeros(2000, dtype=torch.int64), rh.INT8)
    first, second = work.arithmetic
    x = images

    def layer(number: int, x: torch.Tensor) -> torch.Tensor:
        how, given = work.arithmetic[number], work.parameters[number]
        codes = torch.round(x / how.input.scales(x).float()).clamp(-128, 127).to(torch.int64)
        bias = torch.round(given.bias.double() / (given.scale * how.input.scale[0]))
        sums = codes @ given.weight.to(torch.int64).T + bias.to(torch.int64)
        real = sums.double() * (given.scale * how.input.scale[0]).double()
        out = how.output.scale[0]
        return (torch.round(real / out).clamp(-128, 127) * out).float()

    expected = layer(1, layer(0, x).clamp(min=0))
    assert (work.logits(images) == expected).all()
    assert first.exact
    assert second.exact
    there = work.with_(arithmetic=Simulated(ArrayDesign(8, 8, psum_bits=28)))
    assert (there.logits(images) == expected).all()
