"""What a run tells on its way: lines, a log, and a page that asks for itself again."""

from math import nan
from pathlib import Path

import pytest
from numba import njit
from numba.core.event import install_listener

from radhard.campaign.progress import Course, Progress
from radhard.stats.ball import proportion
from radhard.view.compiling import Compiling
from radhard.view.lines import Lines
from radhard.view.live import LivePage, drawn
from radhard.view.watching import watching


def step(done: int, fresh: int, goal: int = 20_000, name: str = "tiny") -> Progress:
    return Progress(name, done, goal, fresh, "sdc1", proportion(done // 50, done), 2)


def interrupted(step: Progress, page: Path | None = None, log: Path | None = None) -> None:
    with watching(page, log) as watch:
        watch(step)
        raise KeyboardInterrupt


def test_a_line_a_minute_with_rate_interval_and_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    lines = Lines(clock=lambda: now[0])
    for second in range(130):  # 100 faults a second, of which 1,000 were stored
        now[0] = float(second)
        lines(step(1000 + 100 * second, 100 * second))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("tiny: 7,000 of 20,000, 100/s, sdc1 2.00 % (1.6")
    assert said[0].endswith("95 %), 2 min 10 s left")


def test_a_log_has_the_first_and_the_last_of_a_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for goal in (3000, 9000):  # lines are added
        with watching(log=log) as watch:
            for done in (0, 1000, 2000, 3000):
                watch(step(done, done, goal))
    with pytest.raises(KeyboardInterrupt):
        interrupted(step(500, 500), log=log)
    whole = log.read_text()
    assert whole.count("tiny: 0 of ") == 2
    assert "tiny: 3,000 of 3,000" in whole
    assert "tiny: 3,000 of 9,000" in whole
    assert whole.rstrip().endswith("stopped")
    with pytest.raises(OSError, match="No such file"), watching(log=tmp_path / "none" / "log"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_log_without_room_is_named() -> None:
    with (
        pytest.raises(OSError, match="No space left") as full,
        watching(log=Path("/dev/full")) as w,
    ):
        w(step(0, 0))
    assert full.value.filename == "/dev/full"


def test_what_is_compiled_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The first kernel, and one of each ten seconds from there; not what is compiled already."""

    def kernel(x):
        return x + 1

    now, made = [0.0], [njit(kernel) for _ in range(4)]
    with install_listener("numba:compile", Compiling(lambda: now[0])):
        for second, one in zip((0, 4, 11, 12), made, strict=True):
            now[0] = float(second)
            one(second)
            one(second)
    first, later = capsys.readouterr().err.splitlines()
    assert first.startswith("compiling kernels, once on this machine")
    assert later == "compiled 2 kernels, now kernel"


def test_a_page_asks_for_itself_again_until_the_run_is_over(tmp_path: Path) -> None:
    page, now = tmp_path / "report.html", [0.0]
    live = LivePage(page, clock=lambda: now[0])
    live(step(1000, 1000))
    assert not page.exists()  # what ends within seconds has its page then
    for second, done in ((6, 5000), (7, 6000), (12, 7000)):
        now[0] = float(second)
        live(step(done, done, name="a <b>"))
    text = page.read_text()
    assert '<meta http-equiv="refresh" content="5">' in text
    assert "<b>Unfinished:</b> as of" in text
    assert "7,000 of 20,000" in text
    assert "a &lt;b&gt;" in text
    assert "<polygon" in text
    assert "1,000 of 20,000" in text  # the other one
    live.stopped()
    assert "refresh" not in page.read_text()
    assert "<b>Unfinished:</b> stopped at" in page.read_text()


def test_a_page_of_a_run_that_finds_all_stored_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(step(20_000, 0), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_the_drawing_shows_shrinking_intervals_and_bears_what_is_unknown() -> None:
    assert drawn(((0.0, 0, nan, 0.0, 1.0), (1.0, 10, 0.1, 0.0, 0.5))) == ""
    now = [0.0]
    course = Course(lambda: now[0])
    for done in range(0, 100_000, 100):
        now[0] += 1
        told = course.told(step(done, done, 100_000))
    assert len(told.history) <= 200
    assert told.history[-1][1] == 99_900
    assert told.seconds_left == pytest.approx(1.0, rel=0.1)
    band = drawn(told.history).partition('points="')[2].partition('"')[0].split()
    heights = [float(point.partition(",")[2]) for point in band]
    half = len(heights) // 2
    widths = [heights[-1 - k] - heights[k] for k in range(half)]
    assert widths[half // 8] > 2 * widths[-1] > 0
    assert all(0 <= y <= 240 for y in heights)
