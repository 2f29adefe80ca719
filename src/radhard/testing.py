"""What a part of your own must keep to: one check per kind, for tests of yours.

Each check raises an AssertionError that names what does not hold and where, or returns nothing. The
parts of radhard itself go through the same checks.

>>> import radhard as rh
>>> from radhard.testing import check_format
>>> check_format(rh.FLOAT16)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor, nn

from radhard.accel.chip import Accelerator
from radhard.accel.chips import SOFTWARE
from radhard.arith.multiplier import WIDEST_TABLE, Integers, Multiplier, limits, operands
from radhard.campaign.campaign import Campaign
from radhard.campaign.description import Arrays, described
from radhard.campaign.rebuild import rebuilt
from radhard.engine.resume import resume
from radhard.engine.trace import record
from radhard.faults.corruption import OPERANDS
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace, Stratum
from radhard.formats.catalogue import FLOAT16, INT8
from radhard.formats.number import NumberFormat
from radhard.metrics.outcome import Criterion
from radhard.network.arithmetic import Arithmetic, Datapath, Parameters
from radhard.network.capture import capture
from radhard.network.sums import some, whole
from radhard.network.terms import Each, Place, taps_of
from radhard.network.workload import Workload
from radhard.protect.protection import Protection
from radhard.sampling.proposals import Importance
from radhard.sampling.sampler import Asked, Outlook, Sampler
from radhard.sampling.tally import Tally
from radhard.stats.ball import contrast

#: Codes that are tried of a format that has more.
_CODES = 2**16
#: Faults that chips, protections and criteria are tried on, and campaigns per sampler.
_FAULTS, _SEEDS = 400, 120
#: By which share of the largest, sums of floats may differ in another order.
_APART = 1e-3
#: Sites of each stratum that fail, (sites,) of bool.
_Hits = list[np.ndarray]
#: Chance that a right sampler fails.
_FAILING = 1e-6


def check_format(fmt: NumberFormat) -> None:
    """Whether a number format keeps its promises, on all of its codes or 65,536 at random.

    Every code has a value, whose code it is; what lies between two values of codes is rounded to
    one of them; flipping a bit inverts it in the code; fields cover the code. A format whose range
    is fitted is tried as it fits numbers from -3 to 5.
    """
    width = fmt.width
    fmt = fmt.fit(torch.linspace(-3, 5, 65))
    _hold(fmt.width == width, "fit leaves the width as it is")
    every = fmt.width <= 16
    codes = torch.arange(2**fmt.width) if every else _some_codes(fmt.width)
    real = fmt.decode(codes)
    _hold(real.is_floating_point() and real.shape == codes.shape, "decode gives a float per code")
    number = ~torch.isnan(real)
    _hold(bool(number.any()), "some code is a number")
    back = fmt.encode(real[number])
    _hold(back.dtype == torch.int64, "encode gives codes of int64")
    again = fmt.decode(back)
    _equal(again, real[number], "decode(encode(value)) is the value", codes[number])
    bits = [bit for span in fmt.fields.values() for bit in span]
    _hold(sorted(bits) == list(range(fmt.width)), f"fields cover bits 0 to {fmt.width - 1} once")
    finite = real[torch.isfinite(real)]
    _equal(fmt.round(finite), finite, "round leaves values of codes", finite)
    some = _between(finite)
    rounded = fmt.round(some)
    _hold(rounded.dtype == some.dtype, "round keeps the type of its values")
    _equal(fmt.decode(fmt.encode(some)), rounded, "round is decode(encode(x))", some)
    if every:
        _neighbours(some, rounded, finite)
    mask = torch.ones_like(codes[number])
    flipped = fmt.flip(real[number], mask)
    _equal(flipped, fmt.decode(back ^ 1), "flip inverts bits of the code", codes[number])


def check_chip(chip: Accelerator, workload: Workload | None = None) -> None:
    """Whether a chip's fault sites and what software sees of them fit each other.

    Every stratum has sites and a bit inside its code; a fault strikes a value that its layer has
    and is read by some of its results; a fault is corrupted alike alone and among others; and a
    campaign on the chip runs and can be asked again from its data.

    Args:
        chip: yours.
        workload: a network that it can run; a small convolutional one where ``None``.
    """
    work = workload or _small()
    space = chip.sites(work)
    for stratum in space.strata:
        _hold(stratum.size > 0, f"{stratum} has sites")
        _hold(0 <= stratum.bit < stratum.width <= 64, f"{stratum} strikes a bit of its code")
        _hold(stratum.exposure >= 0, f"{stratum} has an exposure of 0 or more")
    faults = Importance().draw(space, _FAULTS, np.random.default_rng(0))
    found = chip.corrupt(work, space, faults)
    _hold(len(found) == len(faults), "corrupt gives one corruption per fault")
    _hold(bool((found.image == faults.image).all()), "a corruption is of the fault's image")
    for k in range(len(found)):
        layer = work.layers[int(found.layer[k])]
        where = f"fault {k} ({space.strata[faults.stratum[k]].component} of {layer.name})"
        _hold(str(found.operand[k]) in OPERANDS, f"{where}: an operand of {OPERANDS}")
        for low, high in (found.channels[k], found.positions[k]):
            _hold(0 <= low <= high, f"{where}: a box of reads from low to high")
    half = faults[: len(faults) // 2]
    _alike(chip.corrupt(work, space, half), found[: len(half)], "a fault among fewer others")
    campaign = Campaign(work, chip, Importance())
    _asked_again(campaign, "chip", chip)
    campaign.run(until=_FAULTS)


def check_sampler(sampler: Sampler) -> None:
    """Whether a sampler's faults lie in the population, and its intervals hold known truths.

    Of 120 campaigns of 200 faults each, on a population of rare failures and uneven exposures that
    is known as a whole, at least 93 % hold the truth; so they do if it is the faults in those
    strata that fail which the sampler draws least often for their probability. A right sampler
    fails once in a million.
    """
    space, hit = _population()
    score = _score(hit) if sampler.scored else None
    drawn = [sampler.draw(space, 200, np.random.default_rng(seed), score) for seed in range(_SEEDS)]
    for faults in drawn:
        _hold(len(faults) == 200, "draw gives as many faults as are asked for")
        _hold(bool((faults.weight > 0).all()), "weights are above 0")
        _hold(bool((faults.index < space.sizes[faults.stratum]).all()), "sites lie in their strata")
    again = sampler.draw(space, 200, np.random.default_rng(_SEEDS - 1), score)
    _hold(bool((again.index == faults.index).all()), "the same generator draws the same faults")
    weights = np.array([faults.weight.mean() for faults in drawn])
    off = 5 * weights.std() / _SEEDS**0.5 + 0.05
    _hold(abs(weights.mean() - 1) < off, "weights are 1 on average: true over drawn probability")
    _hold_truth(sampler, drawn, space, hit)
    _hold_truth(sampler, drawn, space, _least_drawn(space, drawn))


def _hold_truth(sampler: Sampler, drawn: list[Faults], space: SiteSpace, hit: _Hits) -> None:
    """Intervals, where it is known which sites fail, and estimates unless that is hardly seen."""
    truth = float(space.probability @ np.array([part.mean() for part in hit]))
    values, held, seen = [], 0, 0
    for faults in drawn:
        struck = _struck(hit, faults)
        tally, seen = Tally.of(faults, {"sdc1": struck}, len(space.strata)), seen + struck.sum()
        cells = sampler.cells(Asked(space, space.probability, [{"sdc1": 1}]), tally)
        found = contrast(cells, [1.0], 0.95, False)
        values.append(found.value)
        held += found.low <= truth <= found.high
    error = np.std(values) / _SEEDS**0.5
    right = abs(np.mean(values) - truth) < 5 * error + 0.05 * truth
    _hold(right or seen < _SEEDS, "estimates are right on average")
    least = binom.ppf(_FAILING, _SEEDS, 0.93)
    _hold(held >= least, f"of {_SEEDS} intervals at 95 % at least {least:.0f} hold the truth")


def _least_drawn(space: SiteSpace, drawn: list[Faults]) -> _Hits:
    """All sites of the strata that are drawn least for their probability, of a tenth of it."""
    count = sum(np.bincount(faults.stratum, minlength=len(space.strata)) for faults in drawn)
    order = np.argsort(count / space.probability)
    enough = int(np.searchsorted(np.cumsum(space.probability[order]), 0.1)) + 1
    chosen = np.isin(np.arange(len(order)), order[:enough])
    return [np.full(size, one) for size, one in zip(space.sizes, chosen, strict=True)]


def check_protection(protection: Protection, workload: Workload | None = None) -> None:
    """Whether a protection works in a campaign and changes nothing but what it may.

    It adds no exposure, leaves images and labels as they are, costs nothing negative, and campaigns
    with it run, can be asked again from their data, and do not depend on how many faults run at
    once.

    Args:
        protection: yours.
        workload: a network that it can protect; a small convolutional one where ``None``.
    """
    work = workload or _small()
    plain = SOFTWARE.sites(work)
    left = protection.harden(plain)
    _hold(bool((left.exposure <= plain.exposure).all()), "harden adds no exposure")
    tuned = protection.retune(work)
    _hold(torch.equal(tuned.images, work.images), "retune leaves the images as they are")
    cost = protection.cost(work, SOFTWARE)
    parts = (cost.macs, cost.operations, cost.memory_bits, cost.area, cost.cycles)
    _hold(min(parts) >= 0, "a cost is 0 or more")
    campaign = Campaign(work, SOFTWARE, Importance(), protections=(protection,))
    _asked_again(campaign, "protections", (protection,))
    campaign.run(until=_FAULTS)
    space, golden = campaign.space(), campaign.golden()
    faults = campaign.draw(space, 3)
    some = np.arange(1, len(faults), 5)
    many, few = (campaign.outcomes(space, golden, part) for part in (faults, faults[some]))
    for name, column in few.items():
        same = bool((many[name][some] == column).all())
        _hold(same, f"{name} does not depend on which other faults run")


def check_arithmetic(own: Datapath, workload: Workload | None = None) -> None:
    """Whether arithmetic gives the same sums whichever of them are asked for, and faults likewise.

    Sums of all outputs, of some positions, of one channel and of single outputs agree: exactly
    where operands are integers, else to within rounding. They do not depend on what else is asked
    for; where it is said to be linear they change by products of what changes; and faults do in
    runs of differences what they do in whole runs, in a campaign that can be asked again.

    Args:
        own: yours.
        workload: a network that it can compute; a small convolutional one in INT8 where ``None``.
    """
    work = (workload or _small(INT8)).with_(arithmetic=own)
    for number in range(len(work.layers)):
        if work.arithmetic[number].own is not None and work.layers[number].has_windows:
            _alike_in_parts(work, number)
    campaign = Campaign(work, SOFTWARE, Importance())
    if type(own).__module__ != "__main__":
        data, arrays = campaign.question.keys["arithmetic"], campaign.question.arrays
        again = described(rebuilt(data, "arithmetic", arrays), "arithmetic", {})
        _hold(again == data, f"{own.name} comes back from {data}")
    space, trace = campaign.space(), record(campaign.network)
    struck = SOFTWARE.corrupt(campaign.network, space, campaign.draw(space, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            fast = resume(trace, struck)
        except RuntimeWarning as warning:
            raise AssertionError(
                f"does not hold: differences are what they seem ({warning})"
            ) from None
    slow = resume(trace, struck, patches=False)
    gap = (fast.logits - slow.logits).nan_to_num(0.0).abs().amax(1)
    exact = all(how.exact for how in work.arithmetic)
    room = 0.0 if exact else _APART * float(trace.logits.abs().max())
    _hold(bool((gap <= room).float().mean() > 0.97), "faults do what they do in whole runs")


def _alike_in_parts(work: Workload, number: int) -> None:
    """Whether a layer's sums of all outputs agree with those of some, one by one, and of parts."""
    layer, how, given = work.layers[number], work.arithmetic[number], work.parameters[number]
    layout = work.program.rows[layer.operands[0]]
    assert given is not None
    assert layout is not None
    held = work.program.values(work.images[:2], work.evaluate)[layer.operands[0]]
    x = how.operand(layout.split(held))
    sums = how.sums(whole(layer, how), layout.join(x), given).flatten(1)
    alone = how.sums(whole(layer, how), layout.join(x[:1]), given).flatten(1)
    name = f"layer {layer.name}: "
    _near(alone, sums[:1], how, name + "sums do not depend on other images")
    element = torch.arange(sums.shape[1])
    channel, position = layer.output_place(element)
    window = layer.window(channel, position)
    operands = torch.where(window >= 0, x[0][window.clamp(min=0)], 0)
    place = Place(channel[:, None], position[:, None], torch.arange(layer.fan_in))
    rows = layer.weight_rows(given.weight)
    bias, scale = (
        part.reshape(-1)[channel] if part is not None and part.dim() else part
        for part in (given.bias, given.scale)
    )
    assert scale is not None
    own = Parameters(rows[channel], bias, scale)
    each = how.sums(Each(place, window >= 0), operands, own)
    _near(each, sums[0], how, name + "single outputs have the sums that all outputs have")
    taps = taps_of(layer, x.device)
    windows = torch.where(taps >= 0, x[0][taps.clamp(min=0)], 0)
    bias = given.bias.reshape(-1) if given.bias is not None else None
    scale = given.scale.reshape(-1) if given.scale.dim() else given.scale
    every = torch.arange(layer.positions)
    found = how.sums(some(layer, how, every), windows, Parameters(rows, bias, scale))
    at = sums[0][layer.output_element(torch.arange(layer.channels), every[:, None])]
    _near(found, at, how, name + "all channels at some positions have the sums of all outputs")
    if how.linear:
        moved = x.flip(1) - x
        change = how.change(layer.product, layout.join(moved), given).flatten(1)
        after = how.sums(whole(layer, how), layout.join(x.flip(1)), given).flatten(1)
        _near(sums + change, after, how, name + "linear sums change by products of what changes")


