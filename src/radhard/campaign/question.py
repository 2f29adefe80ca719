"""A question as plain data: what identifies a campaign, and from which it can be asked again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from radhard.campaign.description import Arrays, described
from radhard.campaign.sealed import digest
from radhard.network.arithmetic import Arithmetic
from radhard.network.format import Formats
from radhard.network.workload import Workload

#: Counted up when the same question would get other faults or outcomes than before.
SEMANTICS = 11
#: The same where protections are asked about, for what they see and do.
PROTECTED = 13
#: Those that compute or judge a run, and do not choose its faults.
_WATCHING = {"protections", "criteria", "confidence_of", "engine"}


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """All that decides the answer of a campaign.

    Attributes:
        keys: the data, under the keys of a campaign file.
        arrays: what `keys` refers to by hash.
    """

    keys: dict[str, Any]
    arrays: Arrays = field(default_factory=dict)

    @classmethod
    def of(cls, work: Workload, asked: Mapping[str, Any]) -> Question:
        """What is asked of a network.

        Args:
            work: the network with its images.
            asked: what else decides the answer, under the keys of a campaign file.

        Raises:
            ValueError: naming the first object in it that is no data, and the remedy.
        """
        arrays: Arrays = {}
        weight = work.formats.weight
        alike = Formats.of(weight) == work.formats
        keys = {
            "fingerprint": work.fingerprint(),
            "format": described(weight if alike else work.formats, "format", arrays),
        }
        if work.nan is not None:
            keys["nan"] = work.nan
        if own := _arithmetic(work, arrays):
            keys["arithmetic"] = own
        for name, value in asked.items():
            keys[name] = _top(value, name, arrays)
        return cls(keys, arrays)

    @property
    def id(self) -> str:
        """A hash of the data, 32 hexadecimal digits."""
        return id_of(self.keys)

    @property
    def draws(self) -> str:
        """The same of what decides the faults: nothing that watches them or judges their runs."""
        return id_of({key: part for key, part in self.keys.items() if key not in _WATCHING})


def _arithmetic(work: Workload, arrays: Arrays) -> Any:
    """The data of the datapath of all layers that multiply, or of those of some, by name."""
    for layer, how in zip(work.layers, work.arithmetic, strict=True):
        if type(how) is not Arithmetic:
            raise ValueError(
                f"layer {layer.name} computes by a {type(how).__name__}, of which a store can't "
                "tell: make it a datapath, and give it with with_(arithmetic=...)"
            )
    found = {
        name: described(own, f"arithmetic of {name}", arrays)
        for name, own in sorted(work.datapaths.items())
    }
    own = list(found.values())
    every = len(own) == sum(layer.kind != "embedding" for layer in work.layers)
    return own[0] if own and every and all(one == own[0] for one in own) else found


def id_of(keys: Mapping[str, Any]) -> str:
    """The identity of a question, from its data."""
    return digest({"semantics": semantics_of(keys), **keys})[:32]


def semantics_of(keys: Mapping[str, Any]) -> int:
    """The generation of rules by which a question is answered."""
    return PROTECTED if keys.get("protections") else SEMANTICS


def _top(value: Any, where: str, arrays: Arrays) -> Any:
    """A part of a campaign; a mapping with names, such as criteria, is a plain table."""
    if isinstance(value, Mapping):
        return {str(k): described(v, f"{where}.{k}", arrays) for k, v in sorted(value.items())}
    return described(value, where, arrays)
