"""The networks of `benchmarks.models`: small ones by hand, one per style, and those of libraries.

All have random weights and small settings. What a library's own settings make too large runs on
small images.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Images, classes, tokens of a sentence, words, features of a token.
_N, _K, _T, _WORDS, _D = 4, 5, 6, 40, 16


@dataclass(frozen=True)
class Subject:
    """A network to be made: its name, where it is from, and which of its results are logits.

    ``make`` gives the module and its inputs, a tensor or tensors by name.
    """

    name: str
    source: str
    make: Callable[[], tuple[nn.Module, Any]]
    output: str | None = None


def subjects() -> Iterator[Subject]:
    """All of them; those of libraries that are not installed are left out."""
    yield from by_hand()
    if _installed("torchvision"):
        yield from _torchvision()
    if _installed("timm"):
        yield from _timm()
    if _installed("transformers"):
        yield from _transformers()


def _installed(name: str) -> bool:
    """Whether a library can be imported.

    Some builds of torchvision come without operations of their own, which classification does not
    need, but which must be declared before it is imported.
    """
    if importlib.util.find_spec(name) is None:
        return False
    if name != "transformers":
        for own in ("torchvision::nms", "torchvision::qnms"):
            if not _declared(own):
                schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                torch.library.define(own, schema)
    importlib.import_module(name)
    return True


def _declared(name: str) -> bool:
    """Whether an operation exists, with the libraries that torchvision brings, where they load."""
    folder = importlib.util.find_spec("torchvision").submodule_search_locations[0]  # type: ignore[union-attr,index]
    for library in Path(folder).glob("_C*.so"):
        with contextlib.suppress(OSError, RuntimeError):
            torch.ops.load_library(library)
    room, own = name.split("::")
    return hasattr(getattr(torch.ops, room), own)


def _images(side: int = 12, channels: int = 3) -> Tensor:
    return torch.randn(_N, channels, side, side, generator=torch.Generator().manual_seed(1))


def _sequences() -> Tensor:
    return torch.randn(_N, _T, _D, generator=torch.Generator().manual_seed(1))


def _tokens(length: int = _T) -> Tensor:
    return torch.randint(0, _WORDS, (_N, length), generator=torch.Generator().manual_seed(1))


class Made(nn.Module):
    """Modules by name, and a function that runs them."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def _head(inputs: int = 8) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, _K))


def _conv(inputs: int = 3, outputs: int = 8, **more: Any) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **more)


def _behind(run: Callable[[Made, Tensor], Tensor], channels: int = 8, **parts: Any) -> nn.Module:
    """A convolution, what a function makes of its maps, and a classifier."""
    return Made(lambda s, x: s.head(run(s, s.stem(x))), stem=_conv(), head=_head(channels), **parts)


def _recurrent(part: nn.Module, features: int, last: bool = True) -> nn.Module:
    def run(s: Made, x: Tensor) -> Tensor:
        states = s.part(x)[0]
        return s.head(states[:, -1] if last else states.mean(1))

    return Made(run, part=part, head=nn.Linear(features, _K))


def _celled(part: nn.Module) -> nn.Module:
    def run(s: Made, x: Tensor) -> Tensor:
        state: Any = None
        for t in range(x.shape[1]):
            state = s.part(x[:, t], state)
        return s.head(state[0] if isinstance(state, tuple) else state)

    return Made(run, part=part, head=nn.Linear(8, _K))


class Two(nn.Module):
    """Words, a mask of them, and numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.dense = nn.Embedding(_WORDS, 8), nn.Linear(3, 8)
        self.head = nn.Linear(8, _K)

    def forward(self, words: Tensor, mask: Tensor, numbers: Tensor) -> Tensor:
        mean = (self.table(words) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.head(torch.relu(mean + self.dense(numbers)))


def _two() -> tuple[nn.Module, Any]:
    words = _tokens()
    return Two(), {"words": words, "mask": words > 5, "numbers": torch.randn(_N, 3)}


class Branches(nn.Module):
    """Two inputs that meet, and two results of which one is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = _conv(), _conv(1), _head(16)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        both = torch.cat([self.left(left), self.right(right)], 1)
        return {"features": both.mean((2, 3)), "logits": self.head(torch.relu(both))}


