"""The same command again prints what it said, if nothing that it came from has changed."""

import shutil
from pathlib import Path

import pytest

import radhard.cli
from radhard import folders


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_the_command_line):
    """Ask of a small network; gives what was printed, and whether the command ran."""
    monkeypatch.setenv("RADHARD_ANSWERS", "yes")
    monkeypatch.setenv("RADHARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(folders, "installed", lambda file: True)  # modules of tests are there, too
    place = Path(radhard.cli.__file__).parents[1] / "network" / "assets" / "digits-cnn.pt"
    shutil.copy(place, tmp_path / "own.pt")
    words = ["--weights", str(tmp_path / "own.pt"), "--format", "fp32", "--chip", "software"]
    words += ["--faults", "20", "--images", "4", "--out", str(tmp_path / "run")]
    ran, app = [], radhard.cli.app
    monkeypatch.setattr(radhard.cli, "app", lambda: (ran.append(1), app()))

    def ask(*more: str) -> tuple[str, str, bool]:
        ran.clear()
        code, out, said = at_the_command_line("assess", "digits-cnn", *words, *more)
        assert code == 0, said
        return out, said, bool(ran)

    return ask


def test_nothing_runs_until_something_changes(asked, tmp_path: Path, monkeypatch) -> None:
    first, page = asked(), tmp_path / "run" / "report.html"
    assert first[2]
    assert asked() == (*first[:2], False)
    written = page.read_text()
    page.unlink()
    assert asked() == (*first[:2], True)
    assert page.read_text() == written
    for change in (tmp_path / "own.pt", next((tmp_path / "run").glob("*/rows-*.parquet"))):
        change.write_bytes(change.read_bytes())
        assert asked()[2], change
    (tmp_path / "run" / "note.txt").write_text("mine")
    assert asked()[2]
    assert not asked()[2]
    monkeypatch.setenv("COLUMNS", "60")
    assert asked()[2]


def test_what_is_said_beside_the_answer_is_said_again(asked) -> None:
    out, said, ran = asked("--json")
    assert ran
    assert "page: " in said
    assert asked("--json") == (out, said, False)


def test_code_of_ones_own_and_damaged_answers_are_not_believed(
    asked, tmp_path: Path, monkeypatch
) -> None:
    asked()
    (kept,) = (tmp_path / "cache" / "answers").glob("*.z")
    kept.write_bytes(kept.read_bytes()[:-9])
    monkeypatch.setattr(folders, "installed", lambda file: "test_again" not in file)
    assert asked()[2]
    kept.unlink()
    assert asked()[2]
    assert not kept.exists()


def test_code_of_ones_own_is_told_from_packages() -> None:
    assert folders.installed(radhard.cli.__file__)
    assert folders.installed(pytest.__file__)
    assert not folders.installed(__file__)
