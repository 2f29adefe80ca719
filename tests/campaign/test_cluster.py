"""Shards as tasks of Ray: the same faults with the same outcomes, whatever happens to a worker."""

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from radhard.campaign.cluster import check_cluster

HAS_RAY = importlib.util.find_spec("ray") is not None


def killing(logits: Tensor, golden: Tensor, labels: Tensor) -> Tensor:
    """A criterion that kills the first worker but the tests' own process that asks it."""
    own, place = os.environ["RADHARD_TEST_DEATHS"].split(":", 1)
    if os.getpid() != int(own) and not Path(place).exists():
        Path(place).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return (logits != golden).any(1)


@pytest.fixture
def campaign() -> rh.Campaign:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 4)).eval()
    work = rh.capture(model, torch.randn(40, 1, 3, 3), torch.arange(40) % 4, format=rh.FLOAT16)
    return rh.Campaign(
        work, rh.chips.SOFTWARE, images=8, protections=[rh.RangeDetector().learned(work)],
        criteria={"killing": killing}, seed=3,
    )  # fmt: skip


def test_what_names_no_cluster_is_refused(campaign: rh.Campaign, tmp_path: Path) -> None:
    for text in ("dask", "ray:", "ray://host", "ray://host:port", ""):
        with pytest.raises(ValueError, match=f"cluster '{text}' can't be: use ray, or ray://HOST"):
            rh.collect([campaign], 100, tmp_path / "none", cluster=text)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_where_ray_is_not_installed_it_says_what_to_install() -> None:
    with pytest.raises(ValueError, match=r"not installed: pip install 'radhard\[cluster\]'"):
        check_cluster("ray")


@pytest.fixture
def ray() -> Iterator[None]:
    import ray

    yield
    ray.shutdown()


@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install 'radhard[cluster]'")
@pytest.mark.filterwarnings("ignore")  # of Ray's own
@pytest.mark.usefixtures("ray")
def test_rows_do_not_depend_on_a_worker_that_is_killed(
    campaign: rh.Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "deaths"
    monkeypatch.setenv("RADHARD_TEST_DEATHS", f"{os.getpid()}:{place}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    alone = campaign.run(until=3000)
    next(rh.collect([campaign], 500, tmp_path / "store"))
    found = next(rh.collect([campaign], 3000, tmp_path / "store", cluster="ray", workers=2))
    assert place.exists()
    for name in ("id", "index", "image", "weight", "packed"):
        assert np.array_equal(getattr(found.runs, name), getattr(alone.runs, name))
    assert (found["sdc1"], found.ra, found.recall) == (alone["sdc1"], alone.ra, alone.recall)
