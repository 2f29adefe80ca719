"""What guards learn from, and what they say of images without a fault."""

import pytest
import torch
from torch import nn

import radhard as rh
from radhard.campaign.ask import validated
from radhard.campaign.prepare import prepare
from radhard.network.source import subject
from radhard.protect.learn import untaught
from radhard.view.wording import notes_of

OWN = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    return model, torch.randn(40, 1, 4, 4), torch.arange(40) % 3
"""


@pytest.mark.parametrize("kind", ["RangeDetector", "RangeRestriction", "Checksum"])
def test_named_protections_learn_on_training_images(kind: str) -> None:
    fields = {"model": "digits-cnn", "protections": [kind], "images": 8, "format": "fp16"}
    campaign = prepare(validated(fields, "test")).campaign
    (found,) = campaign.protections
    assert not untaught(found)
    training = subject("digits-cnn", train=True)
    work = campaign.workload.with_(training.images[-1000:], training.labels[-1000:])
    assert found == getattr(rh, kind)().learned(work)


def test_networks_without_other_images_are_told(tmp_path, monkeypatch) -> None:
    (tmp_path / "learns_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    fields = {"model": "learns_own:network", "protections": ["RangeDetector", "Parity"]}
    found = prepare(validated(fields, "test"))
    assert untaught(found.campaign.protections[0])
    assert any("RangeDetector learn on the very images" in note for note in found.notes)
    assert not any("Parity" in note for note in found.notes)


def test_answers_have_the_false_alarms_of_their_images(tmp_path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    images, labels = torch.randn(60, 1, 4, 4), torch.arange(60) % 3
    learning = rh.capture(model, images[:20], labels[:20])
    work = learning.with_(images[20:], labels[20:])
    guard = rh.RangeDetector(cushion=0.0).learned(learning)
    (low, high), (least, most) = guard.ranges
    campaign = rh.Campaign(work, protections=(guard,), name="own")
    hidden = model[1](images[20:].flatten(1))
    logits = model(images[20:])
    outside = ((hidden < low) | (hidden > high)).any(1) | ((logits < least) | (logits > most)).any(
        1
    )
    (live,) = rh.collect([campaign], 30, tmp_path)
    expected = float(outside.double().mean())
    assert 0 < expected < 1
    assert live.false_alarms.value == pytest.approx(expected)
    assert live.false_alarms.low < expected < live.false_alarms.high
    assert any(note.startswith("false alarms: ") for note in notes_of(live))
    (again,) = rh.collect([campaign], 30, tmp_path)
    assert again.clean_alarms == live.clean_alarms
    silent = rh.Campaign(work).run(until=20)
    assert silent.clean_alarms == 0
    assert not any("false alarms" in note for note in notes_of(silent))
