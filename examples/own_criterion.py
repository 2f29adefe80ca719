"""Count what matters to you: here, runs whose confidence in the right class halves.

Run it anywhere: python examples/own_criterion.py
"""

import torch
from torch import Tensor

import radhard as rh
from radhard.network.source import subject


def loses_confidence(faulty: Tensor, golden: Tensor, labels: Tensor) -> Tensor:
    """Whether the softmax value of the label falls below half of its fault-free value."""
    now, before = (
        torch.softmax(logits, 1).gather(1, labels[:, None])[:, 0] for logits in (faulty, golden)
    )
    return ~(now >= before / 2)  # not-a-number counts as lost


digits = subject("digits-cnn")
work = rh.capture(digits.model, digits.images[:64], digits.labels[:64], format=rh.FLOAT16)
campaign = rh.Campaign(
    work, model=rh.Burst(2), criteria={"loses_confidence": loses_confidence}, name="bursts"
)
result = campaign.run(until=3000)
print("SDC-1", result["sdc1"])
print("confidence halved", result["loses_confidence"])
