"""Retuning: what is learned of an array's faults, and what becomes of the network."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.network.source import subject
from radhard.network.sums import whole
from radhard.protect.held import Held, held_by
from radhard.protect.place import least_hurt
from radhard.protect.rules import Chosen, Rule, of_stuck_sums
from radhard.protect.tune import _Shadow as Shadow

EXACT = rh.multiplier_named("mul8s_exact")
RULES = {
    "map": rh.Retune(rh.WeightMap()),
    "bypass": rh.Retune(rh.Bypass()),
    "hybrid": rh.Retune(),
    "placed": rh.Retune(remap=True),
}


@pytest.fixture(scope="module")
def digits():
    """A perceptron for digits in int8, with test and with training images."""
    training, test = (subject("digits-cnn", None, None, train=part) for part in (True, False))
    images, labels = training.images.flatten(1), training.labels
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        for rows in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimiser.step()
    work = rh.capture(model.eval(), test.images.flatten(1), test.labels, rh.INT8)
    return work, work.with_(images[:600], labels[:600])


def accuracy(work):
    return float((work.logits(work.images).argmax(1) == work.labels).float().mean())


def retuned(digits, rule, permanent, seed=0, multiplier=EXACT):
    work, training = digits
    array = rh.Permanent.parsed(permanent).drawn(rh.Array(64, 64), multiplier, seed)
    chip, learning = (w.with_(multiplier=multiplier, array=array) for w in (work, training))
    return accuracy(chip), accuracy(rule.fit(learning).retune(chip))


def test_low_bits_do_no_harm(digits):
    work, _ = digits
    free = accuracy(work)
    for value in (0, 1):
        before, _ = retuned(digits, RULES["map"], f"product sa{value} bit=4 rate=0.5")
        assert before > free - 0.03


def test_maps_repair_a_sign_that_is_lost_and_not_one_that_is_there(digits):
    free = accuracy(digits[0])
    before, after = retuned(digits, RULES["map"], "product sa0 bit=15 rate=0.05")
    assert before < free - 0.3
    assert after > free - 0.03
    before, after = retuned(digits, RULES["map"], "product sa1 bit=15 rate=0.5")
    assert max(before, after) < 0.3


def test_maps_beat_bypass_where_bits_are_low_and_lose_where_they_are_high(digits):
    low = [retuned(digits, RULES[name], "product sa0 bit=9 rate=0.5")[1]
           for name in ("map", "bypass")]  # fmt: skip
    assert low[0] > low[1]
    high = [retuned(digits, RULES[name], "product sa1 bit=14 rate=0.1")[1]
            for name in ("map", "bypass")]  # fmt: skip
    assert high[1] > high[0]


@pytest.mark.parametrize("seed", range(3))
def test_the_hybrid_leaves_the_network_no_more_loss_than_either(digits, seed):
    """Half of the signs lost: biases that take mean errors off do harm there."""
    _, training = digits
    array = rh.Permanent.parsed("product sa0 bit=15 rate=0.5").drawn(rh.Array(64, 64), EXACT, seed)
    learning = training.with_(array=array)
    losses = {}
    for name in ("map", "bypass", "hybrid"):
        own = RULES[name].fit(learning).retune(learning)
        losses[name] = float(own.task.loss(own.logits(own.images).double(), own.labels))
    assert losses["hybrid"] <= min(losses.values()) + 1e-9


@pytest.mark.parametrize("permanent", ["product sa0 bit=14", "product sa1 bit=15", "weight bit=6"])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_hybrid_is_at_least_as_good_as_either(digits, permanent, rate):
    found = {name: [] for name in RULES}
    for seed in range(3):
        for name, rule in RULES.items():
            found[name].append(retuned(digits, rule, f"{permanent} rate={rate}", seed)[1])
    mean = {name: np.mean(values) for name, values in found.items()}
    assert mean["hybrid"] >= max(mean["map"], mean["bypass"]) - 0.01
    assert mean["placed"] >= mean["hybrid"] - 0.02


@pytest.mark.parametrize(
    "permanent", ["product sa1 bit=15 rate=0.01", "product sa0 bit=13 rate=0.1"]
)
def test_placing_alone_halves_the_loss(digits, permanent):
    free = accuracy(digits[0])
    found = [
        retuned(digits, rh.Retune(rh.Keep(), remap=True), permanent, seed) for seed in range(3)
    ]
    before, after = np.mean(found, axis=0)
    assert before < free - 0.03
    assert free - after < 0.5 * (free - before)


@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_stuck_sums_are_passed_by(digits, rate):
    """No weight mends them: all are passed by, and the hybrid takes the mean error off, too."""
    permanent, free = f"psum sa1 bit=18 rate={rate}", accuracy(digits[0])
    before, after = retuned(digits, RULES["bypass"], permanent)
    assert before < 0.5
    assert after > free - 0.15
    work, _ = digits
    chip = work.with_(array=rh.Permanent.parsed(permanent).drawn(rh.Array(64, 64), EXACT, 0))
    places = tuple(sorted({(one.row, one.col) for one in chip.arithmetic[0].own.array.defects}))
    by_hand = work.with_(array=replace(chip.arithmetic[0].own.array, bypassed=places))
    assert accuracy(by_hand) == after
    assert retuned(digits, RULES["hybrid"], permanent)[1] >= max(after, free - 0.05)


@pytest.mark.parametrize("bit", [3, 9, 12])
def test_variances_of_stuck_sums(digits, bit):
    """Against the sums of the array themselves, for one element of a layer of one tile."""
    work, _ = digits
    array = rh.Array(64, 64, defects=(rh.Defect(40, 7, "psum", 1, bit),))
    chip, own = (work.with_(multiplier=EXACT, array=one) for one in (array, rh.Array(64, 64)))
    x = work.operands(0, lambda _: work.images)[0]
    held = held_by(chip, 0, chip.arithmetic[0].operand(x))
    (found,) = {value for value in of_stuck_sums(held) if value}
    sums = [
        how.sums(whole(one.layers[0], how), how.operand(x), one.parameters[0])[:, 7]
        for one in (chip, own)
        for how in one.arithmetic[:1]
    ]
    error = (sums[0] - sums[1]).double()
    assert found == pytest.approx(float(error.var()), rel=0.6, abs=2.0)


def test_training_improves_what_is_left(digits):
    rule = replace(RULES["bypass"], epochs=2)
    _, plain = retuned(digits, RULES["bypass"], "product sa1 bit=15 rate=0.5")
    _, trained = retuned(digits, rule, "product sa1 bit=15 rate=0.5")
    assert trained > plain + 0.05


def test_multipliers_alone_are_tuned_to(digits):
    coarse = rh.multiplier_named("mul8s_1L1G@v1")
    chip, learning = (w.with_(multiplier=coarse, array=rh.Array(64, 64)) for w in digits)
    tuned = rh.Retune(rh.Hybrid(healthy=True)).fit(learning).retune(chip)
    wanted = digits[0].logits(chip.images)
    before, after = ((w.logits(w.images) - wanted).abs().mean() for w in (chip, tuned))
    assert after < 0.7 * before
    plain = rh.Retune().fit(learning).retune(chip)
    assert torch.equal(plain.weight(0), chip.weight(0))


def test_convolutions_and_groups_are_retuned():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2, bias=False),
        nn.ReLU(), nn.Flatten(), nn.Linear(6 * 25, 5),
    )  # fmt: skip
    work = rh.capture(model, torch.randn(40, 2, 7, 7), torch.arange(40) % 5, rh.INT8)
    array = rh.Permanent.parsed("product sa1 bit=14 rate=0.2").drawn(rh.Array(8, 4))
    chip = work.with_(array=array)
    wanted = work.logits(work.images)
    gaps = {"none": (chip.logits(work.images) - wanted).abs().mean()}
    for name, rule in RULES.items():
        own = rule.fit(chip).retune(chip)
        gaps[name] = (own.logits(work.images) - wanted).abs().mean()
    assert gaps["hybrid"] < 0.5 * gaps["none"]
    assert gaps["placed"] < 0.5 * gaps["none"]


def test_campaigns_take_it_as_a_protection(digits):
    work, training = digits
    array = rh.Permanent.parsed("product sa0 bit=15 rate=0.05").drawn(rh.Array(64, 64))
    rule = RULES["placed"].fit(training.with_(array=array))
    few = work.with_(work.images[:40], work.labels[:40]).with_(array=array)
    plain = rh.Campaign(few, rh.chips.SOFTWARE, rh.Importance()).run(until=100)
    safe = rh.Campaign(few, rh.chips.SOFTWARE, rh.Importance(), protections=(rule,)).run(until=100)
    assert safe.golden_accuracy > plain.golden_accuracy + 0.2


def brute_force(held, slope, rows, cols):
    """The least that any placing loses, by trying them all."""
    from itertools import permutations

    slots = -(-len(held.codes) // rows) * rows, -(-held.codes.shape[1] // cols) * cols
    matter = held.weights[held.codes].astype(float) ** 2 * held.spread * slope.numpy()
    best = np.inf
    for terms in permutations(range(slots[0]), len(matter)):
        for columns in permutations(range(slots[1]), matter.shape[1]):
            hit = held.broken[np.ix_(np.array(terms) % rows, np.array(columns) % cols)]
            best = min(best, float((matter * hit).sum()))
    return best


def test_places_are_nearly_the_best_there_are():
    random = torch.Generator().manual_seed(0)
    for trial in range(2):
        torch.manual_seed(trial)
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
        work = rh.capture(model, torch.rand(9, 1, 2, 2, generator=random), torch.arange(9) % 4,
                          rh.INT8)  # fmt: skip
        array = rh.Permanent.parsed("product sa1 bit=14 count=2").drawn(rh.Array(3, 3), seed=trial)
        chip = work.with_(array=array)
        how = chip.arithmetic[0]
        held = held_by(chip, 0, how.operand(chip.images.flatten(1)))
        slope = torch.rand(4, generator=random).double()
        placing = least_hurt(chip.layers[0], held, slope)
        matter = held.weights[held.codes].astype(float) ** 2 * held.spread * slope.numpy()
        at = np.ix_(np.array(placing.terms) % 3, np.array(placing.channels) % 3)
        found = float((matter * held.broken[at]).sum())
        plain = np.ix_(np.arange(4) % 3, np.arange(4) % 3)
        best = brute_force(held, slope, 3, 3)
        assert found <= best + 0.25 * (float((matter * held.broken[plain]).sum()) - best) + 1e-9


@dataclass(frozen=True, slots=True)
class Zero(Rule):
    """A rule of one's own."""

    @property
    def compensates(self) -> bool:
        return False

    def chosen(self, held: Held) -> Chosen:
        return Chosen(np.zeros_like(held.codes), np.zeros(0, np.int64))


