"""Samplers by name."""

from __future__ import annotations

import difflib

from radhard.sampling.gradient import GradientImportance
from radhard.sampling.proposals import (
    BitImportance,
    Importance,
    MacWeighted,
    Stratified,
    Uniform,
)
from radhard.sampling.sampler import Sampler

#: With their default settings.
SAMPLERS: tuple[Sampler, ...] = (
    Importance(),
    Uniform(),
    MacWeighted(),
    BitImportance(),
    Stratified(),
    GradientImportance(),
)


def sampler_named(name: str) -> Sampler:
    """The sampler of this name.

    Raises:
        ValueError: for an unknown name; the message suggests others.
    """
    known = {sampler.name: sampler for sampler in SAMPLERS}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.3) or list(known)
        raise ValueError(f"no sampler {name!r}: did you mean {', '.join(near)}?")
    return known[name]