def _near(found: Tensor, wanted: Tensor, how: Arithmetic, what: str) -> None:
    """Equal where sums are exact, else nearly so."""
    room = 0.0 if how.exact else _APART * float(wanted.abs().max())
    gap = (found.double() - wanted.double()).abs()
    _hold(bool((gap <= room).all()), f"{what}: they differ by up to {float(gap.max()):g}")


def check_criterion(criterion: Criterion) -> None:
    """Whether an outcome of your own judges each run by itself.

    It gives one true or false per run, whatever the logits, not-a-number and infinite ones among
    them, and judges a run alike alone and among others.
    """
    random = torch.Generator().manual_seed(0)
    golden = torch.randn(60, 7, generator=random)
    faulty = golden + torch.randn(60, 7, generator=random) * (torch.arange(60) % 3)[:, None]
    faulty[5, 2], faulty[9], faulty[14, 0] = torch.nan, torch.nan, torch.inf
    labels = torch.arange(60) % 7
    found = criterion(faulty, golden, labels)
    _hold(found.shape == (60,) and found.dtype == torch.bool, "a bool per run")
    for k in range(60):
        alone = criterion(faulty[k : k + 1], golden[k : k + 1], labels[k : k + 1])
        _hold(bool(alone[0] == found[k]), f"run {k} is judged alike alone and among others")


