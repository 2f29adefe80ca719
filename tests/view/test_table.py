"""Tables in the terminal: what is worst, and lines that can be copied."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from radhard.campaign.result import Result
from radhard.network.coverage import Covered
from radhard.stats.ball import proportion
from radhard.view.table import show, summary
from radhard.view.units import percent
from radhard.view.wording import covered_words, flat_words

Made = Callable[..., Result]


def printed(result: Result, width: int, capsys, monkeypatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    show(result)
    return str(capsys.readouterr().out)


def test_what_one_fault_says_is_not_the_worst(made: Made) -> None:
    """8 of 10 is worse for certain than 300 of 1,000, that than 4 of 10; 1 of 1 is nothing."""
    result = made({
        ("w", "one", 0): (1, 1), ("w", "many", 1): (1000, 300), ("w", "ten", 2): (10, 8),
        ("w", "some", 3): (10, 4), ("w", "none", 4): (50, 0),
    })  # fmt: skip
    table = next(t for t in summary(result) if "by layer" in str(t.title))
    assert list(table.columns[0].cells) == ["ten", "many", "some"]
    lows = [part["sdc1"].low for part in result.by(lambda s: (s.layer,))]
    assert lows[2] > lows[1] > lows[3]
    first, second, _ = str(table.caption).split("\n")
    assert first == "3 of 5 parts; left out: 1 of fewer than 10 faults, 1 without SDC-1"
    assert second == "interval: 95 %, each for itself; joint: 95 % that all 4 rates are above"


def test_rows_that_do_not_fit_are_counted(made: Made) -> None:
    result = made({("w", f"layer{k}", 0): (100, k + 1) for k in range(30)})
    table = next(t for t in summary(result) if "by layer" in str(t.title))
    assert list(table.columns[0].cells) == [f"layer{k}" for k in range(29, 17, -1)]
    assert str(table.caption).startswith("12 of 30 parts; left out: 18 less hurt\n")


def test_lower_ends_of_the_worst_are_those_of_all_that_were_compared(made: Made) -> None:
    """The worst of 30 is picked from 30: an interval at 1 - 0.05 / 30 bears that."""
    result = made({("w", f"layer{k}", 0): (100, k + 1) for k in range(30)})
    table = next(t for t in summary(result) if "by layer" in str(t.title))
    told = table.columns[5]
    assert told.header == "joint"
    ends = [proportion(events, 100, 1 - 0.05 / 30).low for events in range(30, 18, -1)]
    assert list(told.cells) == [percent(low) for low in ends]


def test_the_share_that_is_struck_is_said(made: Made) -> None:
    covered = Covered(0.75, 0.9, ("einsum of head",))
    first = summary(replace(made({("w", "a", 0): (10, 1)}), covered=covered))[0]
    assert first.caption == f"struck: {covered_words(covered)}\n"


def test_layers_of_which_scores_say_nothing_are_named(made: Made) -> None:
    first = summary(replace(made({("w", "a", 0): (10, 1)}), flat=("a", "b")))[0]
    assert first.caption == f"note: {flat_words(('a', 'b'))}\n"
    many = flat_words([f"layer{k}" for k in range(9)])
    assert "layer5 and 3 more" in many
    assert "layer6" not in many


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_width_breaks_a_name_or_a_number(made: Made, capsys, monkeypatch, width: int) -> None:
    long = "encoder.layers.11.self_attention.out_projection"
    result = made({("psum-out-latch-[of-one]", long, 30): (1234, 567)}, rate_fit=1234.5)
    text = printed(result, width, capsys, monkeypatch)
    rate = result.fit("sdc1")
    for word in (long, "psum-out-latch-[of-one]", "made-up:", "1,234", "45.95 %",
                 f"{rate.low:.3g} to {rate.high:.3g}"):  # fmt: skip
        assert word in text
    assert "…" not in text


def test_without_faults_that_tell_there_are_no_rows(made: Made, capsys, monkeypatch) -> None:
    result = made({("w", "a", bit): (9, 9) for bit in range(2)})
    text = " ".join(printed(result, 80, capsys, monkeypatch).split())
    assert "0 of 2 parts; left out: 2 of fewer than 10 faults" in text


@pytest.mark.parametrize("width", [40, 60, 80])
def test_long_names_of_campaigns_stay_whole(made: Made, capsys, monkeypatch, width: int) -> None:
    from dataclasses import replace

    name = (
        "a-network-of-mine-with-a-name-of-many-words-fixed16_10-eyeriss-65nm-hardened-and-tripled"
    )
    result = replace(made({("w", "a", 0): (100, 1)}), name=name)
    assert f"{name}:" in printed(result, width, capsys, monkeypatch)
