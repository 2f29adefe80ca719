"""Several processes: the same faults with the same outcomes, whatever happens to the processes."""

import os
import signal
from dataclasses import replace
from multiprocessing import parent_process
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from radhard.campaign.pool import Kept, cores, workers_of


class Tied(nn.Module):
    """One weight that is read twice, which processes must not take for two."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(9, 9), nn.Linear(9, 4)
        for part in (self.first, self.last):
            nn.init.normal_(part.weight, generator=torch.Generator().manual_seed(1))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(torch.relu(self.first(x.flatten(1)))))
        return self.last(x)


def killing(logits: Tensor, golden: Tensor, labels: Tensor) -> Tensor:
    """A criterion that kills the first process but the tests' own that asks it."""
    place = Path(os.environ["RADHARD_TEST_DEATHS"])
    if parent_process() is not None and not place.exists():
        place.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return (logits != golden).any(1)


@pytest.fixture
def campaign() -> rh.Campaign:
    images = torch.randn(40, 1, 3, 3, generator=torch.Generator().manual_seed(2))
    work = rh.capture(Tied().eval(), images, torch.arange(40) % 4, format=rh.FLOAT16)
    return rh.Campaign(
        work, rh.chips.SOFTWARE, images=8, protections=[rh.RangeDetector().learned(work)],
        criteria={"killing": killing}, seed=3,
    )  # fmt: skip


def rows(result: rh.Result) -> list[np.ndarray]:
    runs = result.runs
    return [runs.id, runs.index, runs.image, runs.weight, runs.packed]


@pytest.mark.exhaustive
def test_rows_do_not_depend_on_processes_that_are_killed(
    campaign: rh.Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADHARD_TEST_DEATHS", str(tmp_path / "deaths"))
    alone = campaign.run(until=3000)
    next(rh.collect([campaign], 500, tmp_path / "store"))
    with pytest.warns(UserWarning, match="a process was killed"):
        found = next(rh.collect([campaign], 3000, tmp_path / "store", workers=2))
    assert all(map(np.array_equal, rows(found), rows(alone)))
    assert (found["sdc1"], found.ra, found.recall) == (alone["sdc1"], alone.ra, alone.recall)
    assert next(rh.collect([campaign], 3000, tmp_path / "store"))["sdc1"] == alone["sdc1"]
    assert campaign.workload.shared  # a weight is read twice


def test_what_can_t_be_shared_is_refused(campaign: rh.Campaign) -> None:
    with pytest.raises(ValueError, match="0 workers can't be"):
        next(rh.collect([campaign], 100, workers=0))
    apart = replace(campaign, criteria={"mine": lambda logits, golden, labels: logits[:, 0] > 0})
    with pytest.raises(ValueError, match=r"can't be taken to other processes.*or use one worker"):
        next(rh.collect([apart], 100, workers=2))
    for text in ("0", "-1", "two", "1.5"):
        with pytest.raises(ValueError, match=f"workers '{text}' can't be: use auto"):
            workers_of(text)
    assert 1 <= workers_of("auto") <= cores()


def test_tensors_are_mapped_with_what_they_share(tmp_path: Path) -> None:
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    held = {
        "whole": whole, "turned": whole.T[1:, ::2], "flags": whole > 3, "none": torch.zeros(0, 3),
        "half": whole.to(torch.bfloat16), "codes": np.arange(5), "number": torch.tensor(7),
    }  # fmt: skip
    found = Kept.of(held, tmp_path / "tensors").load()
    for name, value in held.items():
        assert found[name].dtype == value.dtype
        assert np.array_equal(*(torch.as_tensor(part).double() for part in (found[name], value)))
    assert found["turned"].untyped_storage().data_ptr() == found["whole"].data_ptr()
    found["whole"][0, 1] = -1  # the file stays as it is
    assert Kept.of(held, tmp_path / "other").load()["whole"][0, 1] == 1
