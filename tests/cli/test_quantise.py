"""`radhard quantise` in full, and what reads its files."""

import json
import re
from pathlib import Path

import pytest

GIVEN = ("quantise", "digits-cnn", "--bits", "w4a6,8=8", "--clip", "mse", "--per-channel")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_quantised_network_is_assessed_with_its_own_formats(folder, at_the_command_line) -> None:
    code, out, said = at_the_command_line(*GIVEN, "--json", "--out", "q.pt2")
    assert code == 0, said
    told = json.loads(out)
    assert told["format"] == "w4-8a6-8"
    assert [list(row.values())[1:] for row in told["layers"]] == [
        [4, 6, 6], [4, 6, 6], [4, 6, 8], [8, 8, 16],
    ]  # fmt: skip
    before, after = told["accuracy"]["before"], told["accuracy"]["after"]
    assert before["n"] == after["n"] == 500
    assert before["low"] < after["value"] < before["high"]
    asked = ("assess", "q.pt2", "--data", "digits", "--faults", "100", "--images", "20")
    code, out, said = at_the_command_line(*asked, "--json", "--out", "r")
    assert code == 0, said
    assert "note: q.pt2 has formats of its own, w4-8a6-8: taken as they are" in said
    shown = json.loads(out)
    assert shown["format"] == "w4-8a6-8"
    assert shown["metrics"]["golden_accuracy"]["value"] == after["value"]
    (toml,) = folder.glob("r/*/campaign.toml")
    code, out, said = at_the_command_line("run", str(toml), "--json", "--out", "again")
    assert code == 0, said
    again = json.loads(out)
    assert (again["id"], again["metrics"]) == (shown["id"], shown["metrics"])
    code, out, said = at_the_command_line(*asked, "--format", "int8", "--json")
    assert "q.pt2 has formats of its own, but is run in int8, as asked" in said
    assert json.loads(out)["id"] != shown["id"]


def test_training_with_codes_prints_a_table(folder, at_the_command_line) -> None:
    more = ("--method", "qat", "--power-of-two", "--bits", "5", "--out", "deep/q.pt2")
    code, out, said = at_the_command_line("quantise", "digits-cnn", *more)
    assert code == 0, said
    assert re.search(r"before +95\.60 % +\[93\.43, 97\.08\]", out)
    assert re.search(r"after +9\d\.\d\d %", out)
    assert "radhard assess deep/q.pt2 takes as they are" in out.replace("\n", " ")
    assert (folder / "deep" / "q.pt2").exists()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("--bits 1", "1 bits can't be: use 2 to 16 for weights and activations"),
        ("--bits w8a17", "17 bits can't be"),
        ("--bits 8,fc=4", "no layer 'fc': the layers are 0, 2, 6, 8"),
        ("--bits 4 --headroom 3", "3 bits of headroom can't be in activations of 4: use 0 to 2"),
        ("--out q.onnx", "--out q.onnx can't be: the network is written as a file named .pt2"),
    ],
)
def test_wrong_use_is_told(folder, at_the_command_line, asked, words) -> None:
    code, _, said = at_the_command_line("quantise", "digits-cnn", *asked.split())
    assert (code, words in said) == (2, True), said


def test_images_to_calibrate_on_are_asked_for(folder, at_the_command_line) -> None:
    (folder / "to_quantise.py").write_text(
        "import torch\n"
        "def net():\n"
        "    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))\n"
        "    return model, torch.rand(20, 1, 4, 4), torch.arange(20) % 3\n"
        "def more():\n"
        "    return net()\n"
    )
    code, _, said = at_the_command_line("quantise", "to_quantise:net")
    assert code == 2
    assert (
        "no calibration images: to_quantise:net is no data set with training images of its own"
        in said
    )
    code, _, said = at_the_command_line(
        "quantise", "to_quantise:net", "--learn-from", "to_quantise:net"
    )
    assert code == 2
    assert "it is judged on these: give other images" in said
    code, out, said = at_the_command_line(
        "quantise", "to_quantise:net", "--learn-from", "to_quantise:more"
    )
    assert code == 0, said
    assert "w8a8" in out
