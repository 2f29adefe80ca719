"""Networks on multipliers and arrays: against loops over products."""

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.arith.array import Array, Defect
from radhard.network.multiplied import Multiplied
from radhard.network.stored import with_stored
from radhard.testing import check_arithmetic

CUT = rh.multiplier_named("mul8s_1KR6@v1")


def networks():
    torch.manual_seed(0)
    conv = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2),
        nn.ReLU(), nn.Flatten(), nn.Linear(24, 5),
    )  # fmt: skip
    return rh.capture(conv, torch.randn(6, 2, 7, 7), torch.arange(6) % 5, rh.INT8)


def layer_by_loops(work, number, multiplier, images, offset=(0, 0)):
    """The sums of a layer without a bias, (images, channels, positions), product by product."""
    layer, how, given = work.layers[number], work.arithmetic[number], work.parameters[number]
    values = work.program.values(images, work.evaluate)[layer.operands[0]]
    x = how.operand(values.flatten(1)).long().numpy()
    w = layer.weight_rows(given.weight).long().numpy()
    found = np.zeros((len(x), layer.channels, layer.positions), np.int64)
    for m, p in np.ndindex(found.shape[1:]):
        taps = layer.window(torch.tensor([m]), torch.tensor([p]))[0].numpy()
        held = np.where(taps >= 0, x[:, taps.clip(0)], 0)
        a, b = held + offset[0], w[m] + offset[1]
        found[:, m, p] = (multiplier.product(a, np.broadcast_to(b, a.shape)) - a * b).sum(1)
        found[:, m, p] += (held * w[m]).sum(1)
    return found


@pytest.mark.parametrize("name", ["mul8s_1KR6@v1", "mul8u_drum:bits=4", "mul16s_drum:bits=5"])
def test_sums_are_those_of_the_multiplier(name):
    plain, multiplier = networks(), rh.multiplier_named(name)
    if multiplier.width == 16:
        plain = plain.with_(format=rh.format_named("fixed16_10"))
    work = plain.with_(multiplier=multiplier)
    for number, layer in enumerate(work.layers):
        how, given = work.arithmetic[number], work.parameters[number]
        wanted = layer_by_loops(
            work, number, multiplier, work.images, (0, 0) if multiplier.signed else (128, 128)
        )
        wanted = torch.from_numpy(wanted) + how.bias(given).reshape(-1, 1)
        values = work.program.values(work.images, work.evaluate)
        found = (
            values[layer.step].flatten(2)
            if layer.kind == "conv"
            else values[layer.step][:, :, None]
        )
        unit = how.unit(given).reshape(-1, 1) if how.unit(given).dim() else how.unit(given)
        torch.testing.assert_close(
            found, how.output.round(wanted * unit).to(found.dtype), rtol=0, atol=0
        )


def test_exact_multipliers_change_nothing():
    work = networks()
    wanted = work.logits(work.images)
    for name in ("mul8s_1KV8@v1", "mul8u_exact", "mul8s_exact"):
        own = work.with_(multiplier=rh.multiplier_named(name))
        assert torch.equal(own.logits(work.images), wanted)
    assert torch.equal(work.with_(array=Array(4, 4)).logits(work.images), wanted)


def test_exact_multipliers_of_16_bits_change_nothing():
    plain = networks().with_(format=rh.format_named("fixed16_10"))
    wanted = plain.logits(plain.images)
    exact = rh.multiplier_named("mul16s_exact")
    assert torch.equal(plain.with_(multiplier=exact).logits(plain.images), wanted)
    for array in (Array(3, 4, "os", psum_bits=48), Array(3, 4, psum_bits=40)):
        chip = plain.with_(multiplier=exact, array=array)
        assert torch.equal(chip.logits(plain.images), wanted)
        assert chip.arithmetic[0].own.linear == (array.psum_bits == 48)
    faulty = Array(3, 4, psum_bits=48, defects=(Defect(0, 0, "product", 1, 20),))
    assert not torch.equal(plain.with_(multiplier=exact, array=faulty).logits(plain.images), wanted)


def defects(rng, site, share, rows=5, cols=4):
    """The same stuck bit in some elements."""
    bit, value = {"product": (12, 1), "weight": (5, 1), "activation": (3, 0), "psum": (12, 1)}[site]
    places = [(r, c) for r in range(rows) for c in range(cols) if rng.random() < share]
    return tuple(Defect(*place, site, value, bit) for place in places)


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("site", ["product", "weight", "activation", "psum"])
def test_transient_faults_meet_the_permanent_ones(site, dataflow):
    array = Array(5, 4, dataflow, defects(np.random.default_rng(0), site, 0.3))
    name = "mul8u_exact" if dataflow == "os" else "mul8s_1KR6@v1"
    check_arithmetic(Multiplied(rh.multiplier_named(name), array))


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_transient_faults_meet_wide_multipliers(dataflow):
    array = Array(5, 4, dataflow, defects(np.random.default_rng(0), "product", 0.3), psum_bits=48)
    check_arithmetic(Multiplied(rh.multiplier_named("mul9s_array:a=1"), array))


