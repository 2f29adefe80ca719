"""Which images a question is about."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import radhard as rh
from radhard.accel.chipfile import read_chip
from radhard.campaign import ask as asking
from radhard.campaign import prepare as preparing
from radhard.campaign.ask import Ask, asked, validated
from radhard.campaign.prepare import prepare
from radhard.campaign.windows import spread
from radhard.network.data import data_named

OWN = """
import torch
from torch import nn
def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    return model, torch.rand(70, 1, 4, 4), torch.arange(70) % 3
def plain(): return network()[0]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_images.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_all_images_at_hand_are_the_task() -> None:
    labels = data_named("digits").labels
    default = prepare(Ask(model="digits-cnn", seed=3)).campaign
    assert default.images == 64
    assert torch.equal(default.workload.labels, labels)
    whole = prepare(Ask(model="digits-cnn", images="all")).campaign
    assert whole.images == 500
    assert len(whole.windows.images) == 1
    assert whole.workload.fingerprint() == default.workload.fingerprint()
    assert whole.id == rh.Campaign(whole.workload, whole.chip).id


def test_these_images_only_are_drawn_by_the_seed() -> None:
    held = data_named("digits")
    for seed in (0, 5):
        one = prepare(Ask(model="digits-cnn", images=40, target="images", seed=seed)).campaign
        chosen = np.sort(spread(held.labels.numpy(), seed)[:40])
        assert torch.equal(one.workload.images, held.standardised()[chosen])
        assert torch.equal(one.workload.labels, held.labels[chosen])
        assert torch.bincount(one.workload.labels, minlength=10).min() >= 3
        assert len(one.windows.images) == 1
        right = one.network.logits(one.network.images).argmax(1) == one.network.labels
        assert one.golden_accuracy() == pytest.approx(float(right.double().mean()))
    few = prepare(Ask(model="digits-cnn", target="images")).campaign
    assert len(few.workload.images) == 64


@pytest.mark.parametrize("format", ["int8", "fp16"])
def test_the_network_is_the_same_whichever_images_are_struck(format: str) -> None:
    """Formats are fitted to images that depend on neither seed nor number."""
    asks = ({}, {"images": 9, "seed": 8}, {"images": 70, "target": "images", "seed": 1})
    works = [prepare(Ask(model="digits-cnn", format=format, **a)).campaign.workload for a in asks]
    for work in works[1:]:
        for own, other in zip(works[0].extremes, work.extremes, strict=True):
            assert all(map(torch.equal, own, other))
        assert work.arithmetic == works[0].arithmetic or format == "int8"


def test_work_bounds_the_images_at_hand(own: Path, monkeypatch) -> None:
    """As many as the work allows, but some in any case, and all that are asked for."""
    macs = sum(layer.macs for layer in prepare(Ask(model="digits-cnn")).campaign.workload.layers)
    for module in (asking, preparing):
        monkeypatch.setattr(module, "AT_HAND", 80)

    def at_hand(**more: object) -> int:
        return len(prepare(Ask(model="digits-cnn", **more)).campaign.workload.images)

    monkeypatch.setattr(preparing, "_WORK", 200 * macs)
    assert (at_hand(), at_hand(images=300), at_hand(images="all")) == (200, 300, 200)
    monkeypatch.setattr(preparing, "_WORK", 1)
    assert at_hand() == 80
    monkeypatch.setattr(preparing, "_MOST_AT_HAND", 90)
    monkeypatch.setattr(preparing, "_WORK", 1e15)
    assert (at_hand(), at_hand(images=100)) == (90, 100)
    for module in (asking, preparing):
        monkeypatch.setattr(module, "AT_HAND", 3)
    monkeypatch.setattr(preparing, "_WORK", 1)
    own_images = prepare(Ask(model="own_images:network")).campaign.workload.images
    assert len(own_images) == 70


@pytest.mark.parametrize(
    "fields",
    [{}, {"images": 20}, {"images": "all"}, {"images": 20, "target": "images", "seed": 2}],
)
def test_a_store_asks_the_same_again(own: Path, fields: dict) -> None:
    ask = Ask(model="own_images:network", faults=300, chip="software", **fields)
    ready = prepare(ask)
    about = {**ask.as_toml(), "data": ready.data}
    result = next(rh.collect([ready.campaign], ask.budget(), own / "st", about=about))
    (path,) = (own / "st").glob("*/campaign.toml")
    again = prepare(asked(path)).campaign
    assert again.id == ready.campaign.id == result.id
    assert again.run(until=300).ra == result.ra
    assert result.golden.n == (20 if "target" in fields else 70)


def test_a_campaign_of_python_is_asked_again_by_name(own: Path) -> None:
    import importlib

    model, images, labels = importlib.import_module("own_images").network()
    campaign = rh.Campaign(rh.capture(model, images, labels, fit_to=images[:9]), images=30)
    next(rh.collect([campaign], 50, own / "st"))
    (path,) = (own / "st").glob("*/campaign.toml")
    with pytest.raises(ValueError, match="70 images of its own is not the network"):
        prepare(asked(path, "own_images:network"))  # fitted to others
    again = rh.capture(model, images, labels, fit_to=images[:9])
    assert rh.Campaign(again, images=30).id == campaign.id


@pytest.mark.parametrize("images", ["none", "0", -3, 1.5, True, "", [4]])
def test_numbers_of_images(images: object) -> None:
    with pytest.raises(ValueError, match="assess: images: use a number of 1 or more, or all"):
        validated({"model": "digits-cnn", "images": images}, "assess")


def test_more_images_than_there_are() -> None:
    for target in ("task", "images"):
        with pytest.raises(ValueError, match="501 images asked for, but digits has 500: use fewer"):
            prepare(Ask(model="digits-cnn", images="501", target=target))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('model = "digits-cnn"\nfaults = true', "faults: Input should be a valid integer"),
        ('model = "digits-cnn"\nseed = 1.0', "seed: Input should be a valid integer"),
    ],
)
def test_truth_is_no_number(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "campaign.toml").write_text(text)
    with pytest.raises(ValueError, match=said):
        asked(tmp_path / "campaign.toml")


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for read in (asked, read_chip):
        with pytest.raises(ValueError, match=r"pipe\.toml is a folder, a pipe or a device"):
            read(tmp_path / "pipe.toml")


@pytest.mark.parametrize(
    "text",
    [
        'name = "n"\nrows = 99999999999999999999\ncols = 1\ndataflow = "ws"',
        'name = "n"\nrows = 1\ncols = 1\ndataflow = "ws"\n'
        '[[buffer]]\nname = "b"\nholds = "weights-of-layer"\nkib = 1e308',
    ],
)
def test_chips_beyond_measure(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(ValueError, match=r"own\.toml: .*less than or equal"):
        read_chip(tmp_path / "own.toml")


@pytest.mark.parametrize(
    "text", ["a." * 20_000 + "b = 1", "[" + "a." * 500 + "b]", "a = " + "[" * 9999]
)
def test_keys_of_many_parts_do_not_take_long(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ask.toml"
    path.write_text(text)
    start = time.process_time()
    with pytest.raises(ValueError, match=r"ask\.toml can't be read: (a key has more|it is nested)"):
        asked(path)
    assert time.process_time() - start < 2
