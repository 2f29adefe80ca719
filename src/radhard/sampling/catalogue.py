"""Samplers by name."""

from __future__ import annotations

import difflib
from dataclasses import replace

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
    """The sampler of this name, with parameters that differ from the default behind a colon.

    Raises:
        ValueError: for an unknown name or parameter; the message suggests others.

    >>> sampler_named("gradient-importance:candidates=5")
    GradientImportance(candidates=5, least=1e-05, proofs=True)
    """
    known = {sampler.name: sampler for sampler in SAMPLERS}
    own, _, given = name.partition(":")
    if own not in known:
        near = difflib.get_close_matches(own, known, n=2, cutoff=0.3) or list(known)
        raise ValueError(f"no sampler {name!r}: did you mean {', '.join(near)}?")
    if not given:
        return known[own]
    pairs = [pair.partition("=")[::2] for pair in given.split(",")]
    try:
        values = {key.strip(): _number(key.strip(), value.strip()) for key, value in pairs}
        changed: Sampler = replace(known[own], **values)  # type: ignore[type-var]
    except (ValueError, SyntaxError, TypeError) as error:
        raise ValueError(
            f"sampler {name!r}: {error}: give its parameters as in gradient-importance:candidates=5"
        ) from error
    return changed


def _number(key: str, text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ValueError(f"{key} must be a number, not {text!r}")
