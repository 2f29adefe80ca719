"""What protections take, by hand."""

import dataclasses

import pytest
import torch
from torch import nn

import radhard as rh
from conftest import seeded
from radhard.accel.chips import NVDLA_SMALL, chips
from radhard.network.zoo import zoo_model
from radhard.protect.area import parity_logic, secded_logic, storage_bits, vote_logic
from radhard.protect.checksum import Formed
from radhard.view.wording import cost_words

#: A strided, a grouped, a depthwise convolution of 8 x 8, and a linear layer; by hand of each: its
#: products, those of one more channel for each group, and of one more position.
BY_HAND = {
    "strided": (nn.Conv2d(2, 4, 3, 2, 1), 4 * 16 * 18, 16 * 18, 4 * 18),
    "grouped": (nn.Conv2d(4, 8, 3, 1, 1, groups=2), 8 * 64 * 18, 2 * 64 * 18, 8 * 18),
    "depthwise": (nn.Conv2d(8, 8, 3, 1, 1, groups=8), 8 * 64 * 9, 8 * 64 * 9, 8 * 9),
    "linear": (nn.Linear(64, 10), 64 * 10, 64, 64 * 10),
}


def alone(layer: nn.Module, format: rh.NumberFormat = rh.INT8) -> rh.Workload:
    shape = (2, 64) if isinstance(layer, nn.Linear) else (2, layer.in_channels, 8, 8)
    model = seeded(nn.Sequential(layer, nn.Flatten()))
    return rh.capture(model, torch.rand(*shape), torch.zeros(2, dtype=torch.long), format=format)


@pytest.mark.parametrize("name", BY_HAND)
def test_checksums_take_a_channel_of_each_group(name: str) -> None:
    layer, own, filters, positions = BY_HAND[name]
    work, chip = alone(layer), rh.chips.EYERISS
    (it,) = work.layers
    outputs, windows = it.channels * it.positions, it.bounds["groups"] * it.fan_in
    assert it.macs == own
    rows = rh.Checksum().cost(work, chip)
    assert rows.macs == filters == windows * it.positions
    assert rows.operations == outputs + it.positions
    assert rows.memory_bits == 32 * (windows + it.positions + 1)  # and the sum of the biases
    assert rows.cycles == pytest.approx(filters / own * sum(chip.cycles(work)))
    assert (rows.rerun, rows.detection) == (1, 1)
    for formed in Formed:
        columns = rh.Checksum(False, True, inputs=formed).cost(work, chip)
        assert columns.macs == positions
        assert columns.operations == windows * it.positions + outputs + 2 * it.channels
        assert columns.memory_bits == 32 * (windows + it.channels)
    rounded = rh.Checksum().cost(alone(layer, rh.FLOAT32), chip)  # squares, roots and a tolerance
    assert rounded.operations == rows.operations + 2 * outputs + 2 * it.positions
    assert rounded.memory_bits == rows.memory_bits + 32
    both = rh.Checksum(True, True).cost(work, chip)
    assert both.macs == rows.macs + columns.macs
    assert both.area > rows.area > rows.memory_bits / sum(chip.storage_bits(work).values())


def test_a_depthwise_layer_is_no_eighth_of_what_it_is() -> None:
    """As many products as the layer itself, 4,608: there are as many groups as channels."""
    assert rh.Checksum().cost(alone(BY_HAND["depthwise"][0]), rh.chips.EYERISS).macs == 4608


def test_checksums_of_a_network_of_depthwise_layers() -> None:
    torch.manual_seed(0)
    model = zoo_model("mobilenet-cifar").build(10).eval()
    work = rh.capture(model, torch.rand(2, 3, 32, 32), torch.zeros(2, dtype=torch.long))
    added = by_hand = 0
    for module in (m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)):
        seen = [layer for layer in work.layers if model.get_submodule(layer.name) is module]
        groups = getattr(module, "groups", 1)
        fan_in = module.weight[0].numel()
        by_hand += sum(groups * fan_in * layer.positions for layer in seen)
        added += sum(layer.macs for layer in seen)
    cost = rh.Checksum().cost(work, rh.chips.EYERISS)
    assert cost.macs == by_hand
    assert added == sum(layer.macs for layer in work.layers)
    assert cost.macs / added == pytest.approx(0.0702, abs=5e-5)


def test_codes_are_of_words_of_the_chip(residual, images, labels) -> None:
    """Not of the values that stream through it."""
    work = rh.capture(residual, images, labels, format=rh.FLOAT16)
    chip = rh.chips.EYERISS
    latches = 1344 * 7 / 6
    parity = rh.Parity(("image-latch",)).cost(work, chip)
    whole = sum(chip.storage_bits(work).values())
    assert parity.memory_bits == pytest.approx(latches)
    assert parity.area == pytest.approx(latches * (1 + parity_logic(16)) / whole)
    buffer = 784 * 8192
    code = rh.SECDED(("global-buffer",)).cost(work, chip)
    assert code.memory_bits == pytest.approx(buffer * 6 / 16)
    assert code.area == pytest.approx((buffer * 6 / 16 + secded_logic(16, 6)) / whole)
    tripled = rh.BitTriplication((14, 15), ("filter-sram",)).cost(work, chip)
    bits = 168 * 3.52 * 8192 / 16
    assert tripled.memory_bits == pytest.approx(2 * 2 * bits)
    assert tripled.area == pytest.approx((4 * bits + 168 * vote_logic(2)) / whole)
    assert code.rerun == parity.rerun == 1 > tripled.rerun == code.detection


def test_bits_and_comparators_of_guards_reach_area(residual, images, labels) -> None:
    work = rh.capture(residual, images, labels, format=rh.FLOAT16)
    chip = rh.chips.EYERISS
    whole = sum(chip.storage_bits(work).values())
    thresholds = rh.ValueThreshold().cost(work, chip)
    assert thresholds.area > thresholds.memory_bits / whole > 0
    clamp = rh.RangeRestriction().cost(work, chip)
    assert thresholds.area > clamp.area > 0
    again = rh.Redundancy(2).cost(work, chip)
    assert again.cycles == pytest.approx(sum(chip.cycles(work)))
    assert "another inference for each alarm" in cost_words(again)
    assert "another" not in cost_words(clamp)
    both = clamp + again
    for name in ("macs", "operations", "memory_bits", "area", "cycles"):
        parts = getattr(clamp, name), getattr(again, name)
        assert getattr(both, name) == pytest.approx(sum(parts))
    assert (both.rerun, both.detection) == (1, 1)
    assert dataclasses.astuple(rh.Cost() + clamp) == dataclasses.astuple(clamp)


@pytest.mark.parametrize("chip", [*chips(), rh.chips.CLOCKED(4, 4)], ids=lambda c: c.name)
def test_chips_say_what_storage_they_have(residual, images, labels, chip) -> None:
    """Of each of their components, or of those of the values that these hold."""
    work = rh.capture(residual, images, labels, format=rh.FLOAT16)
    held = storage_bits(chip, work)
    assert {stratum.component for stratum in chip.sites(work).strata} <= held.keys()
    assert min(held.values()) > 0
    if chip is NVDLA_SMALL:
        assert held["weight-latch"] == 0.156 * 2**23
    assert 0 < rh.Parity().cost(work, chip).area < 10