def test_rules_of_ones_own_are_taken(digits):
    chip = digits[1].with_(array=rh.Array(8, 8))
    own = rh.Retune(Zero()).fit(chip).retune(chip)
    assert not own.weight(0).any()


def test_what_can_not_be_retuned_is_refused(digits):
    work, _ = digits
    with pytest.raises(ValueError, match="runs on no array"):
        rh.Retune().fit(work)
    faulty = rh.Array(4, 4, "os", (rh.Defect(0, 0, "product", 1, 3),))
    with pytest.raises(ValueError, match="use a weight-stationary array"):
        rh.Retune().fit(work.with_(array=faulty))


def test_modules_have_all_that_was_learned(digits):
    array = rh.Permanent.parsed("product sa1 bit=14 rate=0.1").drawn(rh.Array(64, 64))
    chip, learning = (work.with_(array=array) for work in digits)
    for rule in (RULES["hybrid"], RULES["placed"]):
        own = rule.fit(learning)
        wanted = own.retune(chip).logits(chip.images[:50])
        for module in (rh.harden(chip, [own]), rh.harden(own.retune(chip), [])):
            assert torch.equal(module(chip.images[:50]), wanted)


def test_what_was_learned_is_not_lost_without_a_word(digits):
    array = rh.Permanent.parsed("product sa1 bit=14 rate=0.1").drawn(rh.Array(64, 64))
    chip, learning = (work.with_(array=array) for work in digits)
    own = RULES["hybrid"].fit(learning)
    for change in ({"format": rh.INT8}, {"array": array}, {"multiplier": EXACT}):
        with pytest.raises(ValueError, match="has weights of its own in memory"):
            own.retune(chip).with_(**change)
    assert len(own.retune(chip).with_(chip.images[:3], chip.labels[:3]).images) == 3
    with pytest.raises(ValueError, match="is for another network or array"):
        own.retune(digits[0].with_(array=rh.Array(8, 8)))
    with pytest.raises(TypeError, match="rule 'hybrid' is none"):
        rh.Retune("hybrid")
    with pytest.raises(ValueError, match="-1 epochs"):
        rh.Retune(epochs=-1)
    one = learning.with_(learning.images[:1], learning.labels[:1])
    with pytest.raises(ValueError, match="1 images are too few"):
        rh.Retune(epochs=1).fit(one)


