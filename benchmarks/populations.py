"""Fixed populations of faults whose outcomes are all known, for studies of intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import radhard as rh
from radhard.campaign.result import Result
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace, Stratum
from radhard.network.data import data_named
from radhard.sampling.sampler import Outlook, Sampler, within
from radhard.sampling.tally import Tally

Flags = NDArray[np.bool_]
#: Faults that run at once, the least of each stratum, and images that they strike.
_BATCH, _LEAST, _IMAGES = 4000, 4, 24
#: Outcomes that are counted, besides those of a detector.
_COUNTED = ("sdc1", "correct", "lost", "gained", "activated")
#: Share of corruptions that the detector sees, which otherwise raises as many false alarms.
_SEES = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """Faults, one per place of a stratum, with what each does and what is thought of it.

    Attributes:
        space: strata of as many sites as there are faults; one image.
        columns: outcomes, (faults,) of bool each, stratum by stratum.
        outlook: of the faults.
        golden_accuracy: of the network without a fault.
    """

    space: SiteSpace
    columns: Mapping[str, Flags]
    outlook: Outlook
    golden_accuracy: float

    def place(self, faults: Faults) -> NDArray[np.int64]:
        """The numbers of drawn faults."""
        return (np.cumsum(self.space.sizes) - self.space.sizes)[faults.stratum] + faults.index

    def score(self, faults: Faults) -> Outlook:
        """What is thought of drawn faults."""
        place = self.place(faults)
        return Outlook(*(part if part is None else part[place] for part in self.outlook))

    def tally(self, faults: Faults) -> Tally:
        """What drawn faults do."""
        place = self.place(faults)
        columns = {name: hits[place] for name, hits in self.columns.items()}
        return Tally.of(faults, columns, len(self.space.strata))

    def result(self, tally: Tally, sampler: Sampler, anytime: bool = False) -> Result:
        """A campaign's answer."""
        return Result(
            "", "", self.space, sampler, tally, self.golden_accuracy, 0.95, anytime, 0.0,
            protections=("a detector",),
        )  # fmt: skip

    @property
    def truth(self) -> Result:
        """The answer of all faults, each with its probability."""
        sizes = self.space.sizes
        stratum = np.repeat(np.arange(len(sizes)), sizes)
        index = np.arange(len(stratum)) - (np.cumsum(sizes) - sizes)[stratum]
        weight = (self.space.probability / sizes)[stratum] * len(stratum)
        none = np.zeros_like(stratum)
        faults = Faults(np.arange(len(stratum)), stratum, index, none, none - 1, none, weight)
        return self.result(self.tally(faults), rh.Importance())


Lie = Callable[[Population], Outlook]


def blind(honest: Population) -> Outlook:
    """Every second fault is taken for harmless."""
    chance, group, proof = honest.outlook
    return Outlook(np.where(np.arange(len(chance)) % 2, 1e-6, chance), group, proof)


def upside_down(honest: Population) -> Outlook:
    """What is likely is taken for unlikely."""
    chance, group, proof = honest.outlook
    return Outlook(0.9 - chance, group, proof)


def lied_to(honest: Population, lie: Lie) -> Population:
    """The same faults with another score."""
    return replace(honest, outlook=lie(honest))


def made_up(rates: Mapping[str, float], exposures: Mapping[str, float], seed: int) -> Population:
    """Components of 8 bits, one of them heavier, of whose faults a noisy score knows the outcome.

    Answers are right without a fault for two images in three; half of the other changes help.
    """
    random, strata, hits = np.random.default_rng(seed), [], []
    for (name, rate), bit in ((kind, bit) for kind in rates.items() for bit in range(8)):
        size = 800 if name != "control" else 40
        own = rate if name == "control" else rate * (6.0 if bit == 6 else 2 / 7)
        strata.append(Stratum(name, "layer", bit, 8, size, exposures[name], size))
        hit = np.zeros(size, dtype=bool)
        hit[random.permutation(size)[: round(own * size)]] = True
        hits.append(hit)
    hit = np.concatenate(hits)
    odds = np.where(hit, 1.0, 1e-3) * 10 ** random.normal(0, 0.7, len(hit))
    right = random.random(len(hit)) < 2 / 3
    gained = hit & ~right & (random.random(len(hit)) < 0.5)
    columns = {"sdc1": hit, "lost": hit & right, "gained": gained, "activated": hit | right}
    columns["correct"] = (right & ~hit) | gained
    outlook = Outlook(0.9 / (1 + 1 / odds), right.astype(np.int64))
    return _watched(SiteSpace(tuple(strata), 1), columns, outlook, 2 / 3)


