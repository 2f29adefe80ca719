"""The command line as a user meets it: in a process of its own where exit codes matter."""

import io
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from radhard.arith.multiplier import full_name
from radhard.arith.multipliers import multipliers
from radhard.cli import main
from radhard.cli.listing import Catalogue, listing
from radhard.network.zoo import zoo
from radhard.protect.catalogue import PROTECTIONS

MODELS = """
import torch
from torch import nn
labels = torch.tensor([0, 1, 2, 0])
images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
def good(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), images, labels
def no_logits(): return nn.Conv2d(1, 2, 3), images, labels
def too_few(): return good()[0], images, labels[:3]
def too_high(): return good()[0], images, labels + 7
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli")
    (path / "own.py").write_text(MODELS)
    (path / "broken.toml").write_text("model = digits")
    (path / "unknown.toml").write_text('model = "digits-cnn"\nfault = 3\n')
    (path / "afile").write_text("x")
    return path


@pytest.fixture(autouse=True)
def forget_modules() -> Iterator[None]:
    """Modules of one's own have the same names in other folders."""
    yield
    for name in ("own", "parts_of_mine"):
        sys.modules.pop(name, None)


class Done(NamedTuple):
    """How a command has ended."""

    returncode: int
    stdout: str
    stderr: str


def run(folder: Path, *arguments: str) -> Done:
    """`radhard` with arguments, in this process, which has read its libraries and kernels."""
    said, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("default")
        patch.setattr(sys, "argv", ["radhard", *arguments])
        patch.setenv("RADHARD_CACHE", str(folder / "cache"))
        patch.syspath_prepend("")
        patch.chdir(folder)
        with redirect_stdout(said), redirect_stderr(errors), pytest.raises(SystemExit) as stop:
            main()
    return Done(int(stop.value.code or 0), said.getvalue(), errors.getvalue())