class Attending(nn.Module):
    """Attention by hand, on patches with a learned first token."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, _D, 4, 4)
        self.first, self.place = nn.Parameter(torch.randn(1, 1, _D)), nn.Embedding(10, _D)
        self.qkv, self.out, self.norm = nn.Linear(_D, 3 * _D), nn.Linear(_D, _D), nn.LayerNorm(_D)
        self.head = nn.Linear(_D, _K)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1)
        x = x + self.place(torch.arange(x.shape[1]))
        parts = self.qkv(self.norm(x)).unflatten(2, (3, 2, _D // 2)).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        scores = (q @ k.transpose(-1, -2) / math.sqrt(_D // 2)).softmax(-1)
        x = x + self.out((scores @ v).transpose(1, 2).flatten(2))
        return self.head(x[:, 0])


class Mixer(nn.Module):
    """Dense layers along tokens and along features."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.features = nn.Linear(_T, _T), nn.Linear(_D, _D)
        self.norm, self.head = nn.LayerNorm(_D), nn.Linear(_D, _K)

    def forward(self, x: Tensor) -> Tensor:
        x = x + F.gelu(self.tokens(self.norm(x).transpose(1, 2))).transpose(1, 2)
        return self.head((x + F.gelu(self.features(self.norm(x)))).mean(1))


class Language(nn.Module):
    """A causal language model with tied weights; one answer per place."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(_WORDS, _D)
        self.q, self.k, self.v = (nn.Linear(_D, _D) for _ in range(3))
        self.out = nn.Linear(_D, _WORDS, bias=False)
        self.out.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        q, k, v = (part(x)[:, None] for part in (self.q, self.k, self.v))
        x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0]
        return self.out(x)


class Experts(nn.Module):
    """Experts whose weights lie in one tensor, mixed by a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.weight = nn.Linear(_D, 3), nn.Parameter(torch.randn(3, _D, _K))

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean(1)
        each = torch.einsum("bd,edk->bek", x, self.weight)
        return (self.gate(x).softmax(-1)[..., None] * each).sum(1)


class UNet(nn.Module):
    """Down, up by transposed convolution, and across; one answer per pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(3, 8, 3, 2, 1), _conv(8, 8)
        self.up, self.across = nn.ConvTranspose2d(8, 8, 2, 2), _conv(3, 8)
        self.last = nn.Conv2d(16, _K, 1)

    def forward(self, x: Tensor) -> Tensor:
        deep = self.up(F.relu(self.deep(F.relu(self.down(x)))))
        both = torch.cat([F.relu(self.across(x)), deep], 1)
        return self.last(both).permute(0, 2, 3, 1)


class PointNet(nn.Module):
    """Dense layers on points, and the largest of each feature."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv1d(_D, 16, 1), nn.Conv1d(16, 32, 1)
        self.head = nn.Linear(32, _K)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.two(F.relu(self.one(x.transpose(1, 2)))))
        return self.head(torch.max(x, 2)[0])


class Graph(nn.Module):
    """Convolution on a graph with a fixed matrix of neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("neighbours", torch.rand(_T, _T).softmax(1))
        self.one, self.two = nn.Linear(_D, 12), nn.Linear(12, _K)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.neighbours @ self.one(x))
        return (self.neighbours @ self.two(x)).mean(1)


class Siamese(nn.Module):
    """One branch on both halves of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.branch, self.form = nn.Sequential(_conv(), nn.ReLU(), _head()), nn.Bilinear(_K, _K, _K)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 3)
        return self.form(self.branch(left), self.branch(right))


def _shuffled(x: Tensor) -> Tensor:
    return x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)


def _encoder(layer: nn.Module, **more: Any) -> nn.Module:
    inner = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return Made(lambda s, x: s.head(s.inner(x).mean(1)), inner=inner, head=nn.Linear(_D, _K))


def _decoder() -> nn.Module:
    inner = nn.TransformerDecoder(nn.TransformerDecoderLayer(_D, 2, 32, 0.0, batch_first=True), 1)
    return Made(lambda s, x: s.head(s.inner(x, x.flip(1)).mean(1)), inner=inner,
                head=nn.Linear(_D, _K))  # fmt: skip


def _attention(batch_first: bool) -> nn.Module:
    def run(s: Made, x: Tensor) -> Tensor:
        x = x if batch_first else x.transpose(0, 1)
        return s.head(s.part(x, x, x)[0].mean(1 if batch_first else 0))

    part = nn.MultiheadAttention(_D, 2, batch_first=batch_first)
    return Made(run, part=part, head=nn.Linear(_D, _K))


