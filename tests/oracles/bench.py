"""Layers with known integers, each alone in a network, in formats with powers of two for scales."""

import copy
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
import torch
from torch import nn

import radhard as rh
from oracles.held import Numbers, Word
from oracles.loopnest import Shape
from radhard.faults.corruption import Corruption
from radhard.network.format import Formats

LAYERS = {
    "strided": (nn.Conv2d(2, 4, 3, stride=2, padding=1), (5, 5)),
    "grouped": (nn.Conv2d(4, 6, (3, 2), padding=(1, 0), groups=2), (4, 4)),
    "dilated": (nn.Conv2d(2, 3, 3, padding=2, dilation=(1, 2)), (4, 5)),
    "depthwise": (nn.Conv2d(3, 6, 3, stride=(1, 2), padding=1, groups=3), (4, 5)),
    "sparse": (nn.Conv2d(3, 5, 1, stride=2), (4, 5)),
    "linear": (nn.Linear(12, 5), (1, 1)),
    "vectors": (nn.Linear(6, 5), (3, 1)),
}


def whole(fmt: rh.IntegerFormat, unit: int, zero: int = 0) -> rh.IntegerFormat:
    return replace(fmt, scale=(2.0**-unit,), zero=(zero,))


#: Formats; then numbers of the oracle, and bits right of the point of inputs, weights, results.
NUMBERS = {
    "int8": (
        Formats(whole(rh.INT8, 6), whole(rh.INT8, 4), None),
        Numbers(Word(8), Word(8), Word(8), shift=6, wide=Word(32)),
        (4, 6),
    ),
    "uint8": (
        Formats(whole(rh.UINT8, 6, 117), whole(rh.UINT8, 4, 101), None),
        Numbers(Word(8, 101), Word(8, 117), Word(8, 101), shift=6, wide=Word(32)),
        (4, 6),
    ),
    "16b_rb10": (
        Formats(rh.FIXED16_10, rh.FIXED16_10, rh.FIXED16_10),
        Numbers(Word(16), Word(16), Word(16), shift=10, wide=None),
        (10, 10),
    ),
}


@dataclass
class Bench:
    """A layer alone in a network, and its integers."""

    shape: Shape
    how: Numbers
    work: rh.Workload
    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray

    @classmethod
    @cache
    def of(cls, name: str, numbers: str, images: int = 3) -> "Bench":
        """A layer of `LAYERS` with `NUMBERS`, random but the same each time."""
        (layer, plane), (formats, how, points) = LAYERS[name], NUMBERS[numbers]
        shape = Shape.of(layer, plane)
        rng, layer = np.random.default_rng(len(name)), copy.deepcopy(layer)
        reach = 2**6 if how.input.width == 8 else 2**11
        x = rng.integers(-reach, reach, (images, shape.c * shape.groups, *plane))
        w = rng.integers(-reach // 2, reach // 2, (shape.m, shape.c, *shape.kernel))
        bias = rng.integers(-(2**12), 2**12, shape.m)
        state = {"weight": w.reshape(layer.weight.shape), "bias": bias / 2 ** points[0]}
        scaled = {k: torch.from_numpy(v / 2 ** points[1]).float() for k, v in state.items()}
        layer.load_state_dict(scaled)
        given = torch.from_numpy(x / 2 ** points[0]).float()
        if shape.linear:  # vectors, not planes
            given = given.flatten(2).transpose(1, 2).contiguous()
        model = nn.Sequential(layer, nn.Flatten())
        labels = torch.zeros(images, dtype=torch.long)
        return cls(shape, how, rh.capture(model, given, labels, format=formats), x, w, bias)

    def outputs(self, corruption: Corruption) -> tuple[np.ndarray, np.ndarray]:
        """What the engine makes of corruptions, as integers (n, elements), and without them."""
        run = rh.resume(rh.record(self.work), corruption)
        unit = float(self.work.arithmetic[0].output.scales(run.logits))
        found, golden = (part.double().numpy() / unit for part in (run.logits, run.golden))
        return np.rint(found).astype(np.int64), np.rint(golden).astype(np.int64)

    def windows(self) -> np.ndarray:
        """What each output multiplies, (images, groups, positions, terms); 0 in the padding."""
        s = self.shape
        positions = list(np.ndindex(*s.out))
        terms = list(np.ndindex(s.c, *s.kernel))
        found = np.zeros((len(self.x), s.groups, len(positions), len(terms)), np.int64)
        for group, (p, (e, f)), (q, (c, r, t)) in product(
            range(s.groups), enumerate(positions), enumerate(terms)
        ):
            y, z = s.place(0, e, r), s.place(1, f, t)
            if y is not None and z is not None:
                found[:, group, p, q] = self.x[:, group * s.c + c, y, z]
        return found

    def elements(self, out: np.ndarray) -> np.ndarray:
        """Outputs (n, m, e, f) of an oracle in the order of the engine's."""
        order = (0, 2, 3, 1) if self.shape.linear else (0, 1, 2, 3)
        return out.transpose(order).reshape(len(out), -1)
