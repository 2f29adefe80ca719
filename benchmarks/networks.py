"""The networks of the benchmarks, with random weights and calibrated batch normalisation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from radhard.network.zoo import zoo_model


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.short: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.short = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + self.short(x))


def resnet18(small: bool = False) -> nn.Module:
    """For images of 224 x 224; of 32 x 32 where ``small``, which begin with less of a reduction."""
    first = (
        nn.Conv2d(3, 64, 3, 1, 1, bias=False) if small else nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    )
    layers: list[nn.Module] = [first, nn.BatchNorm2d(64), nn.ReLU()]
    layers += [] if small else [nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for outputs, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1),
                            (512, 2), (512, 1)):  # fmt: skip
        layers.append(BasicBlock(inputs, outputs, stride))
        inputs = outputs
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10 if small else 1000)
    )


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        parts: list[nn.Module] = []
        if expand > 1:
            parts += [nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()]
        parts += [nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)]
        parts += [nn.BatchNorm2d(hidden), nn.ReLU6()]
        parts += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.body = nn.Sequential(*parts)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


def mobilenet_v2() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)]
    layers.append(nn.ReLU6())
    inputs = 32
    for expand, outputs, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):  # fmt: skip
        for k in range(count):
            layers.append(InvertedResidual(inputs, outputs, stride if k == 0 else 1, expand))
            inputs = outputs
    layers += [nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000))


class Dense(nn.Module):
    """One layer of DenseNet: what it makes is put beside what it was given."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, growth, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(torch.relu(self.norm(x)))], 1)


def densenet() -> nn.Module:
    """64 convolutions in three blocks, 32 x 32."""
    layers: list[nn.Module] = [nn.Conv2d(3, 24, 3, padding=1, bias=False)]
    channels = 24
    for block in range(3):
        for _ in range(20):
            layers.append(Dense(channels, 12))
            channels += 12
        if block < 2:
            layers += [nn.Conv2d(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
    head = nn.Linear(channels, 10)
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


class Block(nn.Module):
    """One block of a transformer, written out; a decoder's tokens see earlier ones alone."""

    def __init__(self, size: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.one, self.two = nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))

    def forward(self, x: Tensor) -> Tensor:
        b, n, size = x.shape
        q, k, v = self.qkv(self.one(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(seen.transpose(1, 2).reshape(b, n, size))
        return x + self.mlp(self.two(x))


class Transformer(nn.Module):
    """Twelve blocks over 64 patches of an image; of a decoder the last place answers."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.patch, self.causal = nn.Conv2d(3, 96, 4, 4), causal
        self.place = nn.Parameter(torch.randn(64, 96) / 10)
        self.blocks = nn.Sequential(*(Block(96, 4, causal) for _ in range(12)))
        self.head = nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.patch(x).flatten(2).transpose(1, 2) + self.place)
        return self.head(x[:, -1] if self.causal else x.mean(1))


class Excited(nn.Module):
    """An inverted residual with squeeze and excitation, as in MobileNetV3 and EfficientNet."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        hidden = 4 * inputs
        self.up = nn.Sequential(nn.Conv2d(inputs, hidden, 1), nn.BatchNorm2d(hidden))
        self.deep = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden)
        self.norm = nn.BatchNorm2d(hidden)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(hidden, inputs, 1), nn.ReLU(),
            nn.Conv2d(inputs, hidden, 1), nn.Hardsigmoid(),
        )  # fmt: skip
        self.down = nn.Sequential(nn.Conv2d(hidden, outputs, 1), nn.BatchNorm2d(outputs))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        swish = nn.functional.hardswish
        y = swish(self.norm(self.deep(swish(self.up(x)))))
        y = self.down(y * self.gate(y))
        return x + y if self.adds else y


def excited() -> nn.Module:
    """Nine blocks on 64 x 64."""
    sizes = [(16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 40, 2), (40, 40, 1), (40, 40, 1)]
    sizes += [(40, 80, 2), (80, 80, 1), (80, 80, 1)]
    first = [nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Hardswish()]
    last = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(80, 10)]
    return nn.Sequential(*first, *(Excited(*one) for one in sizes), *last)


class Temporal(nn.Module):
    """A residual pair of dilated convolutions in one dimension, as in a TCN."""

    def __init__(self, size: int, dilation: int) -> None:
        super().__init__()
        self.one, self.two = (
            nn.Conv1d(size, size, 3, padding=dilation, dilation=dilation) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.two(torch.relu(self.one(x))))


class Series(nn.Module):
    """A TCN over 16 channels and 256 samples, taken from (16, 16, 16) images."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(16, 32, 1), *(Temporal(32, 2**k) for k in range(5)))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.flatten(2)).mean(2))


#: Networks beside those of the zoo, and the shapes of their images.
OTHERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "resnet18": (resnet18, (3, 224, 224)),
    "resnet18-64": (resnet18, (3, 64, 64)),
    "resnet18-32": (partial(resnet18, small=True), (3, 32, 32)),
    "mobilenet_v2": (mobilenet_v2, (3, 224, 224)),
    "densenet": (densenet, (3, 32, 32)),
    "vit": (partial(Transformer, False), (3, 32, 32)),
    "decoder": (partial(Transformer, True), (3, 32, 32)),
    "squeeze": (excited, (3, 64, 64)),
    "tcn": (Series, (16, 16, 16)),
}


def network(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """A network in evaluation mode and the shape of its images."""
    torch.manual_seed(0)
    if name in OTHERS:
        make, shape = OTHERS[name]
        model = make()
    else:
        entry = zoo_model(name)
        model, shape = entry.build(entry.classes), entry.shape
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, *shape))
    return model.eval(), shape
