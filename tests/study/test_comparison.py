"""Samplers side by side."""

from dataclasses import replace

import numpy as np
import pytest

import radhard as rh
from radhard.study.comparison import compare, truth_of
from radhard.view.samplers import rows_of, samplers_page


@pytest.fixture(scope="module")
def campaign(residual, images, labels) -> rh.Campaign:
    work = rh.capture(residual, images, labels, format=rh.FLOAT16)
    return rh.Campaign(work, rh.chips.Published(4, 4))


def test_samplers_answer_alike_and_a_score_saves_faults(campaign, tmp_path) -> None:
    seen = []
    samplers = (rh.Importance(), rh.GradientImportance(candidates=100))
    found = compare(
        campaign, "sdc1", 0.004, samplers, seeds=4, faults=1500, watch=lambda *n: seen.append(n)
    )
    assert seen == [(k, 8) for k in range(1, 9)]
    plain, told = found
    assert (plain.sizes == told.sizes).all()
    assert plain.sizes[0] == 5
    assert plain.sizes[-1] == 1500
    assert told.needed.mean() < plain.needed.mean() / 2
    means = [np.mean([one.value for one in c.estimates]) for c in found]
    assert means[0] == pytest.approx(means[1], abs=4 * plain.half_widths[:, -1].mean() / 2)
    assert plain.truth.half_width < 0.004 / 2
    for c in found:
        assert c.truth == plain.truth
        stops = np.array([c.sizes.tolist().index(one.n) for one in c.stopped])
        held = [one.low <= c.truth.value <= one.high for one in c.stopped]
        assert c.covered.value == np.mean(held)
        assert any(held)  # all four miss once in 160,000 times
        for widths, stop in zip(c.half_widths, stops, strict=True):
            assert (widths[stop:] <= 0.004).all() or stop == len(widths) - 1
            assert stop == 0 or widths[stop - 1] > 0.004
        assert not c.or_fewer.any()
        reached = c.half_widths[:, -1] <= 0.004
        assert c.reached == reached.sum()
        assert (c.needed[reached] <= 1500).all()
        assert (c.needed[~reached] > 1500).all()
    assert [row[0] for row in rows_of(found)] == ["importance", "gradient-importance"]
    page = samplers_page(found, "tiny", "sdc1", 0.004, tmp_path).read_text()
    assert "gradient-importance" in page
    assert f"truth: {plain.truth}" in page


def test_what_the_smallest_number_settles_may_take_fewer(campaign, tmp_path) -> None:
    truth = campaign.run(until=100)["sdc1"]
    (found,) = compare(campaign, "sdc1", 0.4, (rh.Importance(),), 2, 20, truth=truth)
    assert found.or_fewer.all()
    assert found.truth == truth
    assert [one.n for one in found.stopped] == [5, 5]
    (row,) = rows_of([found])
    assert row[1:4] == ("5 or fewer",) * 3
    assert "5 or fewer" in samplers_page([found], "tiny", "sdc1", 0.4, tmp_path).read_text()
    mixed = replace(found, or_fewer=np.array([True, False]), needed=np.array([5.0, 9.0]))
    assert rows_of([mixed])[0][1:4] == ("7 or fewer", "5 or fewer", "9")


def test_the_truth_is_independent_and_much_narrower(campaign) -> None:
    """No seed of the comparison, no proofs; it agrees with as many faults that are drawn alike."""
    truth = truth_of(campaign, "sdc1", 0.02, 3)
    assert truth.half_width <= 0.4 * 0.02
    plain = campaign.with_(sampler=rh.Importance(), seed=77).run(until=6000)["sdc1"]
    assert abs(truth.value - plain.value) < truth.half_width + plain.half_width


def test_a_run_is_that_of_its_campaign(campaign) -> None:
    """The last estimate is what the campaign itself reports for as many faults."""
    found = compare(campaign, "correct", 0.01, (rh.Importance(),), seeds=1, faults=2500)
    alone = campaign.with_(sampler=rh.Importance(), seed=0).run(until=2500)
    assert found[0].estimates[0] == alone.ra


def test_wrong_questions(campaign) -> None:
    with pytest.raises(ValueError, match="no outcome 'sdc2'"):
        compare(campaign, "sdc2")
    with pytest.raises(ValueError, match="0 seeds"):
        compare(campaign, seeds=0)
    with pytest.raises(ValueError, match="half width of 0"):
        compare(campaign, half_width=0)
