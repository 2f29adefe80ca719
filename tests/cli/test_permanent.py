"""`radhard assess --permanent` from outside."""

import json

from cli.test_cli import run

GIVEN = ("assess", "digits-cnn", "--chip", "systolic:16x16:ws", "--images", "60")


def test_chips_are_told_in_all_three_ways(tmp_path):
    asked = (*GIVEN, "--permanent", "product sa0 bit=15 rate=0.02", "--maps", "3")
    shown = run(tmp_path, *asked, "--json", "--out", "store")
    assert shown.returncode == 0, shown.stderr
    metrics = json.loads(shown.stdout)["metrics"]
    assert {"accuracy", "golden_accuracy", "exact_accuracy", "sdc1", "yield"} <= set(metrics)
    assert all(one["low"] <= one["value"] <= one["high"] for one in metrics.values())
    page = (tmp_path / "store" / "permanent.html").read_text()
    assert "Where a faulty element hurts" in page
    one = json.loads(run(tmp_path, *asked, "--layers", "8", "--json").stdout)
    assert one["layers"] == ["8"]
    assert one["metrics"]["loss"]["value"] < metrics["loss"]["value"]
    table = run(tmp_path, *asked, "--multiplier", "mul8s_1L2H@v1")
    assert "yield" in table.stdout, table.stderr


def test_what_permanent_faults_do_not_have_is_refused(tmp_path):
    for more, words in (
        (("--permanent", "product", "--until", "0.01"), "--until: of passing faults"),
        (("--permanent", "stuck"), "'stuck' means nothing here"),
        (("--permanent", "single", "--chip", "eyeriss"), "use --chip systolic:128x128:ws"),
        (("--permanent", "single", "--layers", "x"), "no layer 'x': there are 0, 2"),
        (("--maps", "3"), "--maps, --lose and --layers go with"),
        (("--permanent", "single", "--format", "fp16"), "use integers, such as radhard.INT8"),
    ):
        found = run(tmp_path, *GIVEN, *more)
        assert found.returncode == 2
        assert words in found.stderr
        assert "Traceback" not in found.stderr


def test_a_retuned_network_is_written_and_read_again(tmp_path):
    asked = ("retune", "digits-cnn", "--permanent", "product sa1 bit=14 rate=0.1", "--images",
             "60", "--chip", "systolic:16x16:ws", "--maps", "2", "--out", "own.pt2")  # fmt: skip
    shown = run(tmp_path, *asked, "--json")
    assert shown.returncode == 0, shown.stderr
    metrics = json.loads(shown.stdout)["metrics"]
    assert metrics["gained"]["value"] > 0.4
    assert metrics["retuned_chip_by_chip"]["value"] > metrics["as_it_was"]["value"]
    places = json.loads((tmp_path / "own.json").read_text())
    assert set(places["0"]) == {"weights", "scales", "added", "bypassed", "terms", "channels"}
    again = run(tmp_path, "assess", "own.pt2", "--data", "digits", "--faults", "20", "--json",
                "--format", "int8")  # fmt: skip
    assert again.returncode == 0, again.stderr
    wrong = run(tmp_path, *asked[:-1], "own.onnx")
    assert wrong.returncode == 2
    assert "a file named .pt2" in wrong.stderr
