"""Plain inference and PyTorchFI, as jobs to be timed beside ours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


def inference(model: nn.Module, images: Tensor, batch: int) -> Callable[[], int]:
    """Fault-free, whole, by the modules themselves; gives how many images."""
    rows = images.repeat(-(-batch // len(images)), 1, 1, 1)[:batch]

    def job() -> int:
        with torch.no_grad():
            model(rows).argmax(1).sum().item()
        return batch

    return job


def pytorchfi(model: nn.Module, images: Tensor, batch: int) -> Callable[[], int] | None:
    try:
        from pytorchfi.core import fault_injection
    except ImportError:
        return None
    shape = list(images.shape[1:])
    layers, on_cuda = [nn.Conv2d, nn.Linear], images.is_cuda
    tool = fault_injection(model, batch, shape, layers, use_cuda=on_cuda)
    sizes = np.array([int(np.prod(size[1:])) for size in tool.output_size])
    rows = images.repeat(-(-batch // len(images)), 1, 1, 1)[:batch]
    with torch.no_grad():
        golden = model(rows).argmax(1)
    rng = np.random.default_rng(3)

    def flip(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        layer = tool.current_layer
        for row in np.flatnonzero(places == layer):
            element = int(rng.integers(0, output[row].numel()))
            bits = output[row].reshape(-1).view(torch.int32)
            bits[element] ^= int(np.uint32(1 << int(rng.integers(0, 32))).view(np.int32))
        tool.current_layer += 1

    places = np.zeros(batch, dtype=np.int64)

    def job() -> int:
        places[:] = rng.choice(len(sizes), batch, p=sizes / sizes.sum())
        none = [0] * batch
        faulty = tool.declare_neuron_fi(
            function=flip, batch=list(range(batch)), layer_num=places.tolist(),
            dim1=none, dim2=none, dim3=none,
        )  # fmt: skip
        with torch.no_grad():
            (faulty(rows).argmax(1) != golden).sum().item()
        for handle in tool.handles:
            handle.remove()
        tool.handles = []
        return batch

    return job
