"""Questions about networks with arithmetic of their own."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from examples import own_arithmetic
from torch import Tensor, nn

import radhard as rh
from radhard.campaign.ask import asked
from radhard.campaign.prepare import prepare
from radhard.campaign.store import StoreError
from radhard.network.source import subject
from radhard.protect.checksum import Checksum
from radhard.testing import check_arithmetic

Short, Products = own_arithmetic.ShortOperands, own_arithmetic.ShortProducts


@pytest.fixture(scope="module")
def work(residual: nn.Module, images: Tensor, labels: Tensor) -> rh.Workload:
    return rh.capture(residual, images, labels, format=rh.INT8)


def test_it_is_part_of_the_question(work: rh.Workload) -> None:
    given = [{}, Short(4), Short(3), Products(4), {"stem": Short(4)}, {"head": Short(4)}]
    campaigns = [rh.Campaign(work.with_(arithmetic=own)) for own in given]
    assert len({campaign.id for campaign in campaigns}) == len(given)
    assert len({campaign.question.draws for campaign in campaigns}) == len(given)
    assert "arithmetic" not in campaigns[0].question.keys
    assert campaigns[0].id == rh.Campaign(work).id
    assert campaigns[1].name == "Residual-int8+short-operands-4-software"
    every = dict.fromkeys((layer.name for layer in work.layers), Short(4))
    assert rh.Campaign(work.with_(arithmetic=every)).id == campaigns[1].id


def test_an_array_is_struck_as_it_is(work: rh.Workload) -> None:
    held = work.with_(array=rh.Array(8, 16))
    for shape in ((16, 8, "ws"), (8, 16, "os"), (32, 32, "os")):
        with pytest.raises(ValueError, match="strike systolic:8x16:ws"):
            rh.Campaign(held, rh.chips.SYSTOLIC(*shape))
    assert rh.Campaign(held, rh.chips.SYSTOLIC(8, 16, "ws")).workload is held
    some = work.with_(array={work.layers[0].name: rh.Array(8, 16)})
    with pytest.raises(ValueError, match=f"layer {work.layers[0].name} runs on an array"):
        rh.Campaign(some, rh.chips.SYSTOLIC(4, 4, "ws"))
    rh.Campaign(work.with_(multiplier=rh.multiplier_named("mul8s_1L2H@v1")), rh.chips.SYSTOLIC())


def test_a_store_tells_it_and_is_asked_again(tmp_path: Path) -> None:
    whole = subject("digits-cnn")
    work = rh.capture(whole.model, whole.images, whole.labels, format=rh.INT8)
    first = work.layers[0].name
    for own in (Short(4), {first: Products(6)}):
        campaign = rh.Campaign(work.with_(arithmetic=own), images=16)
        folder = tmp_path / campaign.name.replace("+", "-")
        next(rh.collect([campaign], until=100, store=folder))
        held = next(folder.glob("*/campaign.toml"))
        text = held.read_text()
        assert f'format = "{campaign.workload.computing}"' in text
        assert "ShortOperands" in text or "ShortProducts" in text
        again = asked(held, "digits-cnn")
        taken = again.model_copy(update={"fingerprint": None})
        found = prepare(taken).campaign.workload.datapaths
        assert found == campaign.workload.datapaths


@dataclass(frozen=True, eq=False)
class Lookup:
    """Products of two operands of 8 bits from a table, (256, 256)."""

    table: Tensor
    name: str = "lookup"
    linear: bool = False

    def sums(self, how, terms, operand: Tensor, given) -> Tensor:
        def product(x: Tensor, w: Tensor, _: object) -> Tensor:
            return self.table[x.long() + 128, w.long() + 128]

        return terms.summed(product, operand, given.weight, how.bias(given))


def test_tables_are_learned_numbers_of_the_question(work: rh.Workload) -> None:
    codes = torch.arange(-128, 128)
    exact, other = codes[:, None] * codes, codes[:, None] * codes
    other[200, 130] += 1
    images = work.images
    assert torch.equal(work.with_(arithmetic=Lookup(exact)).logits(images), work.logits(images))
    check_arithmetic(Lookup(other))
    ids = {rh.Campaign(work.with_(arithmetic=Lookup(one))).id for one in (exact, other)}
    assert len(ids) == 2
    campaign = rh.Campaign(work.with_(arithmetic=Lookup(other.clone())))
    assert campaign.id in ids
    assert campaign.name == "Residual-int8+lookup-software"
    assert any(array.shape == (256, 256) for array in campaign.question.arrays.values())


def test_no_store_is_shared(work: rh.Workload, tmp_path: Path) -> None:
    one = rh.Campaign(work.with_(arithmetic=Short(4)), name="same")
    other = rh.Campaign(work.with_(arithmetic=Short(3)), name="same")
    next(rh.collect([one], until=100, store=tmp_path))
    with pytest.raises(StoreError):
        next(rh.collect([other], until=100, store=tmp_path))


def test_errors_at_a_rate_are_kept_apart(work: rh.Workload, tmp_path: Path) -> None:
    for own in ({}, Short(4), Short(3), {}):
        network = work.with_(arithmetic=own)
        rh.under_errors(network, rh.WeightErrors(1e-3), repetitions=2, store=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 3


def test_samplers_and_guards_work_on_it(work: rh.Workload) -> None:
    """Scores come from the exact network's slopes; proofs, of which some are tried, hold."""
    own = work.with_(arithmetic=Products(6))
    campaign = rh.Campaign(own, rh.chips.EYERISS, protections=(rh.RangeRestriction(),))
    assert campaign.run(until=300).n == 300
    plain = rh.Campaign(own, rh.chips.EYERISS).run(until=400)
    exhaustive = rh.Campaign(own, rh.chips.EYERISS, rh.Importance()).run(until=2000)
    assert plain["sdc1"].low <= exhaustive["sdc1"].high
    assert exhaustive["sdc1"].low <= plain["sdc1"].high


