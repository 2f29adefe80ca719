"""Folders of images, and what is told of them, at the command line."""

import json
import shutil
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from radhard.campaign.ask import Ask, asked
from radhard.campaign.prepare import prepare
from radhard.network.data import data_named

OWN = """
import torch
from torch import nn
def net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
def wide(): return nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
def whole(): torch.manual_seed(0); return net(), torch.rand(6, 1, 8, 8), torch.arange(6)
"""


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Test images of the digits that the shipped network knows, as a folder, and its weights."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    held = data_named("digits")
    for k, (image, label) in enumerate(zip(held.images, held.labels, strict=True)):
        inner = tmp_path / "digits" / str(int(label))
        inner.mkdir(parents=True, exist_ok=True)
        levels = (image[0] * 65535).round().numpy().astype(np.uint16)
        Image.fromarray(levels).save(inner / f"{k:03}.png")
    (tmp_path / "digits" / ".ipynb_checkpoints").mkdir()
    weights = files("radhard.network") / "assets" / "digits-cnn.pt"
    (tmp_path / "weights.pt").write_bytes(weights.read_bytes())
    return tmp_path


def test_a_folder_gives_what_the_set_gives(digits: Path) -> None:
    ask = Ask(model="digits-cnn", data="./digits", weights="weights.pt", grey=True, images=8)
    found, named = prepare(ask), prepare(Ask(model="digits-cnn", images=8))
    counts = torch.bincount(data_named("digits").labels)
    (note,) = found.notes
    assert note.startswith(f"10 classes, 500 images: 0 = 0 ({counts[0]}), 1 = 1 ({counts[1]}), ")
    assert named.notes == ()
    assert found.campaign.golden_accuracy() == named.campaign.golden_accuracy()


def test_the_campaign_file_says_how_images_are_read(digits: Path, at_the_command_line) -> None:
    options = ("--size", "8", "--grey", "--mean", "0.3", "--std", "0.4", "--images", "20")
    arguments = ("--data", "./digits", "--weights", "weights.pt", "--faults", "50", "--json")
    code, out, said = at_the_command_line(
        "assess", "digits-cnn", *arguments, *options, "--out", "a"
    )
    assert code == 0, said
    assert "note: 10 classes, 500 images: 0 = 0 (" in said
    (path,) = Path("a").glob("*/campaign.toml")
    ask = asked(path)
    assert (ask.size, ask.grey, ask.mean, ask.std) == ("8", True, (0.3,), (0.4,))
    assert prepare(ask).campaign.id == json.loads(out)["id"]
    assert Ask(model="own:net", size=8, mean="0.1, 0.2", std=[1, 2]).mean == (0.1, 0.2)


def test_fewer_classes_than_the_network_knows_are_told(digits: Path) -> None:
    for k in range(3, 10):
        shutil.rmtree(f"digits/{k}")
    ask = Ask(model="digits-cnn", data="./digits", weights="weights.pt", grey=True, images=8)
    assert "has 3 classes, but the network tells 10 apart" in prepare(ask).notes[1]


def test_guessing_is_told(digits: Path) -> None:
    classes = {
        "model": "digits-cnn", "data": "./digits", "weights": "weights.pt", "grey": True,
        "images": 8,
    }  # fmt: skip
    doubted = prepare(Ask(**classes, mean=(90.0,), std=(0.01,))).notes[1]
    assert "not better than guessing among 10 classes (10.00 %)" in doubted
    assert "--mean, --std" in doubted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("digits-cnn --data ./digits", "--size 8 --grey"),
        ("digits-cnn --data digits --grey", "size and grey are for folders"),
        ("own:net --data ./digits --size 8y", "size '8y' can't be"),
        ("own:net --data ./digits --grey --mean 0.1,x", "mean"),
        ("own:net --data ./digits --grey --std 0", "std (0.0,) can't be"),
        ("own:wide --data ./digits --std 1,2", "for images of 3 channels"),
        ("own:wide --data ./digits --grey", "with images of shape (1, 8, 8)"),
        ("own:whole --data digits", "gives its own images"),
        ("own:whole --grey", "gives its own images"),
    ],
)
def test_wrong_use_is_one_line(
    digits: Path, at_the_command_line, arguments: str, message: str
) -> None:
    code, _, said = at_the_command_line("assess", *arguments.split())
    assert code == 2
    assert message in said
    assert said.count("\n") == 1