def by_hand() -> Iterator[Subject]:
    """One of each style, without any library but PyTorch."""
    maps: dict[str, Callable[[], nn.Module]] = {
        "plain convolutions": lambda: nn.Sequential(_conv(), nn.ReLU(), _conv(8), nn.ReLU(),
                                                    nn.MaxPool2d(2), _head()),
        "residual": lambda: _behind(lambda s, x: F.relu(x + s.n(s.c(x))), c=_conv(8),
                                    n=nn.BatchNorm2d(8)),
        "dense connections": lambda: _behind(lambda s, x: torch.cat([x, s.c(F.relu(x))], 1), 16,
                                             c=_conv(8)),
        "inception": lambda: _behind(
            lambda s, x: torch.cat([s.a(x), s.b(x), F.avg_pool2d(x, 3, 1, 1)], 1), 24,
            a=nn.Conv2d(8, 8, 1), b=nn.Conv2d(8, 8, 5, padding=2)),
        "depthwise separable": lambda: _behind(lambda s, x: F.relu6(s.p(s.d(x))),
                                               d=_conv(8, groups=8), p=nn.Conv2d(8, 8, 1)),
        "channel shuffle": lambda: _behind(
            lambda s, x: _shuffled(torch.cat([x.chunk(2, 1)[0], s.c(x.chunk(2, 1)[1])], 1)),
            c=_conv(4, 4)),
        "squeeze and excitation": lambda: _behind(
            lambda s, x: x * torch.sigmoid(s.u(F.relu(s.d(x.mean((2, 3), keepdim=True))))),
            d=nn.Conv2d(8, 2, 1), u=nn.Conv2d(2, 8, 1)),
        "gated linear units": lambda: _behind(lambda s, x: F.glu(s.c(x), 1), c=_conv(8, 16)),
        "maxout": lambda: _behind(lambda s, x: s.c(x).unflatten(1, (8, 2)).amax(2), c=_conv(8, 16)),
        "padding in words": lambda: _behind(lambda s, x: s.c(x), c=nn.Conv2d(8, 8, 4,
                                                                             padding="same")),
        "dilated": lambda: _behind(lambda s, x: s.c(x), c=nn.Conv2d(8, 8, 3, padding=2,
                                                                    dilation=2)),
        "reflected margins": lambda: _behind(
            lambda s, x: s.c(x), c=nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")),
        "adaptive max pooling": lambda: _behind(
            lambda s, x: F.adaptive_max_pool2d(s.c(x), 3), c=_conv(8)),
        "largest of each map": lambda: Made(lambda s, x: s.h(s.c(x).flatten(2).max(2)[0]),
                                            c=_conv(), h=nn.Linear(8, _K)),
        "mean of the largest": lambda: Made(lambda s, x: s.h(s.c(x).flatten(2).topk(3, 2)[0]
                                                             .mean(2)),
                                            c=_conv(), h=nn.Linear(8, _K)),
        "half precision within": lambda: _behind(lambda s, x: s.c(x).half().float(), c=_conv(8)),
        "casts that change nothing": lambda: _behind(lambda s, x: s.c(x).float().to(x.dtype),
                                                     c=_conv(8)),
        "gate by comparison": lambda: _behind(lambda s, x: x * (s.c(x) > 0).float(), c=_conv(8)),
        "group normalisation": lambda: _behind(lambda s, x: s.n(s.c(x)), c=_conv(8),
                                               n=nn.GroupNorm(2, 8)),
        "instance normalisation": lambda: _behind(lambda s, x: s.n(s.c(x)), c=_conv(8),
                                                  n=nn.InstanceNorm2d(8)),
        "layer normalisation of maps": lambda: _behind(
            lambda s, x: s.n(s.c(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2), c=_conv(8),
            n=nn.LayerNorm(8)),
        "weight normalisation": lambda: _behind(
            lambda s, x: s.c(x), c=nn.utils.parametrizations.weight_norm(_conv(8))),
        "module that runs twice": lambda: _behind(lambda s, x: F.relu(s.c(F.relu(s.c(x)))),
                                                  c=_conv(8)),
        "pixel shuffle": lambda: _behind(lambda s, x: F.pixel_shuffle(s.c(x), 2), 2, c=_conv(8)),
        "upsampling": lambda: _behind(
            lambda s, x: s.c(F.interpolate(x, scale_factor=2.0, mode="nearest")), c=_conv(8)),
        "bilinear upsampling": lambda: _behind(
            lambda s, x: s.c(F.interpolate(x, size=(9, 9), mode="bilinear")), c=_conv(8)),
        "transposed convolution": lambda: _behind(
            lambda s, x: s.c(x), 6, c=nn.ConvTranspose2d(8, 6, 3, 2, 1, 1, 2)),
        "siamese with a bilinear form": Siamese,
        "capsules": lambda: Made(
            lambda s, x: torch.einsum("bni,nij->bnj", s.c(x).flatten(2).transpose(1, 2)[:, :6],
                                      s.weight).square().sum(1),
            c=_conv(), weight=nn.Parameter(torch.randn(6, 8, _K))),
        "attention by hand": Attending,
        "pixels (U-net)": UNet,
        "three dimensions": lambda: Made(
            lambda s, x: s.h(F.relu(s.c(x[:, None])).flatten(2).mean(2)),
            c=nn.Conv3d(1, 6, 3, padding=1), h=nn.Linear(6, _K)),
    }  # fmt: skip
    for name, make in maps.items():
        yield Subject(name, "by hand", lambda make=make: (make(), _images()))
    rows: dict[str, Callable[[], nn.Module]] = {
        "LSTM": lambda: _recurrent(nn.LSTM(_D, 8, batch_first=True), 8),
        "LSTM both ways in two layers": lambda: _recurrent(
            nn.LSTM(_D, 8, 2, batch_first=True, bidirectional=True), 16, False),
        "GRU": lambda: _recurrent(nn.GRU(_D, 8, batch_first=True), 8),
        "RNN": lambda: _recurrent(nn.RNN(_D, 8, batch_first=True), 8),
        "LSTM cells": lambda: _celled(nn.LSTMCell(_D, 8)),
        "GRU cells": lambda: _celled(nn.GRUCell(_D, 8)),
        "RNN cells": lambda: _celled(nn.RNNCell(_D, 8)),
        "MultiheadAttention": lambda: _attention(True),
        "MultiheadAttention with tokens first": lambda: _attention(False),
        "TransformerEncoder": lambda: _encoder(
            nn.TransformerEncoderLayer(_D, 2, 32, 0.0, batch_first=True)),
        "TransformerEncoder with norm first": lambda: _encoder(
            nn.TransformerEncoderLayer(_D, 2, 32, 0.0, "gelu", batch_first=True,
                                       norm_first=True)),
        "TransformerDecoder": _decoder,
        "mixer": Mixer,
        "dense layers": lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(_T * _D, 32), nn.ELU(), nn.Linear(32, 16), nn.Tanh(),
            nn.Linear(16, _K)),
        "einsum": lambda: Made(
            lambda s, x: torch.einsum("btd,kd->bk", s.a(x), s.weight), a=nn.Linear(_D, 12),
            weight=nn.Parameter(torch.randn(_K, 12))),
        "attention with a mask": lambda: Made(
            lambda s, x: s.h(F.scaled_dot_product_attention(
                s.q(x)[:, None], x[:, None], x[:, None], attn_mask=torch.ones(_T, _T).tril() > 0,
                scale=0.2)[:, 0].mean(1)),
            q=nn.Linear(_D, _D), h=nn.Linear(_D, _K)),
        "temporal convolutions": lambda: Made(
            lambda s, x: s.h(F.relu(s.c(F.pad(x.transpose(1, 2), (2, 0)))).mean(2)),
            c=nn.Conv1d(_D, 8, 3), h=nn.Linear(8, _K)),
        "transposed convolution of a line": lambda: Made(
            lambda s, x: s.h(F.relu(s.c(x.transpose(1, 2))).mean(2)),
            c=nn.ConvTranspose1d(_D, 8, 3, 2), h=nn.Linear(8, _K)),
        "PointNet": PointNet,
        "graph convolution": Graph,
        "mixture of experts": Experts,
        "scaled sums (baddbmm)": lambda: Made(
            lambda s, x: s.h(torch.baddbmm(x, s.a(x) @ x.transpose(1, 2), x, alpha=0.1).mean(1)),
            a=nn.Linear(_D, _D), h=nn.Linear(_D, _K)),
        "highway": lambda: Made(
            lambda s, x: s.h(torch.lerp(x, F.relu(s.a(x)), torch.sigmoid(s.g(x))).mean(1)),
            a=nn.Linear(_D, _D), g=nn.Linear(_D, _D), h=nn.Linear(_D, _K)),
        "several results of one module": lambda: Made(
            lambda s, x: (x.mean(1), s.h(x.mean(1))), h=nn.Linear(_D, _K)),
    }  # fmt: skip
    for name, make in rows.items():
        output = "1" if name.startswith("several") else None
        yield Subject(name, "by hand", lambda make=make: (make(), _sequences()), output)
    yield Subject("bag of words", "by hand", lambda: (
        Made(lambda s, x: s.h(s.e(x).mean(1)), e=nn.Embedding(_WORDS, 8), h=nn.Linear(8, _K)),
        _tokens()))  # fmt: skip
    yield Subject("words and LSTM", "by hand", lambda: (
        Made(lambda s, x: s.h(s.r(s.e(x))[0][:, -1]), e=nn.Embedding(_WORDS, 8),
             r=nn.LSTM(8, 8, batch_first=True), h=nn.Linear(8, _K)), _tokens()))  # fmt: skip
    yield Subject("language with tied weights", "by hand", lambda: (Language(), _tokens()))
    yield Subject("words and mask and numbers", "by hand", _two)
    yield Subject("two branches and two results", "by hand", lambda: (
        Branches(), {"left": _images(), "right": _images(12, 1)}), "logits")  # fmt: skip


def _torchvision() -> Iterator[Subject]:
    names = (
        ("alexnet", 64), ("vgg11_bn", 32), ("resnet18", 32), ("resnet50", 32),
        ("resnext50_32x4d", 32), ("wide_resnet50_2", 32), ("densenet121", 32), ("googlenet", 32),
        ("inception_v3", 80), ("squeezenet1_1", 32), ("mobilenet_v2", 32),
        ("mobilenet_v3_small", 32), ("shufflenet_v2_x0_5", 32), ("mnasnet0_5", 32),
        ("efficientnet_b0", 32), ("regnet_y_400mf", 32), ("convnext_tiny", 32), ("swin_t", 32),
        ("swin_v2_t", 32),
    )  # fmt: skip
    more: dict[str, Any] = {
        "googlenet": {"aux_logits": False, "init_weights": False},
        "inception_v3": {"aux_logits": False, "init_weights": False},
    }
    for name, side in names:
        yield Subject(name, "torchvision", lambda name=name, side=side: (
            importlib.import_module("torchvision.models").get_model(
                name, weights=None, num_classes=_K, **more.get(name, {})),
            _images(side)))  # fmt: skip
    yield Subject("vit", "torchvision", lambda: (
        importlib.import_module("torchvision.models").VisionTransformer(
            32, 8, 2, 2, 16, 32, num_classes=_K), _images(32)))  # fmt: skip
    yield Subject("fcn_resnet50", "torchvision", lambda: (_pixels("fcn_resnet50"), _images(32)))


def _pixels(name: str) -> nn.Module:
    """A segmentation network whose answers are along the last axis."""
    models = importlib.import_module("torchvision.models.segmentation")
    inner = getattr(models, name)(weights=None, weights_backbone=None, num_classes=_K)
    return Made(lambda s, x: s.inner(x)["out"].permute(0, 2, 3, 1), inner=inner)


def _timm() -> Iterator[Subject]:
    names = {
        "resnet10t": 32, "resnetv2_50": 32, "res2net50_26w_4s": 32, "seresnet18": 32,
        "skresnet18": 32, "mobilenetv4_conv_small": 32, "efficientvit_b0": 32, "ghostnet_050": 32,
        "repvgg_a0": 32, "convnextv2_atto": 32, "vit_tiny_patch16_224": 0,
        "deit_tiny_patch16_224": 0, "mixer_s32_224": 0, "gmlp_ti16_224": 0,
        "poolformer_s12": 32,
        "levit_128s": 0, "mobilevit_xxs": 64, "nf_resnet26": 32, "hrnet_w18_small": 32,
        "dla34": 32, "cspresnet50": 32, "tinynet_e": 32, "edgenext_xx_small": 32,
    }  # fmt: skip
    small: dict[str, dict[str, Any]] = {
        "vit_tiny_patch16_224": {"img_size": 32, "depth": 2, "patch_size": 8},
        "deit_tiny_patch16_224": {"img_size": 32, "depth": 2, "patch_size": 8},
        "mixer_s32_224": {"img_size": 64},
        "gmlp_ti16_224": {"img_size": 64},
    }
    sides = {"mixer_s32_224": 64, "gmlp_ti16_224": 64, "levit_128s": 224}
    for name, side in names.items():
        yield Subject(name, "timm", lambda name=name, side=side: (
            importlib.import_module("timm").create_model(
                name, num_classes=_K, **small.get(name, {})),
            _images(side or sides.get(name, 32))))  # fmt: skip


def _transformers() -> Iterator[Subject]:
    small = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "vocab_size": _WORDS, "max_position_embeddings": 24,
    }  # fmt: skip
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    gpt = {"vocab_size": _WORDS, "n_positions": 24, "n_embd": 16, "n_layer": 2, "n_head": 2}
    eye = {**small, "image_size": 32, "patch_size": 8, "num_labels": _K}
    words = {**small, **ends, "num_labels": _K}
    spoken = {**small, **ends, "use_cache": False}
    few = {"num_key_value_heads": 1}
    distil = {
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 32,
        "vocab_size": _WORDS,
        "max_position_embeddings": 24,
    }
    for name, settings, masked in (
        ("Bert", words, True), ("Roberta", words, True), ("Electra", words, True),
        ("Albert", {**words, "embedding_size": 8}, True), ("MobileBert", {
            **words, "embedding_size": 8, "true_hidden_size": 16, "intra_bottleneck_size": 16},
            True), ("DistilBert", {**distil, "num_labels": _K}, True),
        ("ConvBert", {**words, "embedding_size": 8}, True), ("Ernie", words, True),
    ):  # fmt: skip
        yield _of_transformers(f"{name}ForSequenceClassification", name, settings, masked)
    for name, settings in (
        ("GPT2LMHead", {**gpt, **ends, "use_cache": False}),
        ("GPTNeoXForCausalLM", spoken), ("LlamaForCausalLM", spoken),
        ("MistralForCausalLM", {**spoken, **few}), ("Qwen2ForCausalLM", {**spoken, **few}),
        ("GemmaForCausalLM", {**spoken, **few, "head_dim": 8}), ("PhiForCausalLM", spoken),
        ("OPTForCausalLM", {**spoken, "ffn_dim": 32, "word_embed_proj_dim": 16}),
        ("BloomForCausalLM", {**ends, "vocab_size": _WORDS, "hidden_size": 16, "n_layer": 2,
                              "n_head": 2, "use_cache": False}),
    ):  # fmt: skip
        kind = name.removesuffix("ForCausalLM").removesuffix("LMHead")
        full = f"{name}Model" if name.endswith("Head") else name
        yield _of_transformers(full, kind, settings, False)
    for kind in ("ViT", "DeiT", "Dinov2", "Beit", "ViTMSN"):
        yield Subject(f"{kind}ForImageClassification", "transformers", lambda kind=kind: (
            _model(f"{kind}ForImageClassification", kind, eye),
            {"pixel_values": _images(32)}), "logits")  # fmt: skip
    swin = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [2, 2],
            "num_heads": [1, 2], "window_size": 4, "num_labels": _K}  # fmt: skip
    yield Subject("SwinForImageClassification", "transformers", lambda: (
        _model("SwinForImageClassification", "Swin", swin),
        {"pixel_values": _images(32)}), "logits")  # fmt: skip


def _of_transformers(full: str, kind: str, settings: dict[str, Any], masked: bool) -> Subject:
    def make() -> tuple[nn.Module, Any]:
        ids = _tokens()
        mask = torch.ones_like(ids)
        mask[1, 4:] = 0
        given = {"input_ids": ids, "attention_mask": mask} if masked else {"input_ids": ids}
        return _model(full, kind, settings), given

    return Subject(full, "transformers", make, "logits")


def _model(full: str, kind: str, settings: dict[str, Any]) -> nn.Module:
    library = importlib.import_module("transformers")
    made: nn.Module = getattr(library, full)(getattr(library, f"{kind}Config")(**settings))
    return made
