"""Small networks of the literature: what is known of them without building one."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
_MNIST = ((0.1307,), (0.3081,))
_DIGITS = ((0.3053,), (0.3760,))
#: What a network of the zoo can have in place of its rectifiers: ``lenet5-tanh``.
FUNCTIONS = ("tanh", "sigmoid", "leaky", "elu", "gelu", "silu")


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
        make: the function of `radhard.network.architectures` that makes the untrained module.
        data: name of the data set that it is meant for.
        shape: of one input image (channels, rows, columns).
        classes: outputs.
        mean, deviation: per channel, by which pixels in [0, 1] are standardised.
        recipe: training settings; ``None`` where training is out of reach on one machine.
        source: publication.
        parameters: how many there are.
        function: in place of rectifiers, where it is another one.
    """

    name: str
    make: str
    data: str
    shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    recipe: Recipe | None
    source: str
    parameters: int
    function: str = ""

    def build(self, classes: int) -> nn.Module:
        """The untrained module, for a number of classes."""
        made = importlib.import_module("radhard.network.architectures")
        module: nn.Module = getattr(made, self.make)(classes)
        return made.with_function(module, self.function) if self.function else module


_CIFAR_AUGMENTED = Recipe(epochs=30, rate=0.1, shift=4, mirror=True)

_ZOO = (
    ZooModel("digits-cnn", "digits_cnn", "digits", (1, 8, 8), 10, *_DIGITS,
             Recipe(epochs=60, rate=0.1, batch=64), "ours", 9_066),
    ZooModel("mlp", "mlp", "mnist", (1, 28, 28), 10, *_MNIST,
             Recipe(epochs=8, rate=0.1), "ours", 109_386),
    ZooModel("lenet5", "lenet5", "mnist", (1, 28, 28), 10, *_MNIST,
             Recipe(epochs=8, rate=0.1), "LeCun et al., Proc. IEEE 1998", 61_706),
    ZooModel("convnet", "convnet", "cifar10", (3, 32, 32), 10, *_CIFAR,
             Recipe(epochs=16, rate=0.05, shift=3, mirror=True),
             "Krizhevsky, cuda-convnet", 145_578),
    ZooModel("alexnet-cifar", "alexnet_cifar", "cifar10", (3, 32, 32), 10, *_CIFAR,
             Recipe(epochs=8, rate=0.03, shift=4, mirror=True),
             "Krizhevsky et al., NeurIPS 2012", 1_224_650),
    ZooModel("resnet20", "ResNet20", "cifar10", (3, 32, 32), 10, *_IMAGENET,
             _CIFAR_AUGMENTED, "He et al., CVPR 2016", 269_722),
    ZooModel("vgg11-cifar", "vgg11_cifar", "cifar10", (3, 32, 32), 10, *_CIFAR,
             _CIFAR_AUGMENTED, "Simonyan and Zisserman, ICLR 2015", 9_228_362),
    ZooModel("mobilenet-cifar", "mobilenet_cifar", "cifar10", (3, 32, 32), 10, *_CIFAR,
             _CIFAR_AUGMENTED, "Howard et al., arXiv 1704.04861", 279_178),
    ZooModel("alexnet", "alexnet", "imagenet", (3, 227, 227), 1000, *_IMAGENET,
             None, "Krizhevsky et al., NeurIPS 2012", 60_965_224),
    ZooModel("caffenet", "caffenet", "imagenet", (3, 227, 227), 1000, *_IMAGENET,
             None, "Jia et al., ACM MM 2014", 60_965_224),
    ZooModel("nin", "nin", "imagenet", (3, 227, 227), 1000, *_IMAGENET,
             None, "Lin et al., ICLR 2014", 7_595_176),
)  # fmt: skip


def zoo() -> tuple[ZooModel, ...]:
    """All models of the zoo."""
    return _ZOO


def zoo_model(name: str) -> ZooModel:
    """The zoo model called ``name``, or one with another activation function, NAME-FUNCTION.

    Functions are `FUNCTIONS`; such a network is trained as its model is.

    Raises:
        ValueError: for an unknown name, with the nearest ones, or a model without rectifiers.

    >>> zoo_model("lenet5").data, zoo_model("lenet5-tanh").build(10)[1]
    ('mnist', Tanh())
    """
    known = {model.name: model for model in _ZOO}
    if name in known:
        return known[name]
    base, _, function = name.rpartition("-")
    if base in known and function in FUNCTIONS:
        return _with(known[base], function)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or list(known)[:3]
    functions = ", ".join(FUNCTIONS)
    raise ValueError(
        f"no model {name!r}: did you mean {', '.join(near)}? `radhard list models` shows all, and "
        f"-FUNCTION behind a name changes its activation function ({functions}); your own model is "
        "package.module:function, a .pt2 file of torch.export or an .onnx file"
    )


def _with(model: ZooModel, function: str) -> ZooModel:
    """The same with another activation function in place of all rectifiers."""
    made = replace(model, name=f"{model.name}-{function}", function=function)
    try:
        made.build(made.classes)
    except ValueError as error:
        raise ValueError(f"{model.name} has no nn.ReLU that {function} could stand for") from error
    return made
