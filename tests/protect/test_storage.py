"""Codes, copies and signatures of stored values, and repeated computation."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from conftest import seeded
from radhard.accel.readers import activated
from radhard.engine.segment import Golden
from radhard.protect.protection import Protection, Struck, hardened, spared, stopped_by
from radhard.protect.redundancy import Redundancy
from radhard.protect.storage import SECDED, BitTriplication, Parity, WeightSignature


@pytest.fixture
def work(residual: nn.Module, images: Tensor, labels: Tensor) -> rh.Workload:
    return rh.capture(residual, images, labels, format=rh.INT8)


def struck(work, chip, model=None, n=2000):  # type: ignore[no-untyped-def]
    space = chip.sites(work)
    space = space.with_model(model) if model else space
    faults = rh.Uniform().draw(space, n, np.random.default_rng(0))
    return space, faults, Struck.of(space, faults, chip.corrupt(work, space, faults))


@pytest.mark.parametrize(
    ("bits", "parity", "secded", "alarm"),
    [(1, True, True, False), (2, False, True, True), (3, True, False, False)],
)
def test_codes_see_so_many_wrong_bits(work, bits, parity, secded, alarm) -> None:
    model = rh.BitFlip() if bits == 1 else rh.MultiBitFlip(bits)
    _, _, faults = struck(work, rh.chips.SOFTWARE, model)
    assert (Parity().stops(work, faults).harmless == parity).all()
    found = SECDED().stops(work, faults)
    assert (found.harmless == secded).all()
    assert (found.alarmed == alarm).all()


def test_codes_protect_their_components_only(work) -> None:
    space, faults, seen = struck(work, rh.chips.EYERISS)
    stopped = Parity(("global-buffer",)).stops(work, seen).harmless
    names = np.array([s.component for s in space.strata])[faults.stratum]
    assert (stopped == (names == "global-buffer")).all()


def test_tripled_bits_are_never_wrong_and_nothing_is_lost(work) -> None:
    space = rh.chips.EYERISS.sites(work)
    kept = hardened([BitTriplication((7, 6), ("global-buffer",))], space)
    for before, after in zip(space.strata, kept.strata, strict=True):
        safe = before.component == "global-buffer" and before.bit in {7, 6}
        assert after.exposure == (0 if safe else before.exposure)
    assert kept.rate_fit == space.rate_fit
    assert sum(kept.known_share(part) for part in kept.known) + kept.tried == pytest.approx(1)


@pytest.mark.parametrize(
    "protection",
    [Parity(("weight",)), SECDED(), BitTriplication((7,)), Redundancy(2), WeightSignature(4)],
    ids=lambda p: type(p).__name__,
)
def test_campaigns_agree_with_the_faults_one_by_one(work, protection: Protection) -> None:
    """The rate under a protection is that of the plain faults that it lets through."""
    plain = rh.Campaign(work, rh.chips.Software(rate_fit_per_mbit=1.0), seed=3)
    space, n = plain.space(), 4000
    faults = plain.draw(space, 0, 2000)
    columns = plain.outcomes(space, Golden(work), faults)
    seen = Struck.of(space, faults, plain.chip.corrupt(work, space, faults))
    through = ~stopped_by([protection], work, seen).harmless
    share = hardened([protection], space).exposure / space.exposure
    expected = float((columns["sdc1"] * through * share[faults.stratum]).mean())
    result = plain.with_(protections=[protection]).run(until=n)
    found = result["sdc1"]
    assert found.low - 0.01 <= expected <= found.high + 0.01
    assert result.fit("sdc1").value <= plain.run(until=n).fit("sdc1").value + 1e-9
    assert result.cost == protection.cost(work, plain.chip)


def test_stopped_faults_end_as_the_golden_run(work) -> None:
    campaign = rh.Campaign(work, protections=(Parity(),))
    result = campaign.run(until=500)
    assert result["masked"].value == 1
    assert result["detected"].value == pytest.approx(1)
    assert result["sdc1"].value == 0


def test_signatures_see_changes_of_their_groups_top_bits(work) -> None:
    _, _, seen = struck(work, rh.chips.Software(("weight",)))
    found = WeightSignature(4).stops(work, seen).harmless
    bit = np.log2((seen.corruption.flip & 0xFF).astype(float)).astype(int)
    assert found[bit == 7].mean() > 0.95  # a sign bit moves the sum by 2^8 units of 2^7
    assert found[bit == 0].mean() < 0.1
    slow = [_signature_changed(work, seen, k, 4) for k in range(200)]
    assert found[:200].tolist() == slow


class Twice(nn.Module):
    """A layer that runs twice, behind one of other weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(9, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x.flatten(1)))
        return self.last(torch.relu(self.again(torch.relu(self.again(x)))))