def test_products_of_activations_do_not_stop_it():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.ask, self.tell = nn.Linear(4, 4), nn.Linear(4, 4)
            self.last = nn.Linear(12, 3)

        def forward(self, x):
            return self.last((torch.bmm(self.ask(x), self.tell(x).transpose(1, 2)) @ x).flatten(1))

    torch.manual_seed(0)
    work = rh.capture(Attending(), torch.randn(20, 3, 4), torch.arange(20) % 3, rh.INT8)
    array = rh.Permanent.parsed("product sa1 bit=14 rate=0.1").drawn(rh.Array(8, 8))
    names = [layer.name for layer, given in zip(work.layers, work.parameters, strict=True) if given]
    chip = work.with_(array=dict.fromkeys(names, array))
    own = RULES["placed"].fit(chip)
    assert own.learned
    gaps = [float((w.logits(w.images) - work.logits(w.images)).abs().mean())
            for w in (chip, own.retune(chip))]  # fmt: skip
    assert gaps[1] < gaps[0]


def test_unsigned_codes_are_retuned_as_well(digits):
    work, training = (w.with_(format=rh.UINT8) for w in digits)
    found = {name: [] for name in ("none", "bypass", "hybrid", "map")}
    unsigned = rh.multiplier_named("mul8u_exact")
    for seed in range(3):
        array = rh.Permanent.parsed("product sa0 bit=14 rate=0.1").drawn(
            rh.Array(64, 64), seed=seed
        )
        chip, learning = (w.with_(multiplier=unsigned, array=array) for w in (work, training))
        found["none"].append(accuracy(chip))
        for name in ("bypass", "hybrid", "map"):
            found[name].append(accuracy(RULES[name].fit(learning).retune(chip)))
    mean = {name: np.mean(values) for name, values in found.items()}
    assert mean["hybrid"] >= max(mean.values()) - 0.01
    assert mean["hybrid"] > mean["none"]


