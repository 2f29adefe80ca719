"""A published checkpoint keeps its accuracy, and its high exponent bits are the dangerous ones.

ResNet-20 for CIFAR-10 (He et al., CVPR 2016; checkpoint 12fca82f of pytorch_resnet_cifar10),
91.5 % on the first 1,000 test images.
"""

import os
from pathlib import Path

import pytest

import radhard as rh
from radhard.campaign.ask import Ask
from radhard.campaign.campaign import rightly_answered
from radhard.campaign.prepare import prepare
from radhard.network.source import subject

WEIGHTS = "resnet20-12fca82f.th"


@pytest.fixture(scope="module")
def weights(real_data: Path) -> Path:
    folders = [os.environ.get("RADHARD_WEIGHTS", ""), real_data, real_data / "weights"]
    found = [Path(folder) / WEIGHTS for folder in folders if (Path(folder) / WEIGHTS).is_file()]
    if not found:
        pytest.skip(f"{WEIGHTS} is in none of RADHARD_WEIGHTS, RADHARD_DATA: no weights at hand")
    return found[0]


def test_accuracy_and_bits(weights: Path) -> None:
    ready = prepare(Ask(model="resnet20", weights=weights, format="fp32", images=32))
    work = ready.campaign.workload
    right = rightly_answered(work, work.images[:1000], work.labels[:1000])
    assert sum(right) / 1000 == pytest.approx(0.915, abs=0.002)
    result = ready.campaign.run(until=1000)
    top, low = (
        next(p for p in result.by(lambda s, r=bits: (s.bit in r,)) if p.label == (True,))
        for bits in ((30,), range(23))
    )
    assert top["sdc1"].low > low["sdc1"].high


@pytest.mark.parametrize("fmt", [rh.INT8, rh.FIXED16_10])
def test_narrow_formats_keep_most_accuracy(weights: Path, fmt: rh.NumberFormat) -> None:
    ready = prepare(Ask(model="resnet20", weights=weights, format=fmt.name, images=16))
    work = ready.campaign.workload
    assert sum(rightly_answered(work, work.images[:500], work.labels[:500])) / 500 > 0.88


def test_eight_bits_lose_less_than_a_point(weights: Path) -> None:
    """Calibrated on training images, judged on the first 1,000 test images, in pairs."""
    test = subject("resnet20", weights=weights)
    learn = subject("resnet20", weights=weights, train=True)
    real = rh.capture(test.model, test.images[:1000], test.labels[:1000])
    work = rh.quantise(real, rh.Quantisation(per_channel=True), learn.images)
    before, after = (rightly_answered(one, one.images, one.labels) for one in (real, work))
    lost = sum(b and not a for b, a in zip(before, after, strict=True))
    assert lost - sum(a and not b for b, a in zip(before, after, strict=True)) < 10
    assert before != after
