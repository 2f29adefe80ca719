"""Small networks of the literature, defined here and trained by `radhard train`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
_MNIST = ((0.1307,), (0.3081,))
_DIGITS = ((0.3053,), (0.3760,))
#: What a network of the zoo can have in place of its rectifiers: ``lenet5-tanh``.
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "leaky": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU,
    "silu": nn.SiLU,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a zoo model is trained: SGD with Nesterov momentum and a one-cycle learning rate."""

    epochs: int
    rate: float
    batch: int = 128
    decay: float = 5e-4
    shift: int = 0
    mirror: bool = False


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A named network: how to build it, its home data set, and what its inputs look like.

    Attributes:
        build: makes the untrained module for a number of classes.
        data: name of the data set that it is meant for.
        shape: of one input image (channels, rows, columns).
        classes: outputs.
        mean, deviation: per channel, by which pixels in [0, 1] are standardised.
        recipe: training settings; ``None`` where training is out of reach on one machine.
        source: publication.
    """

    name: str
    build: Callable[[int], nn.Module]
    data: str
    shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    recipe: Recipe | None
    source: str


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """Convolution without bias, batch normalisation, ReLU; padding keeps the size."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def digits_cnn(classes: int) -> nn.Module:
    """Two convolutions and two dense layers for 8 x 8 images, 9,258 parameters."""
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


_CIFAR_AUGMENTED = Recipe(epochs=30, rate=0.1, shift=4, mirror=True)

_ZOO = (
    ZooModel("digits-cnn", digits_cnn, "digits", (1, 8, 8), 10, *_DIGITS,
             Recipe(epochs=60, rate=0.1, batch=64), "ours"),
    ZooModel("mlp", mlp, "mnist", (1, 28, 28), 10, *_MNIST,
             Recipe(epochs=8, rate=0.1), "ours"),
    ZooModel("lenet5", lenet5, "mnist", (1, 28, 28), 10, *_MNIST,
             Recipe(epochs=8, rate=0.1), "LeCun et al., Proc. IEEE 1998"),
    ZooModel("convnet", convnet, "cifar10", (3, 32, 32), 10, *_CIFAR,
             Recipe(epochs=16, rate=0.05, shift=3, mirror=True), "Krizhevsky, cuda-convnet"),
    ZooModel("alexnet-cifar", alexnet_cifar, "cifar10", (3, 32, 32), 10, *_CIFAR,
             Recipe(epochs=8, rate=0.03, shift=4, mirror=True),
             "Krizhevsky et al., NeurIPS 2012"),
    ZooModel("resnet20", ResNet20, "cifar10", (3, 32, 32), 10, *_IMAGENET,
             _CIFAR_AUGMENTED, "He et al., CVPR 2016"),
    ZooModel("vgg11-cifar", vgg11_cifar, "cifar10", (3, 32, 32), 10, *_CIFAR,
             _CIFAR_AUGMENTED, "Simonyan and Zisserman, ICLR 2015"),
    ZooModel("mobilenet-cifar", mobilenet_cifar, "cifar10", (3, 32, 32), 10, *_CIFAR,
             _CIFAR_AUGMENTED, "Howard et al., arXiv 1704.04861"),
    ZooModel("alexnet", alexnet, "imagenet", (3, 227, 227), 1000, *_IMAGENET,
             None, "Krizhevsky et al., NeurIPS 2012"),
    ZooModel("caffenet", caffenet, "imagenet", (3, 227, 227), 1000, *_IMAGENET,
             None, "Jia et al., ACM MM 2014"),
    ZooModel("nin", nin, "imagenet", (3, 227, 227), 1000, *_IMAGENET,
             None, "Lin et al., ICLR 2014"),
)  # fmt: skip


def zoo() -> tuple[ZooModel, ...]:
    """All models of the zoo."""
    return _ZOO


def zoo_model(name: str) -> ZooModel:
    """The zoo model called ``name``, or one with another activation function, NAME-FUNCTION.

    Functions are those of `ACTIVATIONS`; such a network is trained as its model is.

    Raises:
        ValueError: for an unknown name, with the nearest ones, or a model without rectifiers.

    >>> zoo_model("lenet5").data, zoo_model("lenet5-tanh").build(10)[1]
    ('mnist', Tanh())
    """
    known = {model.name: model for model in _ZOO}
    if name in known:
        return known[name]
    base, _, function = name.rpartition("-")
    if base in known and function in ACTIVATIONS:
        return _with(known[base], function)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or list(known)[:3]
    functions = ", ".join(ACTIVATIONS)
    raise ValueError(
        f"no model {name!r}: did you mean {', '.join(near)}? `radhard list models` shows all, and "
        f"-FUNCTION behind a name changes its activation function ({functions}); your own model is "
        "package.module:function, a .pt2 file of torch.export or an .onnx file"
    )


def _with(model: ZooModel, function: str) -> ZooModel:
    """The same with another activation function in place of all rectifiers."""
    rectifiers = sum(isinstance(part, nn.ReLU) for part in model.build(model.classes).modules())
    if not rectifiers:
        raise ValueError(f"{model.name} has no nn.ReLU that {function} could stand for")

    def build(classes: int) -> nn.Module:
        made = model.build(classes)
        if function == "sigmoid":
            _wide_start(made)
        for parent in list(made.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(parent, name, ACTIVATIONS[function]())
        return made

    return replace(model, name=f"{model.name}-{function}", build=build)


def _wide_start(module: nn.Module) -> None:
    """Weights from which sigmoids learn: Glorot and Bengio's, over a slope of a quarter at 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(part.weight, gain=4)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def parameter_count(model: ZooModel) -> int:
    """Number of parameters, counted without allocating them."""
    with torch.device("meta"):
        return sum(p.numel() for p in model.build(model.classes).parameters())
