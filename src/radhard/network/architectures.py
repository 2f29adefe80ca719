"""The modules of the zoo's networks, untrained."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional as F

#: What a network of the zoo can have in place of its rectifiers: ``lenet5-tanh``.
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "leaky": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU,
    "silu": nn.SiLU,
}  # fmt: skip


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """Convolution without bias, batch normalisation, ReLU; padding keeps the size."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def digits_cnn(classes: int) -> nn.Module:
    """Two convolutions and two dense layers for 8 x 8 images, 9,066 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24 * 16, 16),
        nn.ReLU(),
        nn.Linear(16, classes),
    )


def mlp(classes: int) -> nn.Module:
    """Three dense layers for 28 x 28 images."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def lenet5(classes: int) -> nn.Module:
    """LeNet-5 with ReLU and max pooling."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


def convnet(classes: int) -> nn.Module:
    """Three convolutions and two dense layers, after cuda-convnet's quick CIFAR-10 network."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 5, padding=2),
        nn.MaxPool2d(3, 2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 5, padding=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(1024, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def alexnet_cifar(classes: int) -> nn.Module:
    """AlexNet's five convolutions and three dense layers at CIFAR size, with its normalisation."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0),
        nn.MaxPool2d(2),
        nn.Conv2d(128, 192, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(192, 128, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(128, 128, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(2048, 256),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut that subsamples and pads with zeros (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.extra = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Add the shortcut to the two convolutions, then rectify."""
        short = x
        if self.stride > 1 or self.extra:
            side = self.extra // 2
            short = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, side, side))
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + short)


class ResNet20(nn.Module):
    """ResNet-20 for 32 x 32 images; parameter names as in the published checkpoints."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1)
        self.layer2 = self._stage(16, 32, 2)
        self.layer3 = self._stage(32, 64, 2)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        first = _ResidualBlock(inputs, outputs, stride)
        return nn.Sequential(first, *(_ResidualBlock(outputs, outputs, 1) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        return self.linear(F.adaptive_avg_pool2d(y, 1).flatten(1))  # type: ignore[no-any-return]


def vgg11_cifar(classes: int) -> nn.Module:
    """VGG-11 with batch normalisation and a single dense layer, for 32 x 32 images."""
    layers: list[nn.Module] = []
    inputs = 3
    for outputs, pool in ((64, 1), (128, 1), (256, 0), (256, 1), (512, 0), (512, 1), (512, 0)):
        layers.append(_conv(inputs, outputs, 3))
        layers += [nn.MaxPool2d(2)] * pool
        inputs = outputs
    layers += [_conv(512, 512, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, classes)]
    return nn.Sequential(*layers)


def mobilenet_cifar(classes: int) -> nn.Module:
    """MobileNet-v1 style depthwise-separable network at half width, for 32 x 32 images."""
    layers = [_conv(3, 32, 3)]
    inputs = 32
    for outputs, stride in ((64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1)):
        layers += [_conv(inputs, inputs, 3, stride, groups=inputs), _conv(inputs, outputs, 1)]
        inputs = outputs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes)]
    return nn.Sequential(*layers)


def _imagenet_layers(classes: int, pool_first: bool) -> nn.Module:
    """Five convolutions and three dense layers; CaffeNet pools before it normalises."""

    def finish() -> list[nn.Module]:
        norm, pool = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0), nn.MaxPool2d(3, 2)
        return [nn.ReLU(), *([pool, norm] if pool_first else [norm, pool])]

    return nn.Sequential(
        nn.Conv2d(3, 96, 11, 4),
        *finish(),
        nn.Conv2d(96, 256, 5, padding=2, groups=2),
        *finish(),
        nn.Conv2d(256, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(9216, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, classes),
    )


def alexnet(classes: int) -> nn.Module:
    """AlexNet for 227 x 227 images, grouped convolutions and local response normalisation."""
    return _imagenet_layers(classes, pool_first=False)


def caffenet(classes: int) -> nn.Module:
    """CaffeNet: AlexNet with pooling before local response normalisation."""
    return _imagenet_layers(classes, pool_first=True)


def nin(classes: int) -> nn.Module:
    """Network in Network for 227 x 227 images: twelve convolutions, global average pooling."""
    plan = ((96, 11, 4, 0), (256, 5, 1, 2), (384, 3, 1, 1), (1024, 3, 1, 1))
    layers: list[nn.Module] = []
    inputs = 3
    for stage, (outputs, kernel, stride, padding) in enumerate(plan):
        last = classes if stage == 3 else outputs
        layers += [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU()]
        layers += [nn.Conv2d(outputs, outputs, 1), nn.ReLU()]
        layers += [nn.Conv2d(outputs, last, 1), nn.ReLU()]
        layers += [nn.MaxPool2d(3, 2)] if stage < 3 else []
        layers += [nn.Dropout()] if stage == 2 else []
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def with_function(module: nn.Module, function: str) -> nn.Module:
    """A network with another activation function in place of its rectifiers.

    Raises:
        ValueError: for a network without any.
    """
    places = [
        (parent, name)
        for parent in list(module.modules())
        for name, child in parent.named_children()
        if isinstance(child, nn.ReLU)
    ]
    if not places:
        raise ValueError(f"{type(module).__name__} has no nn.ReLU that {function} could stand for")
    if function == "sigmoid":
        _wide_start(module)
    for parent, name in places:
        setattr(parent, name, ACTIVATIONS[function]())
    return module


def _wide_start(module: nn.Module) -> None:
    """Weights from which sigmoids learn: Glorot and Bengio's, over a slope of a quarter at 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(part.weight, gain=4)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
