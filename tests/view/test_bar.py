"""The time left is that of faults which this run makes."""

import pytest

from radhard.campaign.progress import Progress
from radhard.stats.ball import proportion
from radhard.view.bar import Pace, ProgressBar


def test_stored_faults_count_neither_as_speed_nor_as_time() -> None:
    pace = Pace(100.0)
    assert pace.at(100.0, 0) == 0.0
    assert pace.at(130.0, 0) == 0.0  # half a minute of reading what is stored
    assert pace.at(134.0, 2000) == pytest.approx(500.0)
    assert pace.at(138.0, 4000) == pytest.approx(500.0)


def test_a_resumed_run_says_the_time_that_it_will_take() -> None:
    bar, now = ProgressBar(), [0.0]
    bar._bar.get_time = lambda: now[0]

    def step(time: float, done: int, fresh: int) -> str:
        now[0] = time
        bar(Progress("tiny", done, 20_000, fresh, "sdc1", proportion(0, done)))
        return str(bar._bar.tasks[0].fields["left"])

    assert step(0.0, 0, 0) == ""
    assert step(0.1, 10_000, 0) == ""  # stored: 100,000 a second are no forecast
    assert step(20.1, 12_000, 2000) == "1 min 20 s left"
    assert step(40.1, 14_000, 4000) == "1 min 0 s left"
