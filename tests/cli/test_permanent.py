"""`radhard assess --permanent` and `radhard retune`, in this process: a new one takes seconds."""

import json
import sys
import warnings

import pytest

from radhard.cli import main

GIVEN = ("assess", "digits-cnn", "--chip", "systolic:16x16:ws", "--images", "60")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command line in a folder of its own: exit code, output and what is said beside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["radhard", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return command


def test_chips_are_told_in_all_three_ways(run, tmp_path):
    asked = (*GIVEN, "--permanent", "product sa0 bit=15 rate=0.02", "--maps", "3")
    code, shown, said = run(*asked, "--json", "--out", "store")
    assert code == 0, said
    metrics = json.loads(shown)["metrics"]
    assert {"accuracy", "golden_accuracy", "exact_accuracy", "sdc1", "yield"} <= set(metrics)
    assert all(one["low"] <= one["value"] <= one["high"] for one in metrics.values())
    page = (tmp_path / "store" / "permanent.html").read_text()
    assert "Where a faulty element hurts" in page
    one = json.loads(run(*asked, "--layers", "8", "--json")[1])
    assert one["layers"] == ["8"]
    assert one["metrics"]["loss"]["value"] < metrics["loss"]["value"]
    code, table, said = run(*asked, "--multiplier", "mul8s_1L2H@v1")
    assert "yield" in table, said


def test_campaign_files_ask_about_chips(run, tmp_path):
    asked = ("--permanent", "product sa0 bit=15 rate=0.02", "--maps", "2", "--lose", "0.1")
    given = json.loads(run(*GIVEN, *asked, "--layers", "8", "--json")[1])
    (tmp_path / "own.toml").write_text(
        'model = "digits-cnn"\nchip = "systolic:16x16:ws"\nimages = 60\nmaps = 2\nlose = 0.1\n'
        'permanent = "product sa0 bit=15 rate=0.02"\nlayers = ["8"]\n'
    )
    code, shown, said = run("run", "own.toml", "--json")
    assert code == 0, said
    found = json.loads(shown)
    assert {**found, "seconds": 0} == {**given, "seconds": 0}


def test_multipliers_of_16_bits_have_permanent_faults(run):
    asked = (*GIVEN[:-1], "20", "--format", "fixed16_10", "--multiplier", "mul16s_exact", "--json")
    found = []
    for bit in (3, 29):
        code, shown, said = run(*asked, "--permanent", f"product sa1 bit={bit} rate=0.1",
                                "--maps", "2")  # fmt: skip
        assert code == 0, said
        found.append(json.loads(shown)["metrics"])
    assert found[0]["accuracy"]["value"] > 0.8 > found[1]["accuracy"]["value"]
    assert found[0]["golden_accuracy"] == found[0]["exact_accuracy"]
    code, _, said = run("retune", *asked[1:-1], "--permanent", "product sa1 bit=29 rate=0.1")
    assert code == 2
    assert "has no table of products, which retuning needs" in said


def test_what_permanent_faults_do_not_have_is_refused(run):
    for more, words in (
        (("--permanent", "product", "--until", "0.01"), "until: of passing faults"),
        (("--permanent", "product", "--protect", "Parity"), "protections: of passing faults"),
        (("--permanent", "stuck"), "'stuck' means nothing here"),
        (("--permanent", "single", "--chip", "eyeriss"), "use --chip systolic:128x128:ws"),
        (("--permanent", "single", "--layers", "x"), "no layer 'x': there are 0, 2"),
        (("--maps", "3"), "maps: of chips with permanent faults"),
        (("--permanent", "single", "--maps", "0"), "maps: Input should be greater than or equal"),
        (("--permanent", "single", "--lose", "-1"), "lose: Input should be greater than or equal"),
        (("--permanent", "single", "--format", "fp16"), "use integers, such as radhard.INT8"),
    ):
        code, _, said = run(*GIVEN, *more)
        assert code == 2
        assert words in said


def test_a_retuned_network_is_written_and_read_again(run, tmp_path):
    asked = ("retune", "digits-cnn", "--permanent", "product sa1 bit=14 rate=0.1", "--images",
             "60", "--chip", "systolic:16x16:ws", "--maps", "2", "--epochs", "1", "--slopes",
             "tables", "--out", "own.pt2")  # fmt: skip
    code, shown, said = run(*asked, "--json")
    assert code == 0, said
    metrics = json.loads(shown)["metrics"]
    assert metrics["gained"]["value"] > 0.4
    assert metrics["retuned_chip_by_chip"]["value"] > metrics["as_it_was"]["value"]
    places = json.loads((tmp_path / "own.json").read_text())
    assert set(places["0"]) == {
        "weights",
        "scales",
        "biases",
        "added",
        "bypassed",
        "terms",
        "channels",
    }
    again = ("assess", "own.pt2", "--data", "digits", "--faults", "20", "--json")
    code, _, said = run(*again, "--format", "int8")
    assert code == 0, said
    code, _, said = run(*asked[:-1], "own.onnx")
    assert code == 2
    assert "a file named .pt2" in said