def check_multiplier(multiplier: Multiplier) -> None:
    """Whether a multiplier keeps its promises, on all pairs of operands or 65,536 at random.

    Products are integers that fit twice the width, a pair has the same product alone and among
    others, the table has it at the operands' bit patterns, equal multipliers have equal hashes, and
    it can be asked about again from its data.
    """
    width, signed = multiplier.width, multiplier.signed
    _hold(isinstance(multiplier.name, str) and multiplier.name != "", "it has a name")
    _hold(isinstance(width, int) and 2 <= width <= 16, "operands have 2 to 16 bits")
    _hold(isinstance(signed, bool), "signed is true or false")
    a, b = _pairs(width, signed)
    found = multiplier.product(a, b)
    _hold(found.shape == a.shape and found.dtype == np.int64, "an int64 product per pair")
    low, high = limits(2 * width, signed)
    off = (found < low) | (found > high)
    _hold(not off.any(), f"products lie in {low} to {high}: {_first(off, a, b, found)}")
    some = np.arange(0, len(a), 1 + len(a) // 300)
    alone = np.array([int(multiplier.product(int(a[k]), int(b[k]))) for k in some])
    off = alone != found[some]
    _hold(
        not off.any(), f"a pair alone has the same product: {_first(off, a[some], b[some], alone)}"
    )
    if width <= WIDEST_TABLE:
        mask = (1 << width) - 1
        off = multiplier.table()[a & mask, b & mask] != found
        _hold(not off.any(), f"the table has its products: {_first(off, a, b, found)}")
    if type(multiplier).__module__ != "__main__":
        arrays: Arrays = {}
        again = rebuilt(described(multiplier, "multiplier", arrays), "multiplier", arrays)
        _hold(
            again == multiplier and hash(again) == hash(multiplier), "it comes back from its data"
        )


def _pairs(width: int, signed: bool) -> tuple[Integers, Integers]:
    """All pairs of operands, or some at random and those of the extremes."""
    if width <= WIDEST_TABLE:
        every = operands(width, signed)
        a, b = np.meshgrid(every, every, indexing="ij")
        return a.ravel(), b.ravel()
    low, high = limits(width, signed)
    ends = np.array([[low, low, high, high, 0], [low, high, low, high, 0]])
    some = np.random.default_rng(0).integers(low, high + 1, (2, _CODES))
    a, b = np.concatenate([ends, some], 1)
    return a, b


def _first(off: NDArray[np.bool_], a: Integers, b: Integers, found: Integers) -> str:
    """The first pair that is off."""
    k = int(off.argmax())
    return f"{a[k]} x {b[k]} gives {found[k]}"


def _hold(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(f"does not hold: {what}")


def _equal(found: Tensor, wanted: Tensor, what: str, of: Tensor) -> None:
    """Equal, not-a-number included; names the first place where it isn't."""
    other = ~((found == wanted) | (torch.isnan(found) & torch.isnan(wanted)))
    if other.any():
        k = int(other.nonzero()[0, 0])
        raise AssertionError(f"does not hold: {what}: {found[k]} for {of[k]}, not {wanted[k]}")


def _some_codes(width: int) -> Tensor:
    codes = np.random.default_rng(0).integers(0, 2**width, _CODES, dtype=np.uint64)
    return torch.from_numpy(codes.view(np.int64))


def _between(finite: Tensor) -> Tensor:
    """Real values between those of neighbouring codes, and the values themselves."""
    ordered = torch.sort(finite).values.unique()
    low, high = ordered[:-1], ordered[1:]
    return torch.cat([ordered, *(low + (high - low) * share for share in (0.3, 0.7))])


def _neighbours(some: Tensor, rounded: Tensor, finite: Tensor) -> None:
    """Whether what lies between codes becomes the next value above or below."""
    ordered = torch.sort(finite).values.unique()
    place = torch.searchsorted(ordered, some).clamp(1, len(ordered) - 1)
    off = (rounded < ordered[place - 1]) | (rounded > ordered[place])
    if off.any():
        k = int(off.nonzero()[0, 0])
        raise AssertionError(f"does not hold: {some[k]} rounds to a neighbour, not {rounded[k]}")


def _small(fmt: NumberFormat = FLOAT16) -> Workload:
    """Convolutions and a dense layer of random weights, with six images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(36, 5))
        images = torch.randn(6, 2, 8, 8)
    return capture(model, images, torch.arange(6) % 5, format=fmt, name="small")


def _alike(found: object, wanted: object, what: str) -> None:
    for name in ("layer", "operand", "element", "keep", "flip", "channels", "positions", "first"):
        same = np.array_equal(getattr(found, name), getattr(wanted, name))
        _hold(same, f"{what} has the same {name}")


def _asked_again(campaign: Campaign, key: str, part: object) -> None:
    """Whether the part comes back from the data of the question; what a script defines can't."""
    parts = part if isinstance(part, tuple) else (part,)
    if any(type(one).__module__ == "__main__" for one in parts):
        return
    data = campaign.question.keys[key]
    _hold(rebuilt(data, key, campaign.question.arrays) == part, f"{part!r} comes back from {data}")


def _population() -> tuple[SiteSpace, _Hits]:
    """Strata of 400 sites, exposed up to a hundredfold, and which sites change an answer."""
    random, strata, hit = np.random.default_rng(1), [], []
    for number, exposure in enumerate(np.logspace(0, 2, 16)):
        strata.append(Stratum("memory", "layer", number, 16, 400, float(exposure), 400))
        hit.append(random.random(400) < 0.4 / (number + 1))
    return SiteSpace(tuple(strata), 1), hit


def _struck(hit: _Hits, faults: Faults) -> np.ndarray:
    return np.array([hit[s][k] for s, k in zip(faults.stratum, faults.index, strict=True)])


def _score(hit: _Hits) -> Callable[[Faults], Outlook]:
    """A score that knows half of what faults do, and is wrong of the others."""

    def score(faults: Faults) -> Outlook:
        known = np.where(faults.index % 2, _struck(hit, faults), False)
        return Outlook(np.where(known, 0.5, 0.01), np.zeros(len(faults), np.int64))

    return score
