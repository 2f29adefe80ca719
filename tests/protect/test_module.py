"""Protected networks as PyTorch modules."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from radhard.protect.protection import joined

PROTECTIONS = [
    rh.RangeRestriction(),
    rh.ValueThreshold(3.0, 3.0),
    rh.NeuronGradientSuppressor(kappa=3.0, kappa_dense=3.0),
    rh.NeuronGradientSuppressor(gate=rh.Gate.ROW_CHECKSUM, tap=rh.Tap.OUTPUT),
    rh.Checksum(channels=True, correct=True),
    rh.BoundedNeuron(),
    rh.MedianFeature(),
]


@pytest.mark.parametrize("protection", PROTECTIONS, ids=lambda p: type(p).__name__)
def test_modules_agree_with_guarded_runs_and_can_be_kept(
    residual: nn.Module, images: Tensor, labels: Tensor, protection, tmp_path: Path
) -> None:
    work = rh.capture(residual, images, labels)
    learned = protection.learned(work) if hasattr(protection, "learned") else protection
    module = rh.harden(residual, [learned], images, labels)
    guarded = rh.record(work, joined([learned], work)).logits
    torch.testing.assert_close(module(images), guarded, rtol=1e-5, atol=1e-5)
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(module, (images,), dynamic_shapes={"images": {0: batch}})
    torch.export.save(program, tmp_path / "safe.pt2")
    again = torch.export.load(tmp_path / "safe.pt2").module()
    torch.testing.assert_close(again(images[:3]), module(images[:3]), rtol=1e-5, atol=1e-5)
    other = rh.harden(residual, [learned], images, labels)
    for value in other.buffers():
        value.zero_()
    torch.save(module.state_dict(), tmp_path / "safe.pt")
    assert torch.equal(rh.record(work, joined([learned], work)).logits, guarded)  # nothing shared
    other.load_state_dict(torch.load(tmp_path / "safe.pt", weights_only=True))
    torch.testing.assert_close(other(images), module(images), rtol=0, atol=0)


def test_protections_of_the_chip_change_nothing_in_the_module(residual, images) -> None:
    module = rh.harden(residual, [rh.Parity(), rh.Redundancy()], images)
    torch.testing.assert_close(module(images), residual(images), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="images are needed"):
        rh.harden(residual, [rh.Parity()])
