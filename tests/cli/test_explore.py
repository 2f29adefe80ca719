"""`radhard explore` as people type it."""

import json
from pathlib import Path

import pytest

GRID = ("--bits", "8,3+1", "--arrays", "4x4", "--protect", "none,clamp,psum", "--faults", "300")


def test_the_verb(at_the_command_line, tmp_path: Path) -> None:
    given = ("explore", "digits-cnn", *GRID, "--out", str(tmp_path / "found"))
    code, out, said = at_the_command_line(*given, "--json")
    assert code == 0
    found = json.loads(out)
    names = [point["name"] for point in found["points"]]
    kinds = ("none", "clamp", "psum")
    assert names == [f"{bits}-4x4-{kind}" for bits in ("8", "3+1") for kind in kinds]
    assert set(found["front"]) <= set(names)
    assert found["recommended"] in names
    for point in found["points"]:
        for name in ("accuracy", "sdc1", "ra", "drop", "fit"):
            one = point[name]
            assert one["low"] <= one["value"] <= one["high"], name
        assert point["dsps"] == 16
        assert point["ffs"] > 300
        assert point["cycles"] > 1000
    first = found["points"][0]
    assert first["hardware"] == "measured"
    assert first["fmax_mhz"]["low"] <= first["fmax_mhz"]["value"] <= first["fmax_mhz"]["high"]
    assert first["improvement"] is None
    page = tmp_path / "found" / "explore.html"
    assert str(page) in said
    text = page.read_text()
    assert "3+1-4x4-clamp" in text
    link = f"report.html#{first['campaign']}"
    assert link in text
    assert f'id="{first["campaign"]}"' in (page.parent / "runs" / "report.html").read_text()
    assert "module systolic" in (page.parent / "recommended" / "systolic.sv").read_text()
    code, out, _ = at_the_command_line(*given)  # from what is there
    assert code == 0
    assert "3+1-4x4-psum" in out
    assert "Recommended" in out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--bits", "1"), "1 bits"),
        (("--bits", "8..x"), "8..x"),
        (("--bits", "4+3"), "headroom"),
        (("--arrays", "4by4"), "4by4"),
        (("--protect", "parity"), "parity"),
        (("--objectives", "beauty"), "beauty"),
        (("--bits", "nothing=8"), "no layer 'nothing'"),
    ],
)
def test_what_cannot_be(at_the_command_line, tmp_path: Path, flags, said: str) -> None:
    given = ("explore", "digits-cnn", "--faults", "100", "--out", str(tmp_path / "none"))
    code, _, told = at_the_command_line(*given, *flags)
    assert code == 2
    assert said in told
    assert "Traceback" not in told
    assert not (tmp_path / "none").exists()


def test_all_images_are_struck_where_that_is_asked(at_the_command_line, tmp_path: Path) -> None:
    given = ("explore", "digits-cnn", "--bits", "8", "--arrays", "4x4", "--protect", "none",
             "--faults", "100", "--out", str(tmp_path))  # fmt: skip
    code, _, _ = at_the_command_line(*given, "--images", "all")
    assert code == 0
    (asked,) = (tmp_path / "runs").glob("*/campaign.toml")
    assert "images = 500" in asked.read_text()
    assert "<h1>digits-cnn</h1>" in (tmp_path / "explore.html").read_text()
    code, _, said = at_the_command_line(*given, "--images", "many")
    assert code == 2
    assert "use a number of 1 or more, or all" in said


def test_no_design_is_good_enough(at_the_command_line, tmp_path: Path) -> None:
    given = ("explore", "digits-cnn", "--bits", "8", "--arrays", "4x4", "--protect", "none",
             "--faults", "100", "--out", str(tmp_path))  # fmt: skip
    code, out, told = at_the_command_line(*given, "--max-luts", "10", "--max-fit", "1e-9")
    assert code == 2
    assert "8-4x4-none" in out
    assert "96 look-up tables of 10" in told


@pytest.mark.exhaustive
def test_trained_widths_are_kept(at_the_command_line, tmp_path: Path) -> None:
    given = ("explore", "digits-cnn", "--bits", "3,qat3", "--arrays", "4x4", "--protect", "none",
             "--multipliers", "exact,mul8s_1KVL@v1", "--faults", "40", "--out", str(tmp_path),
             "--json")  # fmt: skip
    code, out, _ = at_the_command_line(*given)
    assert code == 0
    first = {point["name"]: point for point in json.loads(out)["points"]}
    assert first["qat3-4x4-none"]["accuracy"]["value"] > first["3-4x4-none"]["accuracy"]["value"]
    (kept,) = (tmp_path / "networks").iterdir()
    made = kept.stat().st_mtime_ns
    code, out, _ = at_the_command_line(*given)
    again = {point["name"]: point for point in json.loads(out)["points"]}
    assert kept.stat().st_mtime_ns == made
    assert again == first
    coarse, exact = first["3-4x4-none-mul8s_1KVL@v1"], first["3-4x4-none"]
    assert coarse["multiplier"] == "mul8s_1KVL@v1"
    assert coarse["energy_nj"] < exact["energy_nj"] * 2
    assert coarse["hardware"] in ("unknown", "synthesis")
    assert exact["hardware"] == "measured"
