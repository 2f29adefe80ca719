import os
from pathlib import Path

import pytest

import radhard as rh
from radhard.campaign.result import Result
from radhard.view.units import percent
from radhard.view.wording import at_once_words, covered_words, verdict_words


def test_a_store_of_several_campaigns_has_one_page(campaign, tmp_path: Path) -> None:
    weights = campaign.with_(chip=rh.chips.Software(("weight",)), name="weights only")
    results = list(rh.collect([campaign, weights], 300, tmp_path))
    page = rh.report(tmp_path)
    text = page.read_text()
    assert page == tmp_path / "report.html"
    assert "2 campaigns" in text
    assert "(tiny) &amp; co" in text
    for result in results:
        assert f"{100 * result['sdc1'].value:.2f} %" in text
        assert f"{100 * result['sdc1'].low:.2f} %" in text
        assert result.id in text
    assert text.count("Layer by bit: activation") == 1
    assert text.count("Layer by bit: weight") == 2
    assert not list(tmp_path.glob("*.partial"))


def test_a_page_says_once_what_intervals_of_many_parts_are(campaign, tmp_path: Path) -> None:
    (result,) = rh.collect([campaign], 2000, tmp_path)
    text = rh.report(tmp_path).read_text()
    assert text.count(at_once_words(0.95)) == 1
    assert text.count('"label":"each for itself"') == 2  # by layer, by bit
    cells = sum(part.n >= 10 for part in result.strata)
    assert f"all {cells} at once: " in text  # in the map


def test_campaigns_without_a_named_format_have_pages(residual, images, labels, tmp_path) -> None:
    formats = rh.Formats(rh.INT4, rh.FLOAT16, None)
    work = rh.capture(residual, images, labels, format=formats)
    list(rh.collect([rh.Campaign(work, name="mixed")], 200, tmp_path))
    assert "int4/fp16/full" in rh.report(tmp_path).read_text()


def test_an_empty_store_has_no_page(tmp_path: Path) -> None:
    with pytest.raises(rh.StoreError, match="holds no campaign"):
        rh.report(tmp_path)


def test_a_page_from_what_the_store_holds_is_left_alone(campaign, tmp_path: Path) -> None:
    list(rh.collect([campaign], 300, tmp_path))
    page = rh.report(tmp_path)
    text = page.read_bytes()
    os.utime(page, ns=(1, 1))
    assert rh.report(tmp_path).stat().st_mtime_ns == 1
    page.unlink()
    assert rh.report(tmp_path).read_bytes() == text  # nothing in it is drawn by lot
    os.utime(page, ns=(1, 1))
    list(rh.collect([campaign], 400, tmp_path))
    assert "400 faults" in rh.report(tmp_path).read_text()
    page.write_text("half a page")
    assert "400 faults" in rh.report(tmp_path).read_text()


def test_a_page_is_written_anew_for_another_question_about_the_same_faults(
    campaign, tmp_path: Path
) -> None:
    list(rh.collect([campaign], 300, tmp_path, about={"data": "digits"}))
    assert "mnist" not in rh.report(tmp_path).read_text()
    list(rh.collect([campaign], 300, tmp_path, about={"data": "mnist"}))
    assert "mnist" in rh.report(tmp_path).read_text()


def test_a_page_works_out_its_strata_once(campaign, tmp_path: Path, monkeypatch) -> None:
    asked = []
    strata = Result.strata.fget

    def counted(result: Result) -> object:
        asked.append(result.name)
        assert strata is not None
        return strata(result)

    monkeypatch.setattr(Result, "strata", property(counted))
    list(rh.collect([campaign], 300, tmp_path))
    rh.report(tmp_path)
    assert asked == [campaign.name]


def test_a_page_of_few_faults_says_so(campaign, tmp_path: Path) -> None:
    list(rh.collect([campaign], 5, tmp_path))
    text = rh.report(tmp_path).read_text()
    assert text.count("Not shown: nothing here was struck by 10 faults or more.") == 4
    assert text.count("Plotly.newPlot(") == text.count('class="plotly-graph-div"') == 0


def test_the_verdict_is_on_the_page(campaign, tmp_path: Path) -> None:
    chip = rh.chips.Software(rate_fit_per_mbit=1e6)
    (result,) = rh.collect([campaign.with_(chip=chip, name="rated")], 300, tmp_path)
    text = rh.report(tmp_path).read_text()
    assert verdict_words(result.fit("sdc1"), result.fit_verdict()) in text
    assert "FIT by component" in text


def test_the_share_that_is_struck_is_on_the_page(campaign, tmp_path: Path) -> None:
    list(rh.collect([campaign], 50, tmp_path))
    covered = campaign.workload.covered
    assert 0 < covered.parameters < 1
    assert covered_words(covered) in rh.report(tmp_path).read_text()


def test_the_overview_has_differences_to_a_campaign_without_protections(campaign, tmp_path) -> None:
    guarded = campaign.with_(protections=[rh.Parity(("weight",))], name="a guarded one")
    other = campaign.with_(seed=5, name="b other faults")
    found = {r.name: r for r in rh.collect([guarded, other, campaign], 300, tmp_path)}
    text = rh.report(tmp_path).read_text()
    baseline = found["(tiny) & co"]
    assert "SDC-1: difference to (tiny) &amp; co" in text
    for name in ("a guarded one", "b other faults"):
        gap = (found[name] - baseline)["sdc1"]
        assert f"{percent(gap.low)} to {percent(gap.high)}" in text
    assert "other faults</td>" in text


def test_one_campaign_has_no_difference(campaign, tmp_path: Path) -> None:
    list(rh.collect([campaign], 300, tmp_path))
    assert "difference to" not in rh.report(tmp_path).read_text()