def shadowed(chip, slopes):
    """Slopes of a loss by input, weight and bias of the first layer, in training; its output."""
    shadow = Shadow(chip, 0, rh.Retune(rh.Keep()).fit(chip).learned.tensors[0], slopes)
    how = chip.arithmetic[0]
    x = (how.operand(chip.images[:8]) * how.input.scales(chip.images)).float().requires_grad_()
    found = shadow.run(x)
    (found * torch.linspace(-1, 2, found.numel()).view(found.shape)).sum().backward()
    return x.grad, shadow.weight.grad, shadow.bias.grad, found.detach()


def alike(one, other):
    return torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize(
    ("fmt", "multiplier"), [("int8-channel", "mul8s_exact"), ("uint8", "mul8u_exact")]
)
@pytest.mark.parametrize("linear", [False, True])
def test_slopes_by_tables_of_exact_products_are_straight_through(fmt, multiplier, linear):
    torch.manual_seed(0)
    first = nn.Linear(5, 6) if linear else nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    model = nn.Sequential(first, nn.Flatten(), nn.LazyLinear(5))
    model(torch.zeros(1, 4, 5, 5))
    work = rh.capture(
        model.eval(), torch.randn(20, 4, 5, 5), torch.arange(20) % 5, rh.format_named(fmt)
    )
    chip = work.with_(multiplier=rh.multiplier_named(multiplier), array=rh.Array(8, 4))
    straight, tables = (shadowed(chip, how) for how in (rh.StraightThrough(), rh.TableSlopes(5)))
    assert all(map(alike, tables, straight))


