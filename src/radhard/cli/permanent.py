"""`radhard assess --permanent`: what chips with stuck bits still get right."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radhard.cli.app import Way, plain, show_notes, show_page, stoppable

if TYPE_CHECKING:
    from radhard.campaign.ask import Ask
    from radhard.campaign.chips import UnderDefects

#: Chips, and accuracy that a good one may lose, where nothing is said.
_MAPS, _LOSE = 20, 0.01


def answer_permanent(ask: Ask, permanent: str, way: Way, workers: int) -> None:
    """Run chip after chip, and print tables and the page's path, or a JSON object."""
    from radhard.campaign.chips import under_defects
    from radhard.campaign.prepare import chips_of
    from radhard.engine.memory import keep_freed_memory
    from radhard.faults.permanent import Permanent
    from radhard.view.bar import counted
    from radhard.view.chips import chips_page, show_chips

    points, maps = _LOSE if ask.lose is None else ask.lose, ask.maps or _MAPS
    keep_freed_memory()
    chips, data, notes = chips_of(ask, Permanent.parsed(permanent), way.trust)
    show_notes(notes)
    store = way.out or Path("runs") / f"permanent-{chips.workload.name}-{chips.id[:8]}"
    start = time.perf_counter()
    with stoppable(store), counted("chips") as watch:
        found = under_defects(chips, maps, store, watch, workers)
    if way.json:
        about = {"data": data, "notes": list(notes), "seconds": time.perf_counter() - start}
        print(json.dumps({**_shown(found, points), **about}, allow_nan=False))
    else:
        show_chips(found, points)
    if way.out is not None or not way.json:
        page = chips_page(found, points, store)
        show_page(page, way.json)


def _shown(found: UnderDefects, points: float) -> dict[str, Any]:
    from radhard.arith.multiplier import full_name
    from radhard.view.chips import kinds

    chips, multiplier = found.chips, found.chips.multiplier
    named = multiplier if isinstance(multiplier, Mapping) else {"": multiplier}
    metrics = {
        "accuracy": found.accuracy,
        "golden_accuracy": found.golden_accuracy,
        "exact_accuracy": found.exact_accuracy,
        "sdc1": found.sdc1,
        "loss": found.loss,
        "approximation_loss": found.approximation_loss,
        "yield": found.yield_of(points),
    }
    return {
        "id": chips.id,
        "model": chips.workload.name,
        "format": chips.workload.formats.name,
        "multiplier": {layer: full_name(one) if one else "exact" for layer, one in named.items()},
        "array": chips.array.name,
        "permanent": chips.permanent.name,
        "layers": list(chips.layers),
        "faulty_elements": chips.permanent.faulty(chips.array),
        "chips": len(found.arrays),
        "every_chip": found.every,
        "images": len(found.golden),
        "seed": chips.seed,
        "may_lose": points,
        "metrics": {name: plain(one) for name, one in metrics.items()},
        "losses": found.losses.tolist(),
        "kinds": [{"kind": name, "loss": plain(one)} for name, one in kinds(found).items()],
    }
