"""Figures hold the numbers, and say where they have too few."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest

from radhard.campaign.joint import at_once
from radhard.campaign.result import Result
from radhard.faults.space import Stratum
from radhard.formats.catalogue import format_named
from radhard.formats.number import parts
from radhard.stats.ball import proportion
from radhard.view.heatmap import layer_by_bit
from radhard.view.plot import SHARES, by_bit, by_layer, formulations
from radhard.view.rate import fit_by_component, fit_total
from radhard.view.summary import formulations as notions
from radhard.view.units import percent

Made = Callable[..., Result]
FP16 = parts(format_named("fp16"))


def settings(part: object, name: str) -> Iterator[object]:
    """All values of a setting, however deep in a figure as JSON it is."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield from [value] if key == name else settings(value, name)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from settings(value, name)


def test_figures_show_the_numbers(campaign) -> None:
    result = campaign.run(until=2000)
    layers = by_layer(result)
    assert layers is not None
    parts = [p for p in result.by(lambda s: (s.component, s.layer)) if p.label[0] == "weight"]
    shown = next(trace for trace in layers.data if trace.name == "weight")
    assert list(shown.y) == [part["sdc1"].value for part in parts if part.n >= 10]
    tops = [y + up for y, up in zip(shown.y, shown.error_y.array, strict=True)]
    assert tops == pytest.approx([part["sdc1"].high for part in parts if part.n >= 10])
    bits = by_bit(result, FP16)
    assert bits is not None
    assert {note.text for note in bits.layout.annotations} == {"sign", "exponent"}


def test_a_bar_stands_on_ten_faults_or_is_left_out(made: Made) -> None:
    """The interval of one fault reaches from 0 to 79 %, and would flatten all other bars."""
    some = made({("w", "a", 0): (9, 9), ("w", "b", 1): (10, 1), ("w", "c", 1): (0, 0)})
    layers, bits = by_layer(some), by_bit(some, FP16)
    assert layers is not None
    assert bits is not None
    assert list(layers.data[0].x) == ["b"]
    assert list(layers.layout.xaxis.categoryarray) == ["a", "b", "c"]
    assert layers.layout.xaxis.range == (-0.5, 2.5)  # the others have their places
    assert list(bits.data[0].x) == [1]
    few = made({("w", "a", 0): (9, 9), ("w", "b", 1): (9, 1)})
    assert by_layer(few) is None
    assert by_bit(few, FP16) is None


def test_a_component_has_one_colour_in_all_figures(made: Made) -> None:
    """Whichever is the first to have enough faults."""
    result = made({
        ("w", "a", 0): (9, 1), ("w", "b", 1): (9, 1), ("w", "b", 0): (9, 1),
        ("x", "a", 0): (20, 1), ("x", "b", 1): (20, 1),
    })  # fmt: skip
    layers, bits = by_layer(result), by_bit(result, FP16)
    assert layers is not None
    assert bits is not None
    colours = [{bar.name: bar.marker.color for bar in figure.data} for figure in (layers, bits)]
    assert colours[0] == colours[1]
    assert set(colours[0]) == {"w", "x"}


def test_a_map_tells_withheld_from_zero(made: Made) -> None:
    result = made({
        ("w", "a", 1): (40, 10), ("w", "a", 0): (40, 0),
        ("w", "b", 1): (9, 9), ("w", "b", 0): (0, 0),
    })  # fmt: skip
    figure = layer_by_bit(result.strata)
    assert figure is not None
    grey, told = figure.data
    assert told.z == ([0.25, 0.0], [None, None])
    assert grey.z == ([None, None], [0, 0])
    assert grey.colorscale[0][1] == grey.colorscale[1][1]
    assert list(told.x) == [1, 0]
    assert list(told.y) == ["a", "b"]
    cell = result.strata[0]["sdc1"]
    assert told.text[0][0].startswith("25 %<br>")
    assert "of 40" in told.text[0][0]
    assert "25.00 % of 40 faults" in told.customdata[0][0]
    assert f"{100 * cell.low:.2f} % to {100 * cell.high:.2f} %" in told.customdata[0][0]
    assert grey.customdata[1][0] == "w, b, 1<br>9 faults: too few for a rate"
    assert grey.customdata[1][1] == "w, b, 0<br>0 faults: too few for a rate"


def test_a_map_of_zeros_has_the_lightest_colour_and_no_bar(made: Made) -> None:
    zeros = made({("w", layer, bit): (50, 0) for layer, bit in product("ab", range(4))})
    figure = layer_by_bit(zeros.strata)
    assert figure is not None
    told = figure.data[1]
    assert {z for row in told.z for z in row} == {0.0}
    assert told.zmin == 0 < told.zmax
    assert told.colorscale[0][0] == 0.0
    assert told.showscale is False


def test_a_map_without_enough_faults_is_none(made: Made) -> None:
    assert layer_by_bit(made({("w", "a", 0): (9, 9), ("w", "a", 1): (0, 0)}).strata) is None


def test_a_map_of_many_layers_keeps_words_short_and_a_wide_one_none(made: Made) -> None:
    many = made({("w", f"layer{k}", bit): (50, 1) for k, bit in product(range(20), range(16))})
    wide = made({("w", "a", bit): (50, 1) for bit in range(32)}, width=32)
    figures = [layer_by_bit(result.strata) for result in (many, wide)]
    assert all(figure is not None for figure in figures)
    many_told, wide_told = (figure.data[1] for figure in figures if figure is not None)
    assert many_told.text[0][0] == "2"
    assert wide_told.texttemplate is None


