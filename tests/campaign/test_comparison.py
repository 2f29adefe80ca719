"""Samplers side by side."""

import numpy as np
import pytest

import radhard as rh
from radhard.campaign.comparison import compare
from radhard.report.samplers import rows_of, samplers_page


@pytest.fixture(scope="module")
def campaign(residual, images, labels) -> rh.Campaign:
    work = rh.capture(residual, images, labels, format=rh.FLOAT16)
    return rh.Campaign(work, rh.chips.Systolic(4, 4))


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
    for c in found:
        assert c.covered.value >= 0.75
        reached = c.half_widths[:, -1] <= 0.004
        assert c.reached == reached.sum()
        assert (c.needed[reached] <= 1500).all()
        assert (c.needed[~reached] > 1500).all()
    assert [row[0] for row in rows_of(found)] == ["importance", "gradient-importance"]
    page = samplers_page(found, "tiny", "sdc1", 0.004, tmp_path).read_text()
    assert "gradient-importance" in page


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