def test_slopes_by_tables_of_a_truncated_multiplier_by_hand():
    """Its products grow by four weights at every fourth input: those next to these have half."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    work = rh.capture(model, torch.randn(20, 6), torch.arange(20) % 3, rh.INT8)
    coarse = rh.multiplier_named("mul8s_array:a=2")
    chip = work.with_(multiplier=coarse, array=rh.Array(8, 4))
    straight, tables = (shadowed(chip, how) for how in (rh.StraightThrough(), rh.TableSlopes(0)))
    codes = chip.arithmetic[0].operand(chip.images[:8])
    factor = torch.tensor([2.0, 0, 0, 2])[codes.long() % 4]
    inside = codes.abs() < 127
    assert alike(tables[0][inside], (straight[0] * factor)[inside])
    assert alike(tables[3], straight[3])
    kept = (codes // 4 * 4).float() * chip.arithmetic[0].input.scales(codes).float()
    ahead = torch.linspace(-1, 2, 32).view(8, 4)
    assert alike(tables[1], ahead.T @ kept)


def test_training_by_tables_improves_a_coarse_multiplier(digits):
    coarse = rh.multiplier_named("mul8s_1KR3@v1")
    chip, learning = (w.with_(multiplier=coarse, array=rh.Array(64, 64)) for w in digits)
    plain = accuracy(rh.Retune(rh.Keep()).fit(learning).retune(chip))
    rule = rh.Retune(rh.Keep(), epochs=2, slopes=rh.TableSlopes())
    assert accuracy(rule.fit(learning).retune(chip)) > plain + 0.1


def test_slopes_that_can_t_be(digits):
    with pytest.raises(TypeError, match="slopes 'tables' are none"):
        rh.Retune(slopes="tables")
    with pytest.raises(ValueError, match="-1 operands can't be"):
        rh.TableSlopes(-1)
    rule = rh.Retune(epochs=1, slopes=rh.TableSlopes(127))
    with pytest.raises(ValueError, match="of 256 use 0 to 126"):
        rule.fit(digits[1].with_(array=rh.Array(8, 8)))


def test_an_array_is_told_whole_biases_and_what_was_added_to_them(digits):
    chip = digits[1].with_(array=rh.Array(16, 16, defects=(rh.Defect(0, 0, "product", 1, 14),)))
    fitted = rh.Retune().fit(chip)
    tuned, told = fitted.retune(chip), fitted.on_array(chip)
    for number, layer in enumerate(chip.layers):
        bias = chip.arithmetic[number].bias
        before, after = (bias(work.parameters[number]).reshape(-1) for work in (chip, tuned))
        own = told[layer.name]
        assert own["biases"] == after.tolist()
        assert own["added"] == (after - before).tolist()
    assert any(any(one["added"]) for one in told.values())
