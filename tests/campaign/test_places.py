"""Networks with an answer for each of several places, with several inputs, and with tokens."""

import inspect
import json
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import radhard as rh
from radhard.accel.readers import activated
from radhard.campaign.ask import Ask
from radhard.campaign.prepare import prepare
from radhard.cli import main
from radhard.metrics.outcome import classify
from radhard.network.task import Classification

WORDS, LENGTH = 20, 5


class Language(nn.Module):
    """Tokens in, one answer per token out, with tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix = nn.Embedding(WORDS, 8), nn.Linear(8, 8)
        self.out = nn.Linear(8, WORDS, bias=False)
        self.out.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        return self.out(x + torch.tanh(self.mix(x)).cumsum(1))


class Pixels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(x))).permute(0, 2, 3, 1)


def perplexity(logits: Tensor, labels: Tensor) -> Tensor:
    """Of each of n runs, (n,), from logits (n, tokens, words)."""
    loss = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    return loss.double().mean(1).exp()


def worse(faulty: Tensor, golden: Tensor, labels: Tensor) -> Tensor:
    """Whether perplexity grows by a tenth; not-a-number counts as growth."""
    return ~(perplexity(faulty, labels) <= 1.1 * perplexity(golden, labels))


def many_pixels(faulty: Tensor, golden: Tensor, labels: Tensor) -> Tensor:
    """Whether over a tenth of the pixels get another label."""
    return (faulty.argmax(-1) != golden.argmax(-1)).flatten(1).double().mean(1) > 0.1


def test_perplexity_is_a_criterion_of_the_user_s() -> None:
    torch.manual_seed(0)
    model = Language().eval()
    ids = torch.randint(0, WORDS, (6, LENGTH))
    labels = ids.roll(-1, 1)
    work = rh.capture(model, ids, labels)
    assert [layer.kind for layer in work.layers] == ["embedding", "linear", "linear"]
    assert work.task == Classification(WORDS, (LENGTH,))
    campaign = rh.Campaign(work, sampler=rh.Uniform(), criteria={"worse": worse})
    result = campaign.run(until=600)
    assert 0 < result["worse"].value < result["masked"].value + result["worse"].value
    # a table's rows that no word looks up change nothing but by the tied output
    space = rh.chips.SOFTWARE.sites(work)
    table = work.layers[0].name
    text = "".join(f"{k} weight {table} 23 {8 * k} 0 0xffffffff 0x800000 1.0\n" for k in range(5))
    faults = rh.Faults.from_text(text, space)
    run = rh.resume(rh.record(work), rh.chips.SOFTWARE.corrupt(work, space, faults))
    for k in range(5):
        wrong = Language().eval()
        wrong.load_state_dict(model.state_dict())
        with torch.no_grad():
            wrong.words.weight.view(-1).view(torch.int32)[8 * k] ^= 1 << 23
            plain = wrong(ids[:1])
        found = run.logits[k].view(1, LENGTH, WORDS)
        torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))


def test_pixels_are_judged_place_by_place() -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 6, 6)
    model = Pixels().eval()
    with torch.no_grad():
        labels = model(images).argmax(-1)
    work = rh.capture(model, images, labels)
    campaign = rh.Campaign(work, sampler=rh.Uniform(), criteria={"many": many_pixels})
    result = campaign.run(until=500)
    assert 0 < result["many"].value < result["sdc1"].value
    assert campaign.golden_accuracy() == 1.0
    assert result["lost"].value == result["sdc1"].value  # all labels are those of the network


def test_bounds_are_trained_on_every_place() -> None:
    torch.manual_seed(0)
    images, model = torch.randn(8, 3, 4, 4), Pixels().eval()  # as many columns as classes
    with torch.no_grad():
        labels = model(images).argmax(-1)
    work = rh.capture(model, images, labels)
    start = rh.BoundedNeuron().learned(work)
    trained = start.trained(work, epochs=1, rate=0.1)
    step = next(iter(start.bounds.tensors))
    assert not torch.equal(trained.bounds.tensors[step][0], start.bounds.tensors[step][0])
    assert rh.Campaign(work, protections=(trained,)).run(until=100)["sdc1"].n == 100


def test_what_holds_at_any_place_holds() -> None:
    golden = torch.tensor([[[2.0, 1.0], [0.0, 3.0]]] * 3)
    faulty = golden.clone()
    faulty[1, 0] = torch.tensor([1.0, 2.0])
    faulty[2, 1] = math.nan
    labels = torch.tensor([[0, 1]] * 3)
    task, none = Classification(2, (2,)), torch.zeros(3, dtype=torch.bool)
    found = classify(task, faulty.flatten(1), golden.flatten(1), labels, none)
    assert found["sdc1"].tolist() == [False, True, True]
    assert found["correct"].tolist() == [True, False, False]
    assert found["nan"].tolist() == [False, False, True]
    assert found["masked"].tolist() == [True, False, False]
    assert task.right(golden.flatten(1), labels).tolist() == [True] * 3
    assert task.lead(golden.flatten(1)).tolist() == [1.0] * 3  # of the place that is least sure


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.dense, self.head = nn.Embedding(9, 4), nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, ids: Tensor, mask: Tensor, numbers: Tensor) -> dict[str, Tensor]:
        x = (self.words(ids) * mask[..., None]).sum(1) + self.dense(numbers)
        return {"features": x, "logits": self.head(x)}


def several() -> dict[str, Tensor]:
    ids = torch.arange(10).view(5, 2) % 9
    return {"ids": ids, "mask": ids > 2, "numbers": torch.randn(5, 3)}


def test_several_inputs_and_one_result_of_several() -> None:
    model, inputs, labels = Several().eval(), several(), torch.zeros(5, dtype=torch.int64)
    work = rh.capture(model, inputs, labels, format=rh.FLOAT64, output="logits")
    with torch.no_grad():
        torch.testing.assert_close(work.logits(work.images).float(), model(**inputs)["logits"])
    assert rh.Campaign(work).run(until=100)["sdc1"].n == 100
    with pytest.raises(rh.CaptureError, match="gives 2 results, features, logits: name the one"):
        rh.capture(model, inputs, labels)
    with pytest.raises(rh.CaptureError, match="none of which is 'scores'"):
        rh.capture(model, inputs, labels, output="scores")
    with pytest.raises(ValueError, match="each needs one row for each image"):
        rh.capture(model, {**inputs, "numbers": torch.randn(4, 3)}, labels, output="logits")
    large = {**inputs, "ids": inputs["ids"] + 2**25}
    with pytest.raises(ValueError, match="integers above 2\\^24 beside inputs of reals"):
        rh.capture(model, large, labels, output="logits")


def test_labels_for_each_place_are_asked_for() -> None:
    with pytest.raises(ValueError, match=r"give one class number for each image and place, \(b, 6"):
        rh.capture(Pixels().eval(), torch.randn(4, 3, 6, 6), torch.zeros(4, dtype=torch.int64))
    ids = torch.zeros(3, LENGTH, dtype=torch.int64)
    with pytest.raises(rh.CaptureError, match="give at least two that differ"):
        rh.capture(Language().eval(), ids, ids)


@pytest.mark.parametrize("fmt", [rh.FLOAT16, rh.INT8, rh.FIXED16_10], ids=lambda fmt: fmt.name)
def test_tables_are_held_in_every_format(fmt: rh.NumberFormat) -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, WORDS, (6, LENGTH))
    work = rh.capture(Language().eval(), ids, ids, format=fmt)
    how = work.arithmetic[0]
    looked_up = how.output.round(work.weight(0)[ids])
    values = work.program.values(work.images, work.evaluate)
    assert torch.equal(values[work.layers[0].step], looked_up)
    assert rh.Campaign(work).run(until=200)["sdc1"].n == 200


def test_rows_that_no_word_looks_up_are_not_activated() -> None:
    ids = torch.tensor([[1, 2], [3, 3]])
    model = nn.Sequential(nn.Embedding(6, 4), nn.Flatten(), nn.Linear(8, 3)).eval()
    work = rh.capture(model, ids, torch.tensor([0, 1]))
    space = rh.chips.SOFTWARE.sites(work)
    lines = [
        f"{6 * image + row} weight 0 23 {4 * row} {image} 0xffffffff 0x800000 1.0\n"
        for image in range(2)
        for row in range(6)
    ]
    corruption = rh.chips.SOFTWARE.corrupt(work, space, rh.Faults.from_text("".join(lines), space))
    looked_up = [row in ids[image] for image in range(2) for row in range(6)]
    assert activated(work, corruption).tolist() == looked_up
    run = rh.resume(rh.record(work), corruption)
    assert (run.logits != run.golden).any(1).tolist() == looked_up


MODELS = """
import torch
from test_places_models import Several

