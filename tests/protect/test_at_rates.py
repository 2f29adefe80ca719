"""Errors at a rate: what campaigns say of single ones, and what codes make of words."""

import numpy as np
import pytest
import torch

import radhard as rh
from radhard.engine.noisy import run_noisy, with_wrong_weights
from radhard.faults.rate import NeuronErrors, WeightErrors, Words
from radhard.network.stored import with_stored
from radhard.protect.checksum import Checksum
from radhard.protect.gradient import Gate, NeuronGradientSuppressor
from radhard.protect.protection import joined
from radhard.protect.tap import Tap

FORMATS = [rh.FLOAT32, rh.FLOAT16, rh.BFLOAT16, rh.INT8, rh.UINT8, rh.FIXED16_10]


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.name)
@pytest.mark.parametrize("which", ["row checksum", "both", "oracle"])
def test_single_wrong_weights_are_seen_alike(residual, images, labels, fmt, which: str) -> None:
    """In whole runs with a wrong weight, and in campaigns: flips of the upper bits of each weight.

    In floats lower ones may be lost in rounding, by the one way to add up or by the other.
    """
    work = rh.capture(residual, images, labels, format=fmt)
    plain = NeuronGradientSuppressor(tap=Tap.OUTPUT).learned(work)
    guards = {
        "row checksum": Checksum(),
        "both": Checksum(channels=True),
        "oracle": plain.gated(Gate.ORACLE, work),
    }
    guard = joined([guards[which]], work)
    space = rh.software_space(work, ("weight",))
    space = space.only(np.array([stratum.bit >= fmt.width // 2 for stratum in space.strata]))
    faults = rh.Uniform().draw(space, 40, np.random.default_rng(5))
    corruption = rh.chips.SOFTWARE.corrupt(work, space, faults)
    found = rh.resume(rh.record(work, guard), corruption).detected
    seen = []
    for k, image in enumerate(faults.image.tolist()):
        number = int(corruption.layer[k])
        fmt_, weight = work.arithmetic[number].weight, work.weight(number).clone()
        code = fmt_.encode(weight).reshape(-1)
        element = int(corruption.element[k])
        code[element] = (code[element] & int(corruption.keep[k])) ^ int(corruption.flip[k])
        wrong = with_stored(work, {number: fmt_.decode(code.view(weight.shape)).to(weight)})
        one = wrong.with_(images[image : image + 1], labels[image : image + 1])
        run = run_noisy(one, NeuronErrors(0.0), {}, (0, 0), guard, work)
        seen.append(bool(run.detected[0]))
    assert found.tolist() == seen
    assert np.mean(seen) > 0.2


def words(rate: float, width: int = 8, count: int = 4000, seed: int = 0) -> Words:
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 1 << width, count)
    flips = (rng.random((count, width)) < rate) @ (1 << np.arange(width))
    return Words(before, before ^ flips, width, rate, np.random.default_rng(seed + 1))


@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.02, 0.2])
def test_codes_make_of_words_what_they_make_of_their_bits(rate: float) -> None:
    """Word by word; bits that a code adds are as often wrong as others."""
    given, again = words(rate), words(rate)
    read = rh.SECDED().read(given)
    added = again.wrong_of(5)
    assert added.mean() == pytest.approx(5 * rate, abs=0.02)
    for k in range(len(given.before)):
        wrong = bin(int(given.before[k] ^ given.after[k])).count("1") + int(added[k])
        expected = given.before[k] if wrong <= 2 else given.after[k]
        assert read.codes[k] == expected
    assert read.alarm == bool((again.wrong + added == 2).any())
    given, again = words(rate), words(rate)
    read, added = rh.Parity().read(given), again.wrong_of(1)
    odd = (again.wrong + added) % 2 == 1
    assert (read.codes == np.where(odd, again.before, again.after)).all()
    assert read.alarm == bool(odd.any())


def test_three_copies_vote_bit_by_bit() -> None:
    given, again = words(0.1), words(0.1)
    read = rh.BitTriplication((7, 2)).read(given)
    copies = [again.before ^ again.flips() for _ in range(2)]
    for k in range(len(given.before)):
        expected = 0
        for bit in range(8):
            held = [int(word[k]) >> bit & 1 for word in (given.after, *copies)]
            expected |= (sorted(held)[1] if bit in {7, 2} else held[0]) << bit
        assert read.codes[k] == expected
    assert not read.alarm


def test_signatures_are_of_groups_of_words() -> None:
    given = words(0.05, count=300)
    read, size = rh.WeightSignature(8).read(given), -(-300 // 8)
    lost = rh.WeightSignature(8, zero=True).read(given)
    for first in range(size):
        members = np.arange(first, 300, size)
        sums = [
            sum(int(w) - 256 * (int(w) > 127) for w in codes[members]) >> 7 & 3
            for codes in (given.before, given.after)
        ]
        wrong = sums[0] != sums[1]
        assert (read.codes[members] == (given.before if wrong else given.after)[members]).all()
        assert (lost.codes[members] == (0 if wrong else given.after[members])).all()
    assert read.alarm


@pytest.fixture(scope="module")
def work(residual, images, labels):
    return rh.capture(residual, images, labels, format=rh.INT8)


def test_a_code_leaves_what_it_leaves_of_a_network(work) -> None:
    """At a rate of one wrong bit in many words all is restored; data bits are those of no code."""
    bare = with_wrong_weights(work, WeightErrors(2e-3), (0, 0))
    mended = with_wrong_weights(work, WeightErrors(2e-3), (0, 0), None, rh.SECDED().read)
    none = with_wrong_weights(work, WeightErrors(2e-3), (0, 0), None, w_as_is)
    for number in range(len(work.layers)):
        assert torch.equal(mended.weight(number), work.weight(number))
        assert torch.equal(none.weight(number), bare.weight(number))
    found = rh.under_errors(work, rh.WeightErrors(2e-3), [rh.SECDED(("weight",))], 4)
    clean = rh.under_errors(work, rh.WeightErrors(0.0), [], 4)
    assert np.array_equal(found.correct, clean.correct)
    alarmed = rh.under_errors(work, rh.WeightErrors(2e-3), [rh.Parity()], 4)
    assert alarmed.detected.all()


def w_as_is(given: Words):  # type: ignore[no-untyped-def]
    from radhard.faults.rate import Read

    return Read(given.after, False)


@pytest.mark.parametrize(
    ("protection", "errors", "message"),
    [
        (rh.SECDED(), rh.NeuronErrors(0.1), "SECDED can't be asked about errors of neurons"),
        (rh.Redundancy(3), rh.NeuronErrors(0.1), "Redundancy can't be asked"),
        (rh.Redundancy(3), rh.WeightErrors(0.1), "copies of a computation read the same wrong"),
        (rh.HardenedLatches(target=10.0), rh.WeightErrors(0.1), "HardenedLatches can't be asked"),
        (rh.Parity(("activation",)), rh.WeightErrors(0.1), "Parity of activation can't be asked"),
    ],
    ids=str,
)
def test_what_has_no_say_is_refused(work, protection, errors, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rh.under_errors(work, errors, [protection])