def of_network(campaign: rh.Campaign, size: int) -> Population:
    """About so many faults of a campaign's population, taken as the whole of another one.

    Each stratum has a share of them as large as its probability, and at least a few.
    """
    rng, space, golden = np.random.default_rng(5), campaign.space(), campaign.golden()
    counts = np.maximum(np.rint(space.probability * size), _LEAST).astype(np.int64)
    stratum = np.repeat(np.arange(len(counts)), counts)
    drawn = within(space, stratum, np.ones(len(stratum)), rng)
    struck = campaign.chip.corrupt(campaign.network, space, drawn)
    drawn = replace(drawn, keep=struck.keep, flip=struck.flip)
    score = campaign.with_(sampler=rh.GradientImportance()).score(space, golden)
    assert score is not None
    seen, found = [], []
    for k in range(0, len(drawn), _BATCH):
        seen.append(score(drawn[k : k + _BATCH]))
        found.append(campaign.outcomes(space, golden, drawn[k : k + _BATCH]))
    outlook = Outlook(*(np.concatenate(part) for part in zip(*seen, strict=True)))
    columns = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    strata = [replace(s, size=int(n)) for s, n in zip(space.strata, counts, strict=True)]
    sites = replace(space, strata=tuple(strata), images=1)
    return _watched(sites, columns, outlook, campaign.golden_accuracy(golden))


def _watched(
    space: SiteSpace, columns: Mapping[str, Flags], outlook: Outlook, accuracy: float
) -> Population:
    """With a detector that knows nothing of faults but half of the corruptions."""
    random, hit = np.random.default_rng(9), columns["sdc1"]
    rate = np.repeat(space.probability / space.sizes, space.sizes) @ hit
    detected = random.random(len(hit)) < np.where(hit, _SEES, _SEES * rate)
    own = {"detected": detected, "sdc1_undetected": hit & ~detected}
    kept = {name: columns[name] for name in _COUNTED}
    return Population(space, {**kept, **own}, outlook, accuracy)


class _Straight(torch.autograd.Function):
    """A step, with the slope of a clamped identity."""

    @staticmethod
    def forward(ctx: object, x: Tensor, step: Callable[[Tensor], Tensor]) -> Tensor:
        return step(x)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _Stepped(nn.Module):
    """Values of 4 bits, or signs; after training without slopes, as networks are handed over."""

    def __init__(self, signs: bool) -> None:
        super().__init__()
        self.signs = signs

    def forward(self, x: Tensor) -> Tensor:
        step, unit = (torch.sign, 1.0) if self.signs else (torch.round, 2.5)
        x = x.clamp(-1, 1) if self.signs else x.clamp(0, 6) * unit
        return (_Straight.apply(x, step) if self.training else step(x)) / unit


class _Attending(nn.Module):
    """Rows as words, and one block of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, 12), nn.Linear(12, 10)
        self.places = nn.Parameter(torch.randn(8, 12) * 0.3)
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x[:, 0]) + self.places
        return self.head((x + self.attention(x, x, x, need_weights=False)[0]).mean(1))


class _Asking(nn.Module):
    """Rows as words, looked up by learned queries, whose values are alike for all images."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(3, 1, 12))
        self.own, self.embed, self.head = nn.Linear(12, 12), nn.Linear(8, 12), nn.Linear(36, 10)

    def forward(self, x: Tensor) -> Tensor:
        words = torch.relu(self.embed(x[:, 0]))
        asked = self.own(self.queries.expand(-1, x.shape[0], -1)).transpose(0, 1)
        looks = torch.softmax(torch.matmul(asked, words.transpose(1, 2)), 2)
        return self.head(torch.matmul(looks, words).flatten(1))


