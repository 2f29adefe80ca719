import numpy as np
import pytest
from torch import Tensor, nn

import radhard as rh
from radhard.faults.fault import Faults
from radhard.network.workload import Workload


@pytest.fixture(scope="module")
def work(residual: nn.Module, images: Tensor, labels: Tensor) -> Workload:
    return rh.capture(residual, images, labels, format=rh.FLOAT64)


def test_software_space_counts_every_bit(work: Workload, residual: nn.Module) -> None:
    space = rh.software_space(work)
    weights = sum(m.weight.numel() for m in residual.modules() if isinstance(m, nn.Conv2d))
    weights += residual.head.weight.numel()
    neurons = 6 * 64 + 6 * 64 + 4 * 16 + 5
    assert space.exposure.sum() == 64 * (weights + neurons)
    assert space.probability.sum() == pytest.approx(1, abs=1e-12)
    assert space.population == 6 * 64 * (weights + neurons)
    only = rh.software_space(work, kinds=("weight",))
    assert only.exposure.sum() == 64 * weights
    assert {s.component for s in space.only(space.sizes == 5).strata} == {"activation"}


@pytest.mark.parametrize("kinds", [(), ("weights",)])
def test_unknown_kinds(work: Workload, kinds) -> None:
    with pytest.raises(ValueError, match="use weight, activation or both"):
        rh.software_space(work, kinds)


def test_a_space_without_sites(work: Workload) -> None:
    with pytest.raises(ValueError, match="no site that can be hit"):
        rh.SiteSpace((), 3)


@pytest.mark.parametrize("model", [rh.BitFlip(), rh.StuckAt(0), rh.RandomValue()])
def test_text_replays_exactly(work: Workload, model) -> None:
    space = rh.software_space(work).with_model(model)
    faults = rh.Uniform().draw(space, 300, np.random.default_rng(2))
    again = Faults.from_text(faults.to_text(space), space)
    for name in Faults.__dataclass_fields__:
        assert np.array_equal(getattr(faults, name), getattr(again, name)), name
    assert len(Faults.from_text("# nothing\n\n", space)) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 weight stem 3", "not enough values"),
        ("0 weight nowhere 3 0 0 0xff 0x8 1.0", "no stratum weight nowhere bit 3"),
        ("0 weight stem 3 9999 0 0xff 0x8 1.0", r"element 9999 is not in 0..107"),
        ("0 weight stem 3 0 77 0xff 0x8 1.0", r"image 77 is not in 0..5"),
        ("0 weight stem 3 0 0 0x1ffffffffffffffff 0x8 1.0", "does not fit 64 bits"),
    ],
)
def test_bad_lines_are_named(work: Workload, line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        Faults.from_text(f"# title\n{line}\n", rh.software_space(work))
    assert "line 2 of the fault list" in str(error.value)