def test_fewer_images_than_by_default_are_all_taken(digits: Path, at_the_command_line) -> None:
    arguments = ("assess", "own:whole", "--faults", "20", "--json", "--out", "a")
    code, out, said = at_the_command_line(*arguments)
    assert code == 0, said
    assert json.loads(out)["images"] == 6
    (path,) = Path("a").glob("*/campaign.toml")
    assert asked(path).images == 6
    assert prepare(asked(path)).campaign.id == json.loads(out)["id"]
    code, _, said = at_the_command_line(*arguments, "--images", "64")
    assert code == 2
    assert "64 images asked for, but own:whole has 6: use fewer" in said
    by_default = prepare(Ask(model="digits-cnn")).campaign
    assert (len(by_default.workload.images), by_default.images) == (500, 64)


FAILING = """
def key(): return {}["weights"]
def value(): raise ValueError("no such layer")
def leaving(): raise SystemExit(3)
def needing(path): pass
"""


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("failing:key", "failing:key raised KeyError: 'weights'"),
        ("failing:value", "failing:value raised ValueError: no such layer"),
        ("failing:leaving", "failing:leaving raised SystemExit: 3"),
        ("failing:needing", "failing:needing raised TypeError: needing() missing 1"),
        ("broken:net", "module 'broken' raised SyntaxError"),
        ("quitting:net", "module 'quitting' raised SystemExit"),
    ],
)
def test_functions_that_raise_are_named(
    digits: Path, at_the_command_line, model: str, message: str
) -> None:
    Path("failing.py").write_text(FAILING)
    Path("broken.py").write_text("def net(:")
    Path("quitting.py").write_text("import sys; sys.exit()")
    code, out, said = at_the_command_line("assess", model, "--data", "digits")
    assert (code, out) == (1, "")
    assert message in said
    assert said.count("\n") == 1


def test_modules_of_criteria_that_raise_are_named(digits: Path, at_the_command_line) -> None:
    Path("stopping.py").write_text("raise SystemExit(3)")
    Path("ask.toml").write_text('model = "digits-cnn"\ncriteria.far = "stopping:far"\n')
    code, _, said = at_the_command_line("run", "ask.toml")
    assert code == 1
    assert "module 'stopping' raised SystemExit: 3" in said


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "a/b", "..", "n" * 201, "\u00e4" * 101])
def test_names_that_are_no_folders(name: str, digits: Path, at_the_command_line) -> None:
    Path("ask.toml").write_text(f'model = "digits-cnn"\nimages = 2\nname = {json.dumps(name)}\n')
    code, _, said = at_the_command_line("run", "ask.toml")
    assert code == 2
    assert f"name {name[:60]!r} ({len(name)} characters) can't be" in said
    assert "up to 200 bytes" in said
    assert said.count("\n") == 1


def test_warnings_are_one_line(digits: Path, at_the_command_line) -> None:
    Path("half.py").write_text(OWN.replace("Linear(64, 10))", "Linear(64, 10)).half()"))
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        code, _, said = at_the_command_line(
            "assess", "half:whole", "--images", "6", "--faults", "20", "--json", "--out", "a"
        )
    assert code == 0, said
    assert "\nradhard: parameters of float16 are taken as float32" in f"\n{said}"
    assert "half.py" not in said


def test_a_function_may_give_arrays_and_lists(
    at_the_command_line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "arrays_of_mine.py").write_text(
        "import numpy as np, torch\n"
        "def mine():\n"
        "    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))\n"
        "    return model, np.ones((8, 1, 2, 2)), [k % 3 for k in range(8)]\n"
    )
    monkeypatch.chdir(tmp_path)
    given = ("--chip", "software", "--images", "8", "--faults", "20", "--json")
    code, out, _ = at_the_command_line("assess", "arrays_of_mine:mine", *given)
    assert code == 0
    assert json.loads(out)["faults"] == 20