def run_apart(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    command = [sys.executable, "-c", "from radhard.cli import main; main()", *arguments]
    environment = {**os.environ, "RADHARD_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment, check=False
    )


@pytest.fixture(scope="module")
def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    return run_apart(
        folder, "assess", "digits-cnn", "--format", "fp16", "--faults", "600", "--out", "d"
    )


def test_table_page_and_json_give_one_verdict(folder: Path, demo) -> None:
    last = demo.stdout.splitlines()[-1]
    assert last.startswith("FIT ")
    assert last in (folder / "d" / "report.html").read_text()
    again = run(folder, "run", "d/digits-cnn-fp16-eyeriss/campaign.toml", "--out", "d", "--json")
    shown = json.loads(again.stdout)
    found, rate = shown["fit_verdict"], shown["metrics"]["fit_sdc1"]
    assert set(found) == {"budget_fit", "verdict", "more_faults"}
    assert f"{rate['low']:.3g} to {rate['high']:.3g}; ISO 26262 allows 10: " in last
    assert found["verdict"] in last
    assert bool(found["more_faults"]) == (found["verdict"] == "undecided")


@pytest.mark.parametrize("columns", ["60", "80"])
@pytest.mark.parametrize("what", ["models", "protections", "multipliers"])
def test_lists_keep_names_whole_in_a_narrow_terminal(
    what: str, columns: str, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    listing(Catalogue(what))
    names = {"models": (*(m.name for m in zoo()), "radhard train"),
             "protections": [p.name for p in PROTECTIONS],
             "multipliers": map(full_name, multipliers())}[what]  # fmt: skip
    shown = capsys.readouterr().out
    assert all(f"│ {name} " in shown for name in names)


def test_the_table_and_the_page(folder: Path, demo) -> None:
    assert demo.returncode == 0, demo.stderr
    assert "digits-cnn-fp16-eyeriss: 600 faults" in demo.stdout
    assert "page: d/report.html" in demo.stdout.splitlines()
    page = (folder / "d" / "report.html").read_text()
    for text in (
        "A fault changes the top answer in",
        "Layer by bit: global-buffer",
        "How it was computed",
    ):
        assert text in page
    assert "<script src" not in page
    assert "<link" not in page


def test_json_has_every_key(folder: Path, demo) -> None:
    found = run(
        folder,
        "assess",
        "digits-cnn",
        "--format",
        "fp16",
        "--faults",
        "600",
        "--json",
        "--out",
        "d",
    )
    shown = json.loads(found.stdout)
    for key in ("id", "model", "format", "chip", "faults", "seconds", "metrics", "strata"):
        assert key in shown
    assert (shown["model"], shown["format"], shown["chip"]) == ("digits-cnn", "fp16", "eyeriss")
    assert shown["flat_layers"] == []
    assert ["of 500 images were struck" in note for note in shown["notes"]] == [True]
    metrics = ("sdc1", "sdc5", "sdc10", "sdc20", "golden_accuracy", "ra", "masked", "nan")
    for name in metrics:
        assert set(shown["metrics"][name]) == {"value", "low", "high", "n"}
        low, value, high = (shown["metrics"][name][key] for key in ("low", "value", "high"))
        assert 0 <= low <= value <= high <= 1
    assert shown["metrics"]["sdc1"]["n"] == shown["faults"] == 600
    assert shown["metrics"]["golden_accuracy"]["n"] == 500
    assert len(shown["strata"]) == 4 * 10 * 16
    assert sum(row["n"] for row in shown["strata"]) == 600
    assert set(shown["strata"][0]) == {"component", "layer", "bit", "n", "exposure", "sdc1"}


def test_the_campaign_file_asks_the_same(folder: Path, demo) -> None:
    file = "d/digits-cnn-fp16-eyeriss/campaign.toml"
    again = run(folder, "run", file, "--out", "d", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["metrics"]["sdc1"]["n"] == 600


def test_rules_and_published_names_of_formats(folder: Path) -> None:
    arguments = ["assess", "digits-cnn", "--format", "16b_rb10", "--faults", "20", "--images", "4"]
    plain = json.loads(run(folder, *arguments, "--json").stdout)
    assert (plain["format"], plain["nan"], plain["confidence_of"]) == (
        "fixed16_10",
        "zero",
        "top-class",
    )
    stated = ["--nan", "propagate", "--confidence-of", "top-score", "--out", "rules"]
    other = json.loads(run(folder, *arguments, *stated, "--json").stdout)
    assert (other["nan"], other["confidence_of"]) == ("propagate", "top-score")
    assert other["id"] != plain["id"]
    slow = json.loads(run(folder, *arguments, "--rounding", "each-step", "--json").stdout)
    assert (slow["format"], slow["rounding"]) == ("fixed16_10/each-step", "each-step")
    file = "rules/digits-cnn-fixed16_10-eyeriss/campaign.toml"
    again = json.loads(run(folder, "run", file, "--json").stdout)
    assert again["id"] == other["id"]


def test_report_makes_the_page_anew(folder: Path, demo) -> None:
    (folder / "d" / "report.html").unlink()
    found = run(folder, "report", "d")
    assert found.stdout == "page: d/report.html\n"
    assert (folder / "d" / "report.html").exists()


def test_until_stops_by_precision(folder: Path) -> None:
    found = run(folder, "assess", "own:good", "--images", "4", "--until", "0.05", "--json")
    metric = json.loads(found.stdout)["metrics"]["sdc1"]
    assert metric["high"] - metric["low"] <= 0.1
    assert list((folder / "runs").glob("good-fp32-eyeriss-*/*/campaign.toml"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("assess resnet2", "no model 'resnet2': did you mean resnet20"),
        ("assess digits-cnn --format fp99", "no number format 'fp99': did you mean"),
        ("assess digits-cnn --chip sofware", "no chip 'sofware': did you mean software"),
        ("assess digits-cnn --fault-model flip", "no fault model 'flip': use bit-flip"),
        ("assess digits-cnn --faults 0", "faults: Input should be greater than"),
        ("assess digits-cnn --faults 5 --until 0.1", "choose one"),
        ("assess digits-cnn --until 0.7", "until: Input should be less than 0.5 (got 0.7)"),
        ("assess digits-cnn --memory lots", "memory 'lots' can't be: use a size such as 4GiB"),
        ("assess digits-cnn --memory 1kB", "can't hold the golden values of 1 image(s)"),
        ("assess digits-cnn --nan one", "nan: Input should be 'propagate' or 'zero' (got 'one')"),
        ("assess digits-cnn --rounding each-step", "fp32 can't be rounded at each step"),
        ("assess digits-cnn --confidence-of top", "Input should be 'top-class' or 'top-score'"),
        ("assess digits-cnn --images 501", "digits has 500: use fewer, or all"),
        ("assess digits-cnn --data nowhere", "no data set 'nowhere'"),
        ("assess lenet5 --data digits", "lenet5 takes images of (1, 28, 28)"),
        ("assess own:no_logits --images 4", "don't match outputs of (b, 2, 6, 6)"),
        ("assess own:too_few --images 4", "3 labels for 4 images don't match"),
        ("assess own:too_high --images 4", "label 9 can't be: the model tells 3"),
        ("assess own:none", "no function 'none'"),
        ("assess none.pt2 --data digits", "no file none.pt2"),
        ("assess digits-cnn --weights none.pt", "no weights at none.pt"),
        ("assess digits-cnn --out d --seed 9", "d belongs to another question"),
        ("assess digits-cnn --out afile", "afile is no folder"),
        ("run broken.toml", "campaign file broken.toml can't be read"),
        ("run unknown.toml", "no key 'fault': use model, data"),
        ("run none.toml", "campaign file none.toml can't be read"),
        ("report nowhere", "nowhere holds no campaign"),
        ("study error-propagation --images 0", "study: images: use a number of 1 or more"),
        ("assess digits-cnn --images some", "images: use a number of 1 or more, or all (got 's"),
        ("study neuron-gradients --repetitions 0", "0 repetitions of neuron can't be: use at"),
        ("study neuron-gradients --rates ,", "rates ',' name none: give error rates"),
        ("study neuron-gradients --maps 3", "--maps: of approximate-faults, not of neuron-g"),
        ("study approximate-faults --bits 16", "bit 16 can't be: products have 16, from 0"),
        ("study approximate-faults --chip eyeriss", "use --chip systolic:128x128:ws"),
        ("study approximate-faults --data digits,mnist", "name one for all, or one for each"),
        ("study approximate-faults --device cuda", "approximate-faults runs on cpu"),
        ("rtl emit --rows 2 --cols 2 --faults 5", "--faults 5 can't be with emit"),
        ("rtl emit --size 5", "--size 5 can't be with emit without --control"),
        ("rtl simulate --out made", "--out made can't be with simulate"),
        ("validate rtl --maps 5", "--maps 5 can't be without --permanent"),
        ("validate rtl --whole", "--whole can't be without --model"),
        ("validate rtl --control --tiles 3", "--tiles 3 can't be with --control"),
        ("validate rtl --model digits-cnn --bits 8 --psum-bits 24", "--psum-bits 24 can't be with"),
        (
            "protect digits-cnn --target-fit nan",
            "the target rate nan can't be: use a number of 0 or more",
        ),
        (
            "assess digits-cnn --sampler gradient-importance:candidates=x",
            "candidates must be a number, not 'x': give its parameters as in gradient-importance",
        ),
        ("train alexnet", "alexnet has no training recipe"),
    ],
)
def test_wrong_use_ends_with_one_line(
    folder: Path, demo, arguments: str, message: str, monkeypatch, capfd
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RADHARD_CACHE", str(folder / "cache"))
    monkeypatch.setattr(sys, "argv", ["radhard", *arguments.split()])
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 2
    found = capfd.readouterr()
    assert message in found.err
    assert found.err.startswith("radhard: ")
    assert len(found.err.splitlines()) == 1
    assert not found.out


def test_wrong_use_ends_a_process_alike(folder: Path) -> None:
    found = run_apart(folder, "assess", "digits-cnn", "--format", "fp99")
    assert found.returncode == 2
    assert not found.stdout
    assert found.stderr.startswith("radhard: no number format 'fp99'")
    assert len(found.stderr.splitlines()) == 1


LISTED = {
    "models": "resnet20",
    "data": "cifar10",
    "formats": "fp16",
    "chips": "eyeriss",
    "samplers": "gradient-importance",
    "protections": "Checksum",
    "multipliers": "mul8s_1L2H@v1",
}


@pytest.mark.parametrize("what", LISTED)
def test_lists(folder: Path, what: str) -> None:
    found = run(folder, "list", what)
    assert LISTED[what] in found.stdout


def test_what_can_t_be_listed(folder: Path) -> None:
    found = run(folder, "list", "nothing")
    assert found.returncode == 2
    assert all(what in found.stderr for what in LISTED)


@pytest.mark.parametrize("what", Catalogue)
def test_lists_as_data(what: Catalogue, capsys) -> None:
    listing(what, json=True)
    rows = json.loads(capsys.readouterr().out)[what.value]
    assert LISTED[what] in [next(iter(row.values())) for row in rows]
    assert all(row.keys() == rows[0].keys() for row in rows)


def test_multipliers_as_data(capsys) -> None:
    listing(Catalogue.multipliers, json=True)
    rows = json.loads(capsys.readouterr().out)["multipliers"]
    found = {row["multiplier"]: row for row in rows}
    assert found["mul8s_1KVA@v1"] == {
        "multiplier": "mul8s_1KVA@v1", "release": "v1", "mae": 1.25, "wce": 5, "ep": 0.5,
        "power_mw": 0.422, "terms": 3,
    }  # fmt: skip
    unknown = found["mul8u_mitchell"]
    assert (unknown["release"], unknown["power_mw"], unknown["terms"]) == (None, None, None)


def test_help_is_quick_and_imports_nothing_heavy(folder: Path) -> None:
    start = time.perf_counter()
    found = run_apart(folder, "--help")
    assert time.perf_counter() - start < 2  # loaded machines included; alone it takes 0.2 s
    assert "assess" in found.stdout
    probe = "import sys, radhard.cli; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    heavy = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert heavy.stdout.strip() == "[]"
    assert run_apart(folder, "--version").stdout.startswith("radhard 0.")


def test_failures_are_no_tracebacks(folder: Path) -> None:
    (folder / "bad.py").write_text("def f(): raise RuntimeError('boom')\n")
    found = run_apart(folder, "assess", "bad:f")
    assert found.returncode == 1
    told = "bad:f raised RuntimeError: boom: mend it (RADHARD_DEBUG=1 shows where)"
    assert found.stderr.strip() == f"radhard: RuntimeError: {told}"


def test_training_from_the_command_line(folder: Path) -> None:
    found = run(folder, "train", "digits-cnn", "--seed", "3")
    assert found.returncode == 0, found.stderr
    assert "test accuracy 9" in found.stdout
    assert (folder / "cache" / "weights" / "digits-cnn-digits.pt").exists()


@pytest.mark.exhaustive
def test_protections_are_chosen_from_the_command_line(folder: Path) -> None:
    few = ("--images", "16", "--faults", "200", "--most", "300")
    arguments = ("protect", "digits-cnn", *few, "--format", "fp16")
    done = run(folder, *arguments, "--target-fit", "5", "--out", "p", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert len(shown["front"]) >= 2
    chosen = shown["chosen"]
    assert chosen["fit"]["high"] <= 5
    assert chosen["fit"]["unit"] == "FIT"
    for point in shown["points"]:
        assert {"fit", "accuracy", "false_alarms", "macs", "area", "latency"} <= point.keys()
    cheaper = [
        p for p in shown["points"] if p["macs"] + p["area"] < chosen["macs"] + chosen["area"]
    ]
    assert cheaper
    told = dict(line.split(": ", 1) for line in shown["why_not"])
    assert all(told[point["name"]] == point["verdict"] != "chosen" for point in cheaper)
    assert "fresh faults" in (folder / "p" / "protect-fit-5.html").read_text()
    none = run(folder, *arguments, "--target-fit", "0", "--budget-area", "0.001", "--out", "p")
    assert none.returncode == 2
    assert "no design meets the goal" in none.stderr
    assert "FIT of SDC-1 on fresh faults" in none.stdout  # what can be had is shown all the same


def test_suppressors_are_studied_from_the_command_line(folder: Path) -> None:
    arguments = ("study", "neuron-gradients", "--images", "40", "--repetitions", "2")
    done = run(folder, *arguments, "--rates", "1e-3,1e-1", "--out", "n")
    assert done.returncode == 0, done.stderr
    for name in ("none", "value threshold", "median feature, trained", "gradients, oracle"):
        assert name in done.stdout
    assert "digits-cnn: gradients with the best neighbours per layer are" in done.stdout
    page = (folder / "n" / "study.html").read_text()
    assert "Lead over the value threshold" in page
    wrong = run(folder, *arguments, "--rates", "2")
    assert wrong.returncode == 2
    assert "error rate '2' can't be" in wrong.stderr
    weights = run(folder, *arguments, "--errors", "weight-bit", "--rates", "1e-3", "--out", "w")
    assert weights.returncode == 0, weights.stderr


COMPARE = ("compare-samplers", "digits-cnn", "--images", "16", "--seeds", "2")
NAMES = ("--samplers", "importance,gradient-importance", "--faults")


@pytest.mark.exhaustive
def test_what_samplers_need_is_told_in_json(folder: Path) -> None:
    done = run(folder, *COMPARE, *NAMES, "300", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    plain, told = (found["samplers"][name] for name in NAMES[1].split(","))
    assert told["faults"] < plain["faults"] / 5
    assert told["or_fewer"].keys() < told.keys()
    assert found["truth"]["low"] < found["truth"]["value"] < found["truth"]["high"]
    for curve in (plain["half_widths"], told["half_widths"]):
        assert curve["faults"][0] == 5
        assert curve["faults"][-1] == 300
        assert all(
            least <= mean <= most
            for least, mean, most in zip(curve["least"], curve["mean"], curve["most"], strict=True)
        )


def test_samplers_are_compared_from_the_command_line(folder: Path) -> None:
    page = run(folder, *COMPARE, *NAMES, "100", "--out", "s")
    assert "gradient-importance" in page.stdout
    assert (folder / "s" / "samplers.html").exists()
    few = run(folder, *COMPARE, "--faults", "3")
    assert few.returncode == 2
    assert "use at least 1 and 5" in few.stderr


OWN = """
from dataclasses import dataclass
import torch, radhard as rh
@dataclass(frozen=True)
class Coarse(rh.FloatFormat):
    name: str = "coarse"
    exponent: int = 5
    mantissa: int = 1
@dataclass(frozen=True)
class First(rh.Stratified):
    @property
    def name(self): return "first"
nothing = rh.Parity()
chip = rh.chips.SYSTOLIC(2, 2)
def moved(faulty, golden, labels): return (faulty != golden).any(1)
"""


def test_parts_of_one_s_own_are_named_like_models(folder: Path, monkeypatch, capsys) -> None:
    (folder / "parts_of_mine.py").write_text(OWN)
    monkeypatch.chdir(folder)
    mine = ["format=Coarse", "sampler=First", "chip=chip", "protect=nothing", "criterion=moved"]
    options = [f"--{pair.replace('=', '=parts_of_mine:')}" for pair in mine]
    command = ["assess", "digits-cnn", *options, "--faults", "40", "--images", "4", "--out", "m"]
    monkeypatch.setattr(sys, "argv", ["radhard", *command, "--json"])
    with pytest.raises(SystemExit, match="0"):
        main()
    shown = json.loads(capsys.readouterr().out)
    assert (shown["format"], shown["chip"]) == ("coarse", "systolic-2x2-os")
    assert shown["sampler"]["type"] == "parts_of_mine:First"
    assert [one["type"] for one in shown["protections"]] == ["Parity"]
    assert shown["metrics"]["moved"]["n"] == 40
    (file,) = Path("m").glob("*/campaign.toml")
    monkeypatch.setattr(sys, "argv", ["radhard", "run", str(file), "--out", "m", "--json"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert json.loads(capsys.readouterr().out)["id"] == shown["id"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--chip=parts_of_mine:nothing", "parts_of_mine:nothing is no Accelerator: it lacks about"),
        ("--sampler=parts_of_mine:moved", "is no Sampler: it lacks cells, draw, name, scored"),
        ("--format=parts_of_mine:none", "'parts_of_mine:none' names nothing that can stand here"),
        ("--protect=no.such:Thing", "no module 'no.such'"),
        ("--protect=Redundancy,Parety", "no protection 'Parety': did you mean Parity"),
        ("--criterion=parts_of_mine:chip", "names nothing that can stand here"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    folder: Path, option: str, message: str, monkeypatch, capfd
) -> None:
    (folder / "parts_of_mine.py").write_text(OWN)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["radhard", "assess", "digits-cnn", option])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capfd.readouterr().err