def test_checksums_are_of_linear_layers_only(work: rh.Workload) -> None:
    own = work.with_(arithmetic={"stem": Products(6)})
    guard = Checksum().guard(own)
    assert guard.steps == {layer.step for layer in own.layers if layer.name != "stem"}
    assert (
        Checksum().cost(own, rh.chips.EYERISS).macs < Checksum().cost(work, rh.chips.EYERISS).macs
    )
    with pytest.raises(ValueError, match="no checksum can be of stem"):
        Checksum(layers=("stem",)).guard(own)
    with pytest.raises(ValueError, match="no checksum can be of Residual"):
        Checksum().guard(work.with_(arithmetic=Products(6)))


def test_the_command_line_takes_it(at_the_command_line, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(Path(own_arithmetic.__file__).parent)
    monkeypatch.chdir(tmp_path)
    given = ("assess", "digits-cnn", "--format", "int8", "--chip", "software")
    given += ("--faults", "100", "--json")
    code, out, _ = at_the_command_line(*given, "--arithmetic", "own_arithmetic:ShortOperands")
    shown = json.loads(out)
    assert (code, shown["format"]) == (0, "int8+short-operands-4")
    assert shown["arithmetic"]["bits"] == 4
    code, _, said = at_the_command_line(*given, "--arithmetic", "mitchell")
    assert (code, "name your own, package.module:object" in said) == (2, True)
    code, _, said = at_the_command_line(*given, "--arithmetic", "own_arithmetic:without")
    assert (code, "is no Datapath" in said) == (2, True)


def test_modules_are_exported_with_it(work: rh.Workload, images: Tensor) -> None:
    module = rh.harden(work.with_(arithmetic=Short(4)), [])
    found = torch.export.export(module, (images,)).module()(images)
    assert torch.equal(found, work.with_(arithmetic=Short(4)).logits(images))