def test_layers_have_multipliers_of_their_own():
    work = networks()
    first = work.layers[0].name
    own = work.with_(multiplier={first: CUT})
    assert [how.own is not None for how in own.arithmetic] == [True, False, False]
    array = Array(3, 3, defects=(Defect(0, 0, "product", 1, 14),))
    own = work.with_(array={work.layers[2].name: array})
    assert [how.own is not None for how in own.arithmetic] == [False, False, True]
    assert own.computing == "int8+mul8s_exact+3x3-ws-1-product"
    assert own.with_(arithmetic={}).computing == "int8"


def test_what_does_not_fit_is_refused():
    work = networks()
    with pytest.raises(ValueError, match=r"fp16.*use integers, such as radhard.INT8"):
        work.with_(format=rh.FLOAT16, multiplier=CUT)
    with pytest.raises(ValueError, match=r"inputs: uint8 has codes from 0 to 255.*unsigned mult"):
        work.with_(format=rh.UINT8, multiplier=CUT)
    with pytest.raises(ValueError, match="no layer of that name"):
        work.with_(multiplier={"nothing": CUT})
    with pytest.raises(TypeError, match="multiplier 'exact' is none"):
        work.with_(multiplier="exact")
    with pytest.raises(TypeError, match="array 128 is none"):
        work.with_(array=128)
    with pytest.raises(ValueError, match="not both"):
        work.with_(multiplier=CUT, arithmetic={})
    wide = Array(2, 2, defects=(Defect(0, 0, "product", 1, 20),))
    with pytest.raises(ValueError, match="has 16 bits there"):
        work.with_(array=wide)


def test_arrays_without_defects_are_arrays_all_the_same():
    work = networks()
    narrow = Array(3, 3, psum_bits=8)
    passed = Array(3, 3, bypassed=((0, 0), (1, 2)))
    same = rh.multiplier_named("mul8s_1KV8@v1")  # exact, too, but not known to be
    for array in (narrow, passed):
        found = work.with_(array=array).logits(work.images)
        assert torch.equal(found, work.with_(array=array, multiplier=same).logits(work.images))
        assert not torch.equal(found, work.logits(work.images))


def test_multiplier_and_array_are_added_to_each_other():
    work = networks()
    array = Array(3, 3, defects=(Defect(0, 0, "product", 1, 14),))
    both = work.with_(multiplier=CUT, array=array)
    for own in (work.with_(multiplier=CUT).with_(array=array),
                work.with_(array=array).with_(multiplier=CUT)):  # fmt: skip
        assert own.computing == both.computing
        assert torch.equal(own.logits(work.images), both.logits(work.images))
    first = work.layers[0].name
    one = work.with_(multiplier={first: CUT}).with_(array=array)
    assert one.arithmetic[0].own.multiplier == CUT
    assert one.arithmetic[1].own.multiplier.name == "mul8s_exact"


@pytest.mark.parametrize("name", ["mul8s_exact", "mul8u_exact"])
def test_what_is_passed_by_counts_for_nothing(name):
    work, multiplier = networks(), rh.multiplier_named(name)
    array = Array(64, 8, bypassed=((0, 0), (3, 1), (17, 3)))
    chip = work.with_(multiplier=multiplier, array=array)
    weight = work.weight(0).clone().view(4, -1)
    weight[0, 0] = weight[1, 3] = weight[3, 17] = 0
    wanted = with_stored(work, {0: weight.view_as(work.weight(0))})
    step = work.layers[0].step
    found = [own.program.values(own.images, own.evaluate)[step] for own in (chip, wanted)]
    assert torch.equal(*found)


def test_images_that_take_turns_are_refused_where_positions_matter():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, x):
            return self.layer(x.transpose(0, 1)).sum(0)

    work = rh.capture(Turned(), torch.randn(6, 5, 3), torch.arange(6) % 4, rh.INT8)
    array = Array(2, 2, "os", (Defect(0, 0, "product", 1, 13),))
    with pytest.raises(ValueError, match="use a weight-stationary array"):
        work.with_(array=array)
    own = work.with_(array=Array(2, 2, "ws", array.defects))
    parts = torch.cat([own.logits(part) for part in own.images.split(1)])
    assert torch.equal(own.logits(own.images), parts)
