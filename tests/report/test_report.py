from pathlib import Path

import pytest
from torch import Tensor, nn

import radhard as rh
from radhard.report.plot import by_bit, by_layer, layer_by_bit


@pytest.fixture(scope="module")
def campaign(residual: nn.Module, images: Tensor, labels: Tensor) -> rh.Campaign:
    work = rh.capture(residual, images, labels, format=rh.FLOAT16, name="tiny")
    return rh.Campaign(work, name="<tiny> & co".replace("<", "(").replace(">", ")"))


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


def test_figures_show_the_numbers(campaign) -> None:
    result = campaign.run(until=2000)
    layers = by_layer(result)
    parts = [p for p in result.by(lambda s: (s.component, s.layer)) if p.label[0] == "weight"]
    shown = next(trace for trace in layers.data if trace.name == "weight")
    assert list(shown.y) == [part["sdc1"].value for part in parts if part.n]
    tops = [y + up for y, up in zip(shown.y, shown.error_y.array, strict=True)]
    assert tops == pytest.approx([part["sdc1"].high for part in parts if part.n])
    names = {note.text for note in by_bit(result, "fp16").layout.annotations}
    assert names == {"sign", "exponent"}
    grid = layer_by_bit(result, "weight").data[0]
    assert len(grid.z) == 4
    assert len(grid.z[0]) == 16
    assert list(grid.x[:2]) == ["15", "14"]


def test_bars_of_few_faults_are_left_out_where_others_have_more(campaign) -> None:
    """One fault's interval reaches from 0 to 79 %, and would flatten all other bars."""
    few, more = campaign.run(until=20), campaign.run(until=150)
    for result, least in ((few, 1), (more, 10)):
        parts = [part.n for part in result.by(lambda s: (s.component, s.layer))]
        shown = sum(len(trace.x) for trace in by_layer(result).data)
        assert shown == sum(n >= least for n in parts)
    assert 0 < min(n for n in parts if n) < 10 <= max(parts)


def test_campaigns_without_a_named_format_have_pages(residual, images, labels, tmp_path) -> None:
    formats = rh.Formats(rh.INT4, rh.FLOAT16, None)
    work = rh.capture(residual, images, labels, format=formats)
    list(rh.collect([rh.Campaign(work, name="mixed")], 200, tmp_path))
    assert "int4/fp16/full" in rh.report(tmp_path).read_text()


def test_an_empty_store_has_no_page(tmp_path: Path) -> None:
    with pytest.raises(rh.StoreError, match="holds no campaign"):
        rh.report(tmp_path)
