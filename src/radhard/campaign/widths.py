"""A network in any widths that are asked for, in this process or another."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from radhard.campaign.ask import Ask
from radhard.campaign.prepare import FITTED, LEARNED, captured, doubts_of, training_of
from radhard.formats.catalogue import FLOAT32
from radhard.network.archive import program_in
from radhard.network.aware import LearnedSteps
from radhard.network.capture import capture
from radhard.network.clip import LeastSquares
from radhard.network.pairs import hashed
from radhard.network.quantisation import Quantisation
from radhard.network.quantise import quantise
from radhard.network.quantised import formats_in, save
from radhard.network.source import subject
from radhard.network.workload import Workload


class Widths:
    """Makes a network in any widths, as `Quantisation.parse` reads them.

    ``+1`` behind them is a bit of headroom in activations, ``qat`` before them training with codes
    in the loop. Called with widths, it gives the network with test images, and with the training
    images that ranges were learned from; a network of the user's own has its own images alone. It
    can be pickled: elsewhere the network is loaded anew.

    Args:
        ask: which network and data; test images at hand are as of `prepare`.
        folder: in which trained ones are kept.
        power_of_two: whether scales are powers of two.
        trust: whether a ``.pt2`` file may run code while it is loaded.
    """

    def __init__(
        self, ask: Ask, folder: Path, power_of_two: bool = False, trust: bool = False
    ) -> None:
        self.ask, self.folder, self.power_of_two, self.trust = ask, folder, power_of_two, trust
        self._loaded: tuple[Workload, tuple[torch.Tensor, torch.Tensor], tuple[str, ...]] | None
        self._loaded = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def __call__(self, words: str) -> tuple[Workload, Workload]:
        """The network in these widths.

        Raises:
            ValueError, FileNotFoundError: as `prepare`, and for widths that can't be read.
        """
        work, pairs, _ = self._network()
        bits, _, headroom = words.removeprefix("qat").partition("+")
        if not bits or (headroom and not headroom.isdecimal()):
            raise ValueError(f"bits {words!r} can't be read: use 8, w4a8, 8+1 for headroom, qat4")
        plan = Quantisation.parse(bits)
        plan = replace(plan, headroom=int(headroom or 0), power_of_two=self.power_of_two)
        seen = pairs[0][-LEARNED:], pairs[1][-LEARNED:]
        if words.startswith("qat"):
            found = _trained(work, plan, pairs, self.folder)
            return found, found.with_(*seen)
        found = quantise(work, plan, *seen)
        return found, found.with_(*seen)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell before any result."""
        return self._network()[2]

    def _network(self) -> tuple[Workload, tuple[torch.Tensor, torch.Tensor], tuple[str, ...]]:
        """In real numbers, with images and labels of training, and notes."""
        if self._loaded is None:
            ask = self.ask
            whole = subject(ask.model, ask.data, ask.weights, how=ask.reading(), trust=self.trust)
            work = captured(whole, ask, FLOAT32)
            pairs, notes = (work.images, work.labels), list(whole.notes)
            if (training := training_of(ask, LEARNED)) is not None:
                pairs = training
            else:
                notes.append("ranges are learned from images that the network is judged on")
            self._loaded = work, pairs, (*notes, *doubts_of(work, whole))
        return self._loaded


def _trained(
    work: Workload, plan: Quantisation, pairs: tuple[torch.Tensor, torch.Tensor], folder: Path
) -> Workload:
    """Trained with codes in the loop, or as it was kept when that was done."""
    training = LearnedSteps()
    about = f"{work.fingerprint()} {plan} {training} {hashed(*pairs)}"
    path = folder / f"{sha256(about.encode()).hexdigest()[:16]}.pt2"
    if not path.is_file():
        plan = replace(plan, clip=LeastSquares())
        save(quantise(work, plan, *pairs, training), path)
    formats = formats_in(path)
    assert formats is not None
    fitted = work.images[:FITTED]
    return capture(program_in(path), work.images, work.labels, formats, work.name, None, fitted)