def alone():
    torch.manual_seed(0)
    return Several().eval()

def whole():
    ids = torch.arange(10).view(5, 2) % 9
    inputs = {"ids": ids, "mask": ids > 2, "numbers": torch.arange(15.0).view(5, 3)}
    return alone(), inputs, torch.arange(5) % 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With models of several inputs and a file of inputs."""
    code = "import torch\nfrom torch import Tensor, nn\n" + inspect.getsource(Several)
    (tmp_path / "test_places_models.py").write_text(code)
    (tmp_path / "test_places_own.py").write_text(MODELS)
    inputs = {name: value.numpy() for name, value in several().items()}
    np.savez(tmp_path / "inputs.npz", labels=np.arange(5) % 3, **inputs)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("own", [True, False])
def test_several_inputs_on_the_command_line(own, folder, monkeypatch, capsys) -> None:
    model = ["test_places_own:whole"] if own else ["test_places_own:alone", "--data=inputs.npz"]
    asked = [*model, "--output=logits", "--chip=software", "--faults=50", "--out=s", "--json"]
    assert _said(["assess", *asked], monkeypatch, capsys)["metrics"]["sdc1"]["n"] == 50
    (file,) = folder.glob("s/*/campaign.toml")
    again = _said(["run", str(file), "--out=t", "--json"], monkeypatch, capsys)
    assert again["metrics"]["sdc1"]["n"] == 50
    rows = (folder.glob(f"{store}/*/rows-000000.parquet") for store in "st")
    one, other = (pq.read_table(next(found)).to_pydict() for found in rows)
    assert one == other


@pytest.mark.parametrize(("trust", "output"), [(False, "1"), (True, "logits")])
def test_exported_programs_of_several_inputs_are_read(
    folder: Path, trust: bool, output: str
) -> None:
    """Names of results are known to programs that are trusted alone: others have numbers."""
    model, held = Several().eval(), np.load("inputs.npz")
    inputs = {name: torch.from_numpy(held[name]) for name in ("ids", "mask", "numbers")}
    batch = {name: {0: torch.export.Dim("images", min=2)} for name in inputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.export.export(model, (), inputs, dynamic_shapes=batch)
    torch.export.save(program, "several.pt2")
    ask = Ask(model="several.pt2", data="inputs.npz", output=output, chip="software")
    work = prepare(ask, trust).campaign.workload
    torch.testing.assert_close(work.logits(work.images), model(**inputs)["logits"])


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"ids": np.zeros((2, 2))}, {}, r"holds \['ids'\]: it needs 'labels', and an array for"),
        ({"labels": np.zeros(2, int)}, {}, r"holds \['labels'\]: it needs 'labels', and an array"),
        ({"ids": np.array([None]), "labels": np.zeros(1)}, {}, "can't be read: Object arrays"),
        ({"ids": np.zeros((2, 2)), "labels": np.zeros(2, int)}, {"size": "8"}, "leave size, grey"),
        ({"ids": np.zeros((2, 2)), "labels": np.zeros(3, int)}, {}, "npz: 3 labels for 2 images"),
        ({"ids": np.zeros((2, 2)), "labels": np.zeros(2, complex)}, {}, "npz.*complex numbers"),
        ({"ids": np.zeros((2, 2)), "labels": np.full(2, 2**63, "u8")}, {}, "npz: label -"),
        ({"ids": np.float32(3), "labels": np.zeros(3, int)}, {}, "npz: "),
        ({"ids": np.zeros((2, 2)), "labels": np.zeros(2)}, {}, "npz: labels of shape"),
    ],
)
def test_files_of_inputs_say_what_is_wrong(arrays, options, said, folder: Path) -> None:
    np.savez("own.npz", **arrays)
    with pytest.raises(ValueError, match=said):
        prepare(Ask(model="test_places_own:alone", data="own.npz", **options))


def test_what_is_no_file_of_inputs_is_told(folder: Path) -> None:
    np.save("one.npy", np.zeros(3))
    Path("one.npy").rename("one.npz")
    for name, error, said in (
        ("one.npz", ValueError, "one array without a name: numpy.savez makes such files"),
        ("none.npz", FileNotFoundError, r"no file none.npz: numpy.savez\(path, labels"),
    ):
        with pytest.raises(error, match=said):
            prepare(Ask(model="test_places_own:alone", data=name))
    with pytest.raises(ValueError, match="is for models of your own: lenet5 takes images"):
        prepare(Ask(model="lenet5", data="inputs.npz"))


def _said(command: list[str], monkeypatch, capsys) -> dict[str, Any]:
    """What a command prints as JSON."""
    monkeypatch.setattr(sys, "argv", ["radhard", *command])
    with pytest.raises(SystemExit, match="0"):
        main()
    return json.loads(capsys.readouterr().out)
