"""A stored weight is wrong in all layers that read it, against whole networks with that weight."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from radhard.engine.noisy import with_wrong_weights
from radhard.engine.segment import Golden
from radhard.foresight.margin import Margins
from radhard.network.workload import Workload


class Twice(nn.Module):
    """A convolution that runs three times, once on a branch of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.block(torch.relu(self.block(x))))
        return self.head((y + self.block(x)).mean((2, 3)))


class Tied(nn.Module):
    """Two linear layers with one weight, and a product with the same weight turned."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(6, 9), nn.Linear(6, 9), nn.Linear(9, 4)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.one(x.mean((2, 3)).repeat(1, 2)))
        return self.head(torch.relu(self.two(torch.tanh(y @ self.one.weight))))


class Parts(nn.Module):
    """Layers that read overlapping parts of one weight: rows, columns, and all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(6, 6)), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3)).repeat(1, 2)
        y = torch.tanh(nn.functional.linear(x, self.weight[1:4]))
        z = torch.tanh(nn.functional.linear(y, self.weight[:, 2:5]))
        return self.head(nn.functional.linear(z, self.weight) + z)


IMAGES, LABELS = torch.randn(5, 3, 8, 8), torch.arange(5) % 4
FORMATS = [rh.FLOAT32, rh.FLOAT16, rh.INT8, rh.FIXED16_10]


def with_weight(work: Workload, number: int, element: int, bit: int) -> Workload:
    """The same network with one wrong bit in a stored weight, made anew layer by layer."""
    fmt = work.arithmetic[number].weight
    codes = fmt.encode(work.weight(number)).reshape(-1)
    codes[element] ^= 1 << bit
    wrong = fmt.decode(codes).to(work.images.dtype)
    steps, parameters = list(work.program.steps), list(work.parameters)
    places = {number: torch.arange(len(wrong)), **work.shared.get(number, {})}
    for k, place in places.items():
        weight = work.weight(k).clone().reshape(-1)
        weight[place[place >= 0]] = wrong[place >= 0]
        weight = weight.view(work.weight(k).shape)
        how, given = work.arithmetic[k], work.parameters[k]
        assert given is not None
        held = how.integer_weight(weight) if how.exact else weight
        parameters[k] = type(given)(held, given.bias, given.scale)
        steps[work.layers[k].operands[1]] = type(steps[0])("", constant=weight)
    found = copy.copy(work)
    object.__setattr__(found, "parameters", tuple(parameters))
    return found


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("model", [Twice(), Tied(), Parts()], ids=["twice", "tied", "parts"])
def test_a_wrong_weight_is_wrong_for_every_reader(model: nn.Module, fmt: rh.NumberFormat) -> None:
    torch.manual_seed(1)
    work = rh.capture(copy.deepcopy(model).eval(), IMAGES, LABELS, fmt)
    space = rh.software_space(work, ("weight",))
    sites = sum(s.size for s in space.strata if s.bit == 0)
    stored = {p.data_ptr(): p.numel() for p in model.parameters() if p.dim() > 1}
    apart = isinstance(model, Parts) and fmt is rh.INT8  # parts may have scales of their own
    assert sites == sum(stored.values()) or (apart and sum(stored.values()) < sites <= 96)
    campaign = rh.Campaign(work, rh.chips.Software(("weight",)))
    faults = campaign.draw(space, 0, 120)
    corruption = campaign.chip.corrupt(work, space, faults)
    found = Golden(work).resume(corruption)
    for k in range(len(faults)):
        bit = space.stratum(int(faults.stratum[k])).bit
        other = with_weight(work, int(corruption.layer[k]), int(corruption.element[k]), bit)
        image = int(faults.image[k])
        want = other.logits(work.images[image : image + 1])[0]
        if work.arithmetic[0].exact:
            assert torch.equal(found.logits[k], want)
        else:
            torch.testing.assert_close(
                found.logits[k], want, rtol=2e-3, atol=2e-3 * float(want.abs().nan_to_num().max()),
                equal_nan=True,
            )  # fmt: skip


def test_a_code_at_a_step_is_no_alarm() -> None:
    """An input one last place from another pattern of bits: the flip of one bit turns its sign."""
    torch.manual_seed(1205)
    images = torch.randn(5, 3, 8, 8)
    work = rh.capture(Parts().eval(), images, LABELS)
    faults = rh.Campaign(work, rh.chips.Software(("weight",))).draw(rh.software_space(work), 0, 20)
    Golden(work).resume(rh.chips.SOFTWARE.corrupt(work, rh.software_space(work), faults))


def test_what_several_layers_read_is_covered_once() -> None:
    covered = rh.capture(Parts().eval(), IMAGES, LABELS).covered
    assert covered.parameters == (36 + 24) / (36 + 24 + 4)


