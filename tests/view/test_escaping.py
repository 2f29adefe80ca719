"""Pages show what users name as it is written, make nothing of it, and load nothing."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import radhard as rh
from radhard.faults.fault import Faults

#: Names of layers that are markup to a browser, or to what draws figures.
NAMES = (
    "<a href='http://x/'>y</a>",
    "<img src=x onerror=alert(1)>",
    "a </script><script>",
    "%{x} z",
)


@pytest.fixture
def campaign() -> rh.Campaign:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten())
    for k, name in enumerate(NAMES):
        model.add_module(name, nn.Linear(16 if k == 0 else 8, 8))
        model.add_module(f"r{k}", nn.ReLU())
    images = torch.rand(6, 1, 4, 4)
    work = rh.capture(model.eval(), images, torch.arange(6) % 5, format=rh.FLOAT16, name="<b>x</b>")
    return rh.Campaign(work, name="it")


def test_names_are_no_markup(campaign: rh.Campaign, tmp_path: Path) -> None:
    about = {"data": "<a href='http://x/'>data</a>", "model": "<script>"}
    next(rh.collect([campaign], 2000, tmp_path, about=about))
    page = rh.report(tmp_path).read_text()
    library = max(re.findall(r"<script.*?</script>", page, re.S), key=len)
    own = page.replace(library, "")
    for name in NAMES[:3]:
        assert name not in own
        assert name.replace("<", "\\u003c") not in own  # as figures have it
    assert "&lt;a href" in own
    for loaded in (r"<script[^>]*\ssrc", r"<link\b", r"<img\b", r"<iframe\b", r"@import", r"url\("):
        assert not re.search(loaded, own), loaded
    assert not re.search(r"""(?:href|src)=["']?(?!#)""", re.sub(r"&lt;[^<]*", "", own))


def test_names_with_blanks_come_back_from_a_fault_list(campaign: rh.Campaign) -> None:
    space = campaign.space()
    faults = campaign.draw(space, 0, 100)
    found = Faults.from_text(faults.to_text(space), space)
    for name in ("id", "stratum", "index", "image", "weight"):
        assert (getattr(found, name) == getattr(faults, name)).all()
    line = faults.to_text(space).splitlines()[1].split()
    for weight in ("nan", "inf", "-1", "1e400"):
        with pytest.raises(ValueError, match=r"line 1 of .* use a number of 0 or more"):
            Faults.from_text(" ".join([*line[:-1], weight]), space)
    for number in ("-1", str(1 << 63), "nan"):
        with pytest.raises(ValueError, match="line 1 of the fault list"):
            Faults.from_text(" ".join([number, *line[1:]]), space)