class _Twice(nn.Module):
    """A layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.own, self.head = nn.Linear(64, 16), nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x.flatten(1)))
        return self.head(torch.relu(self.own(torch.relu(self.own(x)))))


def _conv(step: Callable[[], nn.Module]) -> nn.Module:
    convolutions = [nn.Conv2d(1, 6, 3, padding=1), step(), nn.MaxPool2d(2)]
    convolutions += [nn.Conv2d(6, 8, 3, padding=1), step(), nn.MaxPool2d(2)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(32, 10))


def _mlp(step: Callable[[], nn.Module]) -> nn.Module:
    layers = [nn.Flatten(), nn.Linear(64, 12), step(), nn.Linear(12, 12), step()]
    return nn.Sequential(*layers, nn.Linear(12, 10))


#: How each network is made.
_NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "four-bits": lambda: _mlp(lambda: _Stepped(signs=False)),
    "binary": lambda: _mlp(lambda: _Stepped(signs=True)),
    "conv": lambda: _conv(nn.ReLU),
    "lrn": lambda: _conv(lambda: nn.Sequential(nn.ReLU(), nn.LocalResponseNorm(5, 0.1))),
    "attention": _Attending,
    "queries": _Asking,
    "twice": _Twice,
}


def trained(name: str, epochs: int = 15) -> tuple[nn.Module, Tensor, Tensor]:
    """A small network for digits, trained in seconds, with test images and labels."""
    torch.manual_seed(0)
    train, test = data_named("digits", train=True), data_named("digits", train=False)
    model = _NETWORKS[name]()
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(epochs):
        for part in torch.randperm(len(train.images)).split(64):
            optimiser.zero_grad()
            found = model(train.images[part].float())
            nn.functional.cross_entropy(found, train.labels[part]).backward()
            optimiser.step()
    return model.eval(), test.images[:_IMAGES].float(), test.labels[:_IMAGES]


def network(name: str, format: str, chip: str, size: int = 40_000) -> Population:
    """The population of a trained network in a format on a chip."""
    model, images, labels = trained(name)
    work = rh.capture(model, images, labels, format=rh.format_named(format), name=name)
    return of_network(rh.Campaign(work, rh.chips.chip_named(chip)), size)


_COMMON = {"weight": 0.08, "psum": 0.12}, {"weight": 3.0, "psum": 1.0}, 1
_RARE = {"weight": 4e-4, "psum": 6e-4}, {"weight": 1.0, "psum": 3.0}, 2
_CONTROL = (
    {"weight": 0.02, "psum": 0.05, "control": 0.9}, {"weight": 1.0, "psum": 1.0, "control": 0.4}, 3
)  # fmt: skip
_MADE_UP = {"common": _COMMON, "rare": _RARE, "control": _CONTROL}

#: How each population is made, by name.
POPULATIONS: dict[str, Callable[[], Population]] = {
    **{name: lambda how=how: made_up(*how) for name, how in _MADE_UP.items()},
    **{
        f"{name}, {lie.__name__.replace('_', ' ')}": lambda how=how, lie=lie: lied_to(
            made_up(*how), lie
        )
        for name, how in _MADE_UP.items()
        for lie in (blind, upside_down)
    },
    **{
        f"{name} {format} {chip}": lambda a=name, b=format, c=chip: network(a, b, c)
        for name, format, chip in (
            ("four-bits", "fp32", "software"),
            ("four-bits", "int8", "published"),
            ("binary", "fp32", "software"),
            ("binary", "int8", "nvdla"),
            ("conv", "int8", "published"),
            ("conv", "int8", "systolic"),
            ("conv", "int8", "nvdla"),
            ("conv", "16b_rb10", "published"),
            ("conv", "16b_rb10", "nvdla"),
            ("attention", "fp16", "software"),
            ("attention", "int8", "software"),
            ("lrn", "fp16", "software"),
            ("lrn", "fp16", "nvdla"),
            ("twice", "int8", "software"),
            ("queries", "fp16", "software"),
        )
    },
}