def test_plain_pytorch_agrees() -> None:
    """One flipped exponent bit of each weight of the block, in the module itself."""
    torch.manual_seed(2)
    model = Twice().eval()
    work = rh.capture(model, IMAGES, LABELS)
    space = rh.software_space(work)
    name = work.layers[0].name
    lines = [f"{k} weight {name} 28 {k} {k % 5} 0xffffffff 0x10000000 1" for k in range(81)]
    faults = rh.Faults.from_text("\n".join(lines), space)
    found = Golden(work).resume(rh.chips.SOFTWARE.corrupt(work, space, faults)).logits
    for k in range(81):
        wrong = copy.deepcopy(model)
        wrong.block.weight.data.view(-1).view(torch.int32)[k] ^= 1 << 28
        with torch.no_grad():
            want = wrong(IMAGES[k % 5][None])[0]
        torch.testing.assert_close(found[k], want, rtol=1e-3, atol=1e-3 * float(want.abs().max()))


def test_each_name_stands_for_the_one_stored_weight() -> None:
    work = rh.capture(Twice().eval(), IMAGES, LABELS)
    space = rh.software_space(work)
    names = [layer.name for layer in work.layers[:3]]
    lines = [f"{k} weight {name} 3 7 0 0xffffffff 0x8 1" for k, name in enumerate(names)]
    assert len(set(rh.Faults.from_text("\n".join(lines), space).stratum.tolist())) == 1


def test_a_chip_holds_a_copy_for_each_use() -> None:
    work = rh.capture(Twice().eval(), IMAGES, LABELS)
    chip = rh.chips.SYSTOLIC(4, 4)
    space = chip.sites(work)
    struck = {s.layer for s in space.strata if s.component == "weight-register"}
    assert struck == {layer.name for layer in work.layers}
    faults = rh.Campaign(work, chip).draw(space, 0, 50)
    assert not chip.corrupt(work, space, faults).stored.any()


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_errors_at_a_rate_give_a_stored_weight_one_value(fmt: rh.NumberFormat) -> None:
    for model in (Tied(), Parts()):
        work = rh.capture(model.eval(), IMAGES, LABELS, fmt)
        wrong = with_wrong_weights(work, rh.WeightErrors(0.05), (0, 0))
        assert not np.array_equal(wrong.weight(0), work.weight(0))
        for first, later in work.shared.items():
            for number, place in later.items():
                one, other = (wrong.weight(k).reshape(-1) for k in (first, number))
                held = other[place[place >= 0]], one[place >= 0]
                torch.testing.assert_close(*held, rtol=0, atol=0, equal_nan=True)


def test_a_guard_sees_the_layers_that_read_it_again() -> None:
    """Clipping to the golden range holds what the wrong weight makes of each use."""
    torch.manual_seed(3)
    work = rh.capture(Twice().eval(), IMAGES, LABELS)
    campaign = rh.Campaign(
        work, rh.chips.Software(("weight",)), protections=(rh.RangeRestriction(),)
    )
    space = campaign.space()
    name = work.layers[0].name
    lines = [f"{k} weight {name} 30 {k} {k % 5} 0xffffffff 0x40000000 1" for k in range(81)]
    faults = rh.Faults.from_text("\n".join(lines), space)
    corruption = campaign.chip.corrupt(work, space, faults)
    found = Golden(work, campaign.guard()).resume(corruption)
    whole = 0
    for k in range(81):
        other = with_weight(work, 0, k, 30)
        golden = Golden(other, campaign.guard()).answers()[0][k % 5]
        whole += int(torch.allclose(found.logits[k], golden, rtol=1e-3, atol=1e-4))
    assert whole == 81


def test_scores_feel_every_reader() -> None:
    """Weights of which only a later reader matters: the first one's effect is multiplied by 0."""
    torch.manual_seed(4)

    class Muted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.head = nn.Linear(3, 3), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = x.mean((2, 3))
            return self.head(torch.tanh(self.one(x)) * 0 + torch.tanh(self.one(x + 1)))

    work = rh.capture(Muted().eval(), IMAGES, LABELS)
    campaign = rh.Campaign(work, rh.chips.Software(("weight",)))
    golden = Golden(work)
    space = campaign.space()
    name = work.layers[0].name
    lines = [f"{k} weight {name} 30 {k} 0 0xffffffff 0x40000000 1" for k in range(9)]
    corruption = campaign.chip.corrupt(work, space, rh.Faults.from_text("\n".join(lines), space))
    for trace, _, part in golden.parts(corruption):
        assert (Margins.of(work).ratio(trace, part) > 1e-3).all()