def test_names_stand_over_the_parts_of_a_code(made: Made) -> None:
    result = made({("w", "a", bit): (50, 1) for bit in range(16)})
    figure = layer_by_bit(result.strata, [("sign", 15, 15), ("exponent", 10, 14)])
    assert figure is not None
    assert [(note.text, note.x) for note in figure.layout.annotations] == [
        ("sign", 15), ("exponent", 12),
    ]  # fmt: skip
    assert [line.x0 for line in figure.layout.shapes] == [14.5, 9.5]


def test_ticks_keep_apart_however_small_rates_are(made: Made) -> None:
    """A fixed number of digits makes several ticks of 0.1 % steps read "0 %"."""
    result = made({("w", "a", bit): (2000, 1) for bit in range(2)})
    figures = [by_layer(result), by_bit(result, FP16), layer_by_bit(result.strata),
               formulations(notions(result, None), result)]  # fmt: skip
    for figure in figures:
        assert figure is not None
        assert set(settings(figure.to_dict(), "tickformat")) == {SHARES}
    assert SHARES == "~%"  # as many digits as there are, in d3's language


@pytest.mark.parametrize(
    ("hits", "verdict"), [(0, "met"), (100, "undecided"), (500, "missed")]
)  # fmt: skip
def test_the_budget_stands_over_the_whole_chip_alone(made: Made, hits: int, verdict: str) -> None:
    result = made({("w", "a", 0): (1000, hits), ("w", "a", 1): (1000, 0)})
    rate, found = result.fit("sdc1"), result.fit_verdict()
    assert found.verdict == verdict
    figure = fit_total(rate, found)
    bar = figure.data[0]
    assert list(bar.x) == [rate.value]
    assert verdict in bar.y[0]
    assert bar.x[0] + bar.error_x.array[0] == pytest.approx(rate.high)
    assert bar.x[0] - bar.error_x.arrayminus[0] == pytest.approx(rate.low)
    assert [line.x0 for line in figure.layout.shapes if line.type == "line"] == [10.0]
    furthest = figure.layout.xaxis.range[1]
    assert furthest > max(rate.high, 10.0)
    parts = fit_by_component(result)
    assert not parts.layout.shapes
    assert list(parts.data[0].x) == [rate.value]


def test_rates_of_components_with_few_faults_are_grey(made: Made) -> None:
    result = made({("big", "a", 0): (100, 1), ("small", "a", 0): (9, 1)})
    big, small = fit_by_component(result).data[0].marker.color[::-1]
    assert big != small


def test_error_bars_can_be_read_all_at_once(made: Made) -> None:
    """A button widens them to intervals that hold together; another takes it back."""
    counts = {("w", f"layer{k}", k): (200, 10 * k) for k in range(6)}
    result = made({**counts, ("x", "layer0", 9): (200, 3), ("x", "layer1", 8): (5, 3)})
    layers, bits = by_layer(result), by_bit(result, FP16)
    for figure in (layers, bits, fit_by_component(result)):
        assert figure is not None
        side = "x" if figure.data[0].orientation == "h" else "y"
        count = sum(len(bar.x) for bar in figure.data)
        each, every = figure.layout.updatemenus[0].buttons
        assert (each.label, every.label) == ("each for itself", f"all {count} at once")
        for number, bar in enumerate(figure.data):
            own, wide = (button.args[0][f"error_{side}.array"][number] for button in (each, every))
            assert list(own) == list(bar[f"error_{side}"].array)
            assert all(a < b for a, b in zip(own, wide, strict=True))
    tops = layers.layout.updatemenus[0].buttons[1].args[0]["error_y.array"][0]
    wide = [proportion(10 * k, 200, 1 - 0.05 / 7) for k in range(6)]  # the bar of 5 faults is none
    assert list(tops) == pytest.approx([found.high - found.value for found in wide])
    assert (
        f"all 7 at once: {percent(wide[0].low)} to {percent(wide[0].high)}"
        in (layers.data[0].hovertext[0])
    )


def test_intervals_at_once_hold_together(made: Made) -> None:
    """20 rates: all hold in 95 % of 150 samples, where those for themselves do in a third."""
    rng = np.random.default_rng(0)
    rates = np.linspace(0.02, 0.4, 20)
    places = [("w", f"layer{k}", 0) for k in range(20)]
    held = np.zeros(2, int)
    for _ in range(150):
        result = made({place: (300, int(rng.binomial(300, rate)))
                          for place, rate in zip(places, rates, strict=True)})  # fmt: skip
        parts = result.by(_layer)
        for way, shown in enumerate((parts, at_once(result, parts, _layer).values())):
            ends = [(part["sdc1"].low, part["sdc1"].high) for part in shown]
            held[way] += all(a <= rate <= b for (a, b), rate in zip(ends, rates, strict=True))
    assert held[1] >= 134  # 95 %, less three standard deviations
    assert held[0] < 75


def _layer(stratum: Stratum) -> tuple[str]:
    return (stratum.layer,)


def test_one_bar_has_nothing_to_choose(made: Made) -> None:
    figure = by_layer(made({("w", "a", 0): (40, 10)}))
    assert figure is not None
    assert not figure.layout.updatemenus
    assert "at once" not in figure.data[0].hovertext[0]