@pytest.mark.parametrize("fmt", [rh.FIXED16_10, rh.FLOAT16], ids=lambda f: f.name)
def test_groups_that_become_zero_are_those_of_a_plain_pass(fmt: rh.NumberFormat) -> None:
    """Each flagged fault against the network whose group of weights is overwritten by zeros."""
    model = seeded(Twice())
    images = torch.randn(20, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    work = rh.capture(model, images, model(images).argmax(1), format=fmt)
    radar = WeightSignature(16, zero=True)
    plain = rh.Campaign(work, rh.chips.Software(("weight",)), sampler=rh.Uniform())
    space, golden = plain.space(), plain.golden()
    faults = plain.draw(space, 3)
    struck = Struck.of(space, faults, plain.chip.corrupt(work, space, faults))
    found = plain.with_(protections=[radar]).outcomes(space, golden, faults)
    bare, flagged = plain.outcomes(space, golden, faults), radar.stops(work, struck).harmless
    assert 0.05 < flagged.mean() < 0.95
    wrong, zeroed = 0, dict[tuple[int, int], rh.Workload]()
    for k in range(len(faults)):
        if not flagged[k]:
            assert found["sdc1"][k] == bare["sdc1"][k]
            continue
        number, image = int(struck.corruption.layer[k]), images[faults.image[k]][None]
        own = copy.deepcopy(model)
        weight = (own.first, own.again, own.again, own.last)[number].weight.detach().view(-1)
        groups = -(-len(weight) // 16)
        weight[int(struck.corruption.element[k]) % groups :: groups] = 0
        key = number, int(struck.corruption.element[k]) % groups
        if key not in zeroed:
            zeroed[key] = rh.capture(own, images, work.labels, format=fmt)
        answers = [one.logits(image).argmax(1) for one in (zeroed[key], work)]
        assert found["sdc1"][k] == bool(answers[0] != answers[1]), k
        wrong += bool(answers[0] != answers[1])
    assert wrong > 3
    assert found["detected"][flagged].all()
    assert radar.cost(work, rh.chips.SOFTWARE).rerun == 0


def _signature_changed(work: rh.Workload, seen: Struck, k: int, size: int) -> bool:
    """The same, by adding up the group before and after."""
    number, element = int(seen.corruption.layer[k]), int(seen.corruption.element[k])
    fmt, weight = work.arithmetic[number].weight, work.weight(number)
    codes = [int(code) for code in fmt.encode(weight).flatten()]
    groups = -(-len(codes) // size)

    def signature(values: list[int]) -> int:
        signed = [v - 256 if v >= 128 else v for v in values]
        return (sum(signed[element % groups :: groups]) >> 7) & 3

    wrong = list(codes)
    wrong[element] = (
        (codes[element] & int(seen.corruption.keep[k])) ^ int(seen.corruption.flip[k])
    ) & 255
    return signature(codes) != signature(wrong)


def test_copies_help_where_they_compute_but_not_against_memory(work) -> None:
    """Latches are read once; a wrong weight in memory is read by every copy."""
    space, faults, seen = struck(work, rh.chips.EYERISS)
    stopped = Redundancy(3).stops(work, seen)
    component = np.array([s.component for s in space.strata])[faults.stratum]
    latch = np.array([c.kind == "latch" for c in rh.chips.EYERISS.components])
    names = np.array([c.name for c in rh.chips.EYERISS.components])
    assert stopped.harmless[np.isin(component, names[latch])].all()
    assert stopped.harmless[component == "psum-register"].all()
    reads = seen.corruption.positions[:, 1] - seen.corruption.positions[:, 0]
    memory = np.isin(component, ("filter-sram", "image-register", "global-buffer"))
    assert (memory & (reads == 1)).any()  # one output reads it, and so do all of its copies
    assert not stopped.harmless[memory].any()
    assert not stopped.alarmed.any()
    twice = Redundancy(2).stops(work, seen)
    assert (twice.alarmed == twice.harmless).all()  # latches are always read


def test_channels_of_one_layer_are_no_channels_of_another(work) -> None:
    """Faults of a layer with more channels are told from those of the layer that has copies."""
    _, _, seen = struck(work, rh.chips.EYERISS)
    whole = [Redundancy(2, (layer.name,)).stops(work, seen).harmless for layer in work.layers]
    for number, layer in enumerate(work.layers):
        every = tuple(range(layer.channels))
        some = [
            Redundancy(2, (layer.name,), (part,)).stops(work, seen).harmless
            for part in (every[: len(every) // 2], every[len(every) // 2 :])
        ]
        assert not (some[0] & some[1]).any()
        assert ((some[0] | some[1]) <= whole[number]).all()
        assert (some[0] | some[1]).any()


def test_codes_are_checked_by_what_reads(work) -> None:
    """A wrong value that nothing reads any more raises no alarm."""
    _, _, seen = struck(work, rh.chips.PUBLISHED(8, 8))
    read = activated(work, seen.corruption)
    assert 0.3 < read.mean() < 1
    found = Parity().stops(work, seen)
    assert found.harmless.all()
    assert (found.alarmed == read).all()


def test_the_most_vulnerable_channels_are_repeated_first(work) -> None:
    worth = {work.layers[0].name: [0.0, 0.5, 0.1, 0.0, 0.0, 0.0]}
    share = work.layers[0].macs / 6 / sum(layer.macs for layer in work.layers)
    chosen = Redundancy.ranked(work, worth, macs=1.01 * share)
    assert chosen.channels == ((1,),)
    assert Redundancy.ranked(work, worth, macs=2.01 * share).channels == ((1, 2),)
    assert chosen.cost(work, rh.chips.EYERISS).macs == pytest.approx(work.layers[0].macs / 6)
    _, _, seen = struck(work, rh.chips.Software(("activation",)))
    layer = work.layers[0]
    own = (seen.corruption.layer == 0) & (seen.corruption.element // layer.positions == 1)
    assert (chosen.stops(work, seen).harmless == own).all()
    with pytest.raises(ValueError, match="repeats no channel"):
        Redundancy.ranked(work, worth, macs=0.0)


def test_hardened_latches_fit_into_campaigns(work) -> None:
    chip = rh.chips.EYERISS
    space = chip.sites(work)
    latches = {c.name for c in chip.components if c.kind == "latch"}
    failing = np.array([0.1 if s.bit == 7 else 1e-4 for s in space.strata])
    chosen = rh.HardenedLatches(target=10).learned(space, failing, latches)
    kept = chosen.harden(space)
    own = np.array([s.component in latches for s in space.strata])
    before, after = ((x.exposure[own] * failing[own]).sum() for x in (space, kept))
    assert after <= before / 10 * 1.001
    assert np.array_equal(kept.exposure[~own], space.exposure[~own])
    assert rh.Campaign(work, chip, protections=(chosen,)).run(until=200).cost.area > 0
    blind = rh.HardenedLatches(target=10)
    after = blind.harden(space).exposure
    assert after[own].sum() <= space.exposure[own].sum() / 10 * 1.001
    assert blind.cost(work, chip).area >= chosen.cost(work, chip).area
    with pytest.raises(ValueError, match="no latches"):
        rh.Campaign(work, protections=(blind,)).space()


def test_wrong_settings_are_refused(work) -> None:
    with pytest.raises(ValueError, match="copies"):
        Redundancy(4)
    with pytest.raises(ValueError, match="groups"):
        WeightSignature(1)
    with pytest.raises(ValueError, match="share"):
        spared(rh.software_space(work), np.full(len(rh.software_space(work).strata), 2.0))
    assert torch.is_tensor(work.images)
