"""Following faults, against plain forward passes that are watched by hooks."""

import numpy as np
import pytest
import torch

import radhard as rh
from oracles.forward import Strike, plain_logits
from radhard.campaign.follow import Propagation
from radhard.network.source import subject


@pytest.fixture(scope="module")
def campaign(residual, images, labels):
    work = rh.capture(residual, images, labels, format=rh.FIXED16_10, name="tiny")
    return rh.Campaign(work, rh.chips.SOFTWARE)


@pytest.fixture(scope="module")
def found(campaign) -> Propagation:
    return rh.follow(campaign, 300)


def _inputs(model, work, image, strike):
    """What each layer but the first reads, and the logits, of one plain run."""
    seen = {}
    modules = dict(model.named_modules())
    handles = [
        modules[layer.name].register_forward_pre_hook(
            lambda _, given, name=layer.name: seen.update({f"into {name}": given[0].flatten()})
        )
        for layer in work.layers[1:]
    ]
    logits = plain_logits(model, work, image, strike)
    for handle in handles:
        handle.remove()
    return {**seen, work.layers[-1].name: logits.flatten()}


def test_distances_are_those_of_plain_runs(residual, campaign, found) -> None:
    work, space = campaign.workload, campaign.space()
    numbers = {layer.name: k for k, layer in enumerate(work.layers)}
    visible = 0
    for k in range(40):
        fault, stratum = found.faults[k : k + 1], space.strata[found.faults.stratum[k]]
        corruption = campaign.chip.corrupt(work, space, fault)
        strike = Strike(
            numbers[stratum.layer], str(corruption.operand[0]), int(fault.index[0]),
            int(fault.keep[0]), int(fault.flip[0]), (0, 1 << 40), (0, 1 << 40), 0, (0, 1 << 40),
        )  # fmt: skip
        image = int(fault.image[0])
        golden, faulty = (_inputs(residual, work, image, s) for s in (None, strike))
        for place, values in golden.items():
            at = found.places.index(place)
            gap = (faulty[place] - values).double()
            assert found.distance[k, at] == pytest.approx(float(gap.norm()), rel=1e-6)
            assert found.changed[k, at] == pytest.approx(float((gap != 0).double().mean()))
            visible += bool(found.changed[k, at])
    assert visible > 20


def test_the_struck_value_and_the_way_it_went(campaign, found) -> None:
    work = campaign.workload
    layers = {layer.name: k for k, layer in enumerate(work.layers)}
    for k in range(len(found.faults)):
        stratum = campaign.space().strata[found.faults.stratum[k]]
        number = layers[stratum.layer]
        if stratum.component != "weight":
            continue
        weight = work.weight(number).flatten()[found.faults.index[k]]
        fmt = work.arithmetic[number].weight
        code = int(fmt.encode(weight))
        assert found.code[k] == code
        assert found.before[k] == float(fmt.round(weight))
        assert found.after[k] == float(fmt.decode(torch.tensor(code ^ (1 << stratum.bit))))
        was = code >> stratum.bit & 1
        assert found.direction[k] == ("1 to 0" if was else "0 to 1")
        assert found.outward[k] == (abs(found.after[k]) > abs(found.before[k]))
    assert set(found.direction) == {"0 to 1", "1 to 0"}


def test_outcomes_are_those_of_the_campaign(campaign, found) -> None:
    result = campaign.with_(sampler=rh.Importance()).run(until=300)
    for metric in ("sdc1", "masked", "correct"):
        assert found.outcomes[metric].sum() == result.tally.events[metric].sum()
    rates = found.rates(found.layer, "sdc1")
    assert sum(e.n for e in rates.values()) == 300
    reached = found.outcomes["sdc1"]
    assert (found.changed[reached, -1] > 0).all()


def test_columns_give_the_same_back(found) -> None:
    again = Propagation.of(found.space, found.faults, found.columns())
    assert again.places == found.places
    for name in ("before", "after", "code", "distance", "changed"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert again.outcomes.keys() == found.outcomes.keys()


def test_one_layer_only_and_what_can_not_be(campaign) -> None:
    first = campaign.workload.layers[0].name
    found = rh.follow(campaign, 50, layer=first)
    assert set(found.layer) == {first}
    assert len(found.faults) == 50
    with pytest.raises(ValueError, match="no layer 'nowhere' is struck: use one of"):
        rh.follow(campaign, 50, layer="nowhere")
    with pytest.raises(ValueError, match="0 faults can't be followed"):
        rh.follow(campaign, 0)


def test_huge_distances_do_not_overflow(residual, images, labels) -> None:
    work = rh.capture(residual, images, labels, format=rh.FLOAT64)
    found = rh.follow(rh.Campaign(work, rh.chips.Software(("activation",))), 600)
    finite = np.isfinite(found.distance[:, 0])
    assert found.distance[finite, 0].max() > 1e200  # its square is beyond float64
    assert not np.isnan(found.distance).any()


def test_vulnerability_adds_up_to_the_failures_of_outputs() -> None:
    whole = subject("digits-cnn")
    work = rh.capture(whole.model, whole.images[:16], whole.labels[:16])
    found = rh.follow(rh.Campaign(work, rh.chips.Software(("activation",))), 2000)
    worth = found.vulnerability(work)
    assert {name: len(each) for name, each in worth.items()} == {
        layer.name: layer.channels for layer in work.layers
    }
    total = sum(sum(each) for each in worth.values())
    assert total == pytest.approx(float(found.outcomes["sdc1"].mean()))
    chosen = rh.Redundancy.ranked(work, worth, macs=0.3)
    assert chosen.cost(work, rh.chips.SOFTWARE).macs <= 0.3 * sum(la.macs for la in work.layers)
