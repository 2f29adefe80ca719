"""`radhard rank`: which layers, channels and neurons are vulnerable, without a campaign."""

from __future__ import annotations

import json as text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radhard.cli.app import app, plain, show_notes
from radhard.cli.assess import Grey, Json, Mean, Output, Size, Std, Trust

if TYPE_CHECKING:
    from radhard.foresight.vigor import Vulnerability
    from radhard.network.workload import Workload


@app.command()
def rank(
    model: Annotated[str, typer.Argument(help="As for assess.")],
    data: Annotated[str | None, typer.Option(help="As for assess.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint for a zoo model.")] = None,
    output: Output = None,
    size: Size = None,
    grey: Grey = False,
    mean: Mean = None,
    std: Std = None,
    format: Annotated[
        str | None, typer.Option(help="Number format: radhard list formats; as for assess.")
    ] = None,
    channels: Annotated[
        float, typer.Option(help="Share of the channels of each layer that is looked at.")
    ] = 0.1,
    images: Annotated[int, typer.Option(min=1, help="On which answers may change.")] = 32,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Try each flip of the same neurons, too, on these images and on others."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the random draws.")] = 0,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Rank layers, channels and neurons by how likely a flip of a bit there changes the answer.

    Of a layer's results, any bit and any image alike, as DeepVigor does: the least deviation that
    changes the answer is found by halving, instead of trying each flip.
    """
    from radhard.campaign.ask import validated
    from radhard.campaign.prepare import prepare
    from radhard.foresight.vigor import vulnerability
    from radhard.view.rank import Checked, show_ranks

    fields = {
        "model": model, "data": data, "weights": weights, "output": output, "format": format,
        "size": size, "grey": grey, "mean": mean, "std": std, "seed": seed, "chip": "software",
    }  # fmt: skip
    prepared = prepare(validated(fields, "rank"), trust)
    show_notes(prepared.notes)
    own, other = _apart(prepared.campaign.workload, images, seed, check)
    found = vulnerability(own, channels, seed)
    checked = None
    if other is not None:
        every = [vulnerability(work, channels, seed, every=True) for work in (own, other)]
        checked = Checked.of(found, *every)
    if json:
        print(text.dumps({**_shown(found), **_told(checked)}, allow_nan=False))
        return
    show_ranks(found, own.name, checked)
    print(f"{found.runs:,} runs in {found.seconds:.1f} s", file=sys.stderr)


def _apart(work: Workload, images: int, seed: int, check: bool) -> tuple[Workload, Workload | None]:
    """The network with some images, and with as many others."""
    from radhard.campaign.windows import spread

    drawn = spread(work.labels.cpu().numpy(), seed)
    needed = images * (1 + check)
    if needed > len(drawn):
        raise ValueError(f"{needed} images asked for, but there are {len(drawn)}: use fewer")
    parts = [drawn[:images], drawn[images:needed]]
    own, other = (work.with_(work.images[part], work.labels[part]) if len(part) else None
                  for part in parts)  # fmt: skip
    assert own is not None
    return own, other


def _shown(found: Vulnerability) -> dict[str, Any]:
    names = [found.layers[k] for k in found.layer]
    neurons = zip(names, found.channel, found.element, found.factor, strict=True)
    return {
        "layers": {name: plain(factor) for name, factor in found.by_layer().items()},
        "channels": [
            {"layer": layer, "channel": channel, "factor": factor}
            for (layer, channel), factor in found.by_channel().items()
        ],
        "neurons": [
            {"layer": layer, "channel": int(channel), "element": int(element), "factor": factor}
            for layer, channel, element, factor in neurons
        ],
        "runs": found.runs, "flips": found.flips, "seconds": found.seconds,
    }  # fmt: skip


def _told(checked: Any) -> dict[str, Any]:
    if checked is None:
        return {}
    return {
        "check": {
            "same_images": _rank(checked.same), "other_images": _rank(checked.others),
            "largest_error": checked.error, "runs": checked.runs, "seconds": checked.seconds,
        }
    }  # fmt: skip


def _rank(found: Any) -> dict[str, Any]:
    return {**plain(found), "missing": found.missing or None}
