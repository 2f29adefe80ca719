"""What must not change a result: batches, pools, neighbours; and what guards see."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from engine.test_oracle import random_corruptions
from radhard.engine import segment
from radhard.engine.trace import Trace
from radhard.faults.corruption import OPERANDS, Corruption
from radhard.network.workload import Workload


@pytest.fixture(scope="module", params=["fp32", "int8"])
def work(request, residual: nn.Module, images: Tensor, labels: Tensor) -> Workload:
    return rh.capture(residual, images, labels, format=rh.format_named(request.param))


def mixed(work: Workload, n: int = 60) -> Corruption:
    parts = [random_corruptions(work, operand, n, seed=3) for operand in OPERANDS]
    names = Corruption.__dataclass_fields__
    return Corruption(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def test_neither_pool_nor_order_nor_company_matters(work: Workload) -> None:
    trace, corruption = rh.record(work), mixed(work)
    whole = rh.resume(trace, corruption)
    pooled = rh.resume(trace, corruption, pool=7)
    assert torch.equal(whole.logits.nan_to_num(), pooled.logits.nan_to_num())
    order = np.random.default_rng(0).permutation(len(corruption))
    shuffled = rh.resume(trace, corruption[order])
    assert torch.equal(whole.logits[order].nan_to_num(), shuffled.logits.nan_to_num())
    alone = rh.resume(trace, corruption[11:12])
    assert torch.equal(alone.logits.nan_to_num(), whole.logits[11:12].nan_to_num())


def test_outcomes_do_not_depend_on_the_batch(work: Workload) -> None:
    corruption = mixed(work)
    runs = [rh.resume(rh.record(work, rows=rows), corruption) for rows in (1, 5, 64)]
    tops = [run.logits.nan_to_num().argmax(1) for run in runs]
    assert torch.equal(tops[0], tops[2])
    assert torch.equal(tops[1], tops[2])
    if work.formats.name == "int8":
        assert torch.equal(runs[0].logits, runs[2].logits)


def test_a_fault_that_changes_nothing_is_masked(work: Workload) -> None:
    corruption = mixed(work)
    harmless = Corruption(
        corruption.layer, corruption.operand, corruption.element, corruption.image,
        np.full(len(corruption), -1), np.zeros(len(corruption), dtype=np.int64),
        corruption.channels, corruption.positions, corruption.first, corruption.terms,
    )  # fmt: skip
    run = rh.resume(rh.record(work), harmless)
    assert torch.equal(run.logits, run.golden)


def test_no_corruptions_give_no_rows(work: Workload) -> None:
    run = rh.resume(rh.record(work), mixed(work)[:0])
    assert run.logits.shape == (0, 5)
    assert run.detected.shape == (0,)


def test_memory_bounds_the_batch(work: Workload) -> None:
    whole = rh.record(work)
    tight = rh.record(work, memory=300_000)
    assert tight.rows < whole.rows
    tops = [rh.resume(trace, mixed(work)).logits.nan_to_num().argmax(1) for trace in (whole, tight)]
    assert torch.equal(*tops)
    with pytest.raises(ValueError, match=r"allow .* or more"):
        rh.record(work, memory=10_000)


@pytest.mark.parametrize("memory", [60_000, 120_000])
def test_segments_of_images_give_the_same(work: Workload, memory: int, monkeypatch) -> None:
    """Golden values of all images do not fit; each segment is recorded when it is needed."""
    with pytest.raises(ValueError, match="can't hold"):
        rh.record(work, memory=memory)
    sizes = []

    def recorded(work: Workload, guard: rh.Guard | None, memory: int | None) -> Trace:
        sizes.append(len(work.images))
        return rh.record(work, guard, rows=8, memory=memory)

    monkeypatch.setattr(segment, "record", recorded)
    corruption = mixed(work)
    tight, roomy = (segment.Golden(work, None, room).resume(corruption) for room in (memory, None))
    assert len(sizes) > 2
    assert sizes[-1] == len(work.images)
    assert max(sizes[:-1]) < len(work.images)
    assert torch.equal(tight.golden, roomy.golden)
    assert torch.equal(tight.logits.nan_to_num(), roomy.logits.nan_to_num())
    for found, wanted in zip(tight.struck, roomy.struck, strict=True):
        assert torch.equal(found.nan_to_num(), wanted.nan_to_num())


def test_a_batch_needs_a_row(work: Workload) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        rh.record(work, rows=0)


class Ceiling:
    """Clamps outputs to a limit, and raises an alarm where it had to."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def inspect(self, layer: int, output: Tensor) -> tuple[Tensor, Tensor]:
        high = ~(output.abs() <= self.limit)
        return torch.where(high, 0.0, output), high.flatten(1).any(1)


def test_guards_see_and_correct_faulty_outputs(work: Workload) -> None:
    bare = rh.record(work)
    limit = max(float(bare.values[layer.step].abs().max()) for layer in work.layers)
    guarded = rh.record(work, Ceiling(limit))
    assert torch.equal(guarded.logits, bare.logits)
    assert not guarded.detected.any()
    corruption = mixed(work, n=200)
    plain = rh.resume(bare, corruption, patches=False)  # guards watch whole tensors
    watched = rh.resume(guarded, corruption)
    large = ~(plain.logits.abs().amax(1) <= limit)
    assert (watched.logits.abs() <= limit).all()
    assert watched.detected[large].all()
    assert not plain.detected.any()
    untouched = ~watched.detected
    assert torch.equal(watched.logits[untouched], plain.logits[untouched])


def test_false_alarms_are_reported(work: Workload) -> None:
    assert rh.record(work, Ceiling(0.0)).detected.all()


@pytest.mark.parametrize("name", ["fp32", "fp16", "int8"])
def test_attention_with_the_batch_in_the_middle(
    attention: nn.Module, images: Tensor, labels: Tensor, name: str
) -> None:
    """Full passes of the program, with one step's value replaced, are the oracle here."""
    work = rh.capture(attention, images, labels, format=rh.format_named(name))
    space = rh.software_space(work)
    faults = rh.Uniform().draw(space, 200, np.random.default_rng(1))
    corruption = rh.chips.SOFTWARE.corrupt(work, space, faults)
    chosen = corruption[corruption.operand == "output"]
    assert len({int(k) for k in chosen.layer}) >= 4
    run = rh.resume(rh.record(work), chosen)
    for k in range(len(chosen)):
        expected = _overwritten(work, chosen, k)
        torch.testing.assert_close(run.logits[k], expected, rtol=2e-3, atol=2e-3, equal_nan=True)


def _overwritten(work: Workload, corruption: Corruption, k: int) -> Tensor:
    layer, how = work.layers[corruption.layer[k]], work.arithmetic[corruption.layer[k]]
    rows = work.program.rows[layer.step]

    def evaluate(step: int, values) -> object:
        value = work.evaluate(step, values)
        if step == layer.step:
            flat = rows.split(value).clone()
            place = int(corruption.element[k])
            code = how.output.encode(flat[0])[place : place + 1]
            changed = (code & int(corruption.keep[k])) ^ int(corruption.flip[k])
            flat[0, place] = how.output.decode(changed)[0]
            value = rows.join(flat)
        return value

    with torch.no_grad():
        image = int(corruption.image[k])
        values = work.program.values(work.images[image : image + 1], evaluate)
    return values[work.program.output][0]
