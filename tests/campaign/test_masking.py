"""Where faults are masked, against sums in plain integers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.campaign.follow import trace_of
from radhard.campaign.masking import STAGES, masking
from radhard.faults.space import Stratum
from radhard.protect.column import ColumnClamp

CHIPS = [rh.chips.CLOCKED(3, 4, flow) for flow in ("ws", "os", "is")]


@pytest.fixture(scope="module")
def work() -> rh.Workload:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4), nn.ReLU(), nn.Linear(4, 3)
    ).eval()
    images = torch.randn(40, 1, 4, 4).relu()
    real = rh.capture(model, images[:6], model(images[:6]).argmax(1), name="tiny")
    plan = rh.Quantisation(rh.Bits(4, 3), clip=rh.LeastSquares(8))  # some codes saturate
    return rh.quantise(real, plan, images[6:])


def slow(work: rh.Workload, corruption, k: int) -> str:
    """The stage within the struck layer, by loops over its outputs in Python's integers."""
    number, operand = int(corruption.layer[k]), str(corruption.operand[k])
    layer, how, given = work.layers[number], work.arithmetic[number], work.parameters[number]
    image = work.images[int(corruption.image[k])][None]
    values = work.program.values(image, work.evaluate)
    x = [int(v) for v in how.input.integers(values[layer.operands[0]]).flatten()]
    rows = how.weight.integers(layer.weight_rows(work.weight(number))).long().tolist()
    bias = how.bias(given).flatten().tolist()
    unit = float(how.unit(given))
    place, keep, flip = (int(getattr(corruption, n)[k]) for n in ("element", "keep", "flip"))

    def wrong(value: int, width: int) -> int:
        code = (value & keep) ^ flip
        return ((code + (1 << (width - 1))) % (1 << width)) - (1 << (width - 1))

    stages = []
    for m in range(layer.channels):
        for p in range(layer.positions):
            window = layer.window(torch.tensor([m]), torch.tensor([p]))[0].tolist()
            ins = [x[e] if e >= 0 else 0 for e in window]
            pairs = list(zip(ins, rows[m], strict=True))
            free = sum(a * b for a, b in pairs) + int(bias[m])
            element = int(layer.output_element(torch.tensor([m]), torch.tensor([p])))
            inside = (
                all(
                    box[0] <= at < box[1]
                    for box, at in ((corruption.channels[k], m), (corruption.positions[k], p))
                )
                and m * layer.positions + p >= corruption.first[k]
            )
            faulty = free
            if operand == "psum" and element == place:
                start, end = corruption.terms[k]
                part = sum(a * b for a, b in pairs[start:end])
                faulty += wrong(part, how.latch.width) - part
                half = 1 << (how.latch.width - 1)
                faulty = (faulty + half) % (2 * half) - half
            elif operand == "weight" and inside:
                channel, tap = layer.weight_place(torch.tensor([place]))
                if int(channel) == m:
                    a, b = pairs[int(tap)]
                    faulty += a * (wrong(b, how.weight.width) - b)
            elif operand == "input" and inside:
                for tap, e in enumerate(window):
                    hit = e == place if place >= 0 else tap == corruption.terms[k][0]
                    if hit:
                        a, b = pairs[tap]
                        faulty += b * (wrong(a, how.input.width) - a)
            low, high = how.output.limits
            steps = [round(s * unit / how.output.scale[0]) for s in (faulty, free)]
            codes = [min(max(s, low), high) for s in steps]
            stages.append(
                "product" if faulty == free else "rounding" if steps[0] == steps[1]
                else "clamp" if codes[0] == codes[1] else "later"
            )  # fmt: skip
    return max(stages, key=STAGES.index)


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_stages_are_those_of_plain_integers(work: rh.Workload, chip) -> None:
    campaign = rh.Campaign(work, chip, sampler=rh.Uniform())
    found = masking(campaign, 250)
    corruption = chip.corrupt(work, found.space, found.faults)
    network = rh.resume(trace_of(campaign), corruption)
    alike = (network.logits == network.golden).all(1).numpy()
    wrong = work.task.differ(network.logits, network.golden).numpy()
    seen = set()
    for k, stage in enumerate(found.stage):
        name, within = STAGES[stage], slow(work, corruption, k)
        seen.add(name)
        if name != "unread":
            assert (name if name in ("product", "rounding", "clamp") else "later") == within, k
        else:
            assert within == "product"
        assert alike[k] == (name not in ("argmax", "answer"))
        assert wrong[k] == (name == "answer")
    # what 250 faults show besides depends on the last bits of the machine
    assert len(seen & {"product", "rounding", "clamp", "later", "argmax"}) > 3


def test_shares_are_whole_and_votes_take_their_bits(work: rh.Workload) -> None:
    campaign = rh.Campaign(work, CHIPS[0], seed=4)
    found = masking(campaign, 2000)
    shares = found.shares()
    assert sum(share.value for share in shares.values()) == pytest.approx(1)
    assert shares["vote"].value == 0
    assert shares["scaling"].value == 0  # float64 holds every sum
    sdc = campaign.with_(sampler=rh.Uniform()).run(until=6000)["sdc1"]
    assert sdc.low <= shares["answer"].high
    assert shares["answer"].low <= sdc.high

    def top(stratum: Stratum) -> bool:
        return stratum.component == "psum-register" and stratum.bit >= 8

    voted = found.shares(top)
    tops = sum(p for s, p in zip(found.space.strata, found.space.probability, strict=True)
               if top(s)) * found.space.tried  # fmt: skip
    assert voted["vote"].low <= tops <= voted["vote"].high
    assert voted["answer"].value < shares["answer"].value


def test_stages_under_a_clamp_are_those_of_its_runs(work: rh.Workload) -> None:
    few = work.with_(work.images[:2], work.labels[:2])  # many of whose values are the ends
    clamp = ColumnClamp().learned(few)
    plain = rh.Campaign(few, CHIPS[0], seed=1, sampler=rh.Uniform())
    guarded = plain.with_(protections=[clamp])
    found = [masking(one, 600) for one in (plain, guarded)]
    corruption = plain.chip.corrupt(few, found[1].space, found[1].faults)
    run = rh.resume(trace_of(guarded), corruption)
    alike = (run.logits == run.golden).all(1).numpy()
    assert (alike == (found[1].stage < STAGES.index("argmax"))).all()
    own, other = (np.bincount(one.stage, minlength=len(STAGES)) for one in found)
    held = STAGES.index("clamp")
    assert (own[:held] == other[:held]).all()
    assert other[held] > own[held] + 5


def test_what_was_found_is_kept(work: rh.Workload, tmp_path: Path) -> None:
    campaign = rh.Campaign(work, CHIPS[1])
    first = masking(campaign, 120, tmp_path)
    (path,) = tmp_path.iterdir()
    kept = path.stat().st_mtime_ns
    again = masking(campaign, 120, tmp_path)
    assert path.stat().st_mtime_ns == kept
    assert np.array_equal(first.stage, again.stage)
    real = work.with_(format=rh.FLOAT32)
    with pytest.raises(ValueError, match="does not add up integers exactly"):
        masking(rh.Campaign(real, rh.chips.SOFTWARE), 10)
