"""What identifies a campaign: its data, whatever the process, and code by what it does."""

import importlib
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tomli_w
import torch
from torch import Tensor

import radhard as rh
from radhard.accel.chips import chips
from radhard.campaign.description import described, in_words
from radhard.campaign.rebuild import rebuilt
from radhard.campaign.sealed import digest
from radhard.formats.catalogue import formats
from radhard.protect.catalogue import PROTECTIONS, protection_named
from radhard.sampling.catalogue import SAMPLERS, sampler_named


@pytest.fixture(scope="module")
def campaign(residual, images, labels) -> rh.Campaign:
    return rh.Campaign(rh.capture(residual, images, labels, format=rh.FLOAT16, name="tiny"))


def turned(value: object) -> object:
    """An object that went to TOML and came back."""
    arrays: dict = {}
    data = described(value, "it", arrays)
    read = tomllib.loads(tomli_w.dumps({"it": data}))["it"]
    assert digest(read) == digest(data)
    found = rebuilt(read, "it", arrays)
    assert described(found, "it", {}) == data
    return found


PARTS = [
    *SAMPLERS,
    rh.GradientImportance(candidates=5, least=1e-4),
    rh.Stratified(rates=(0.1, np.float64(0.25).item())),
    *chips(),
    rh.chips.NVDLA_SMALL.with_rates(weight_fetch=2.0),
    rh.chips.Software(("weight",), rate_fit_per_mbit=20.49),
    *(rh.BitFlip(), rh.MultiBitFlip(3), rh.Burst(2), rh.StuckAt(1), rh.RandomValue()),
    *formats(),
    replace(rh.INT8_CHANNEL, scale=(0.1, 3.0), zero=(0, 0)),
    *(protection_named(e.name) for e in PROTECTIONS if e.name not in
      {"BitTriplication", "HardenedLatches"}),
    *(rh.BitTriplication((3, 4), ("weight",)), rh.HardenedLatches(target=10.0)),
    *(rh.NeuronGradientSuppressor(tap=rh.Tap.OUTPUT, gate=rh.Gate.ORACLE), rh.NeuronErrors(0.1)),
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_parts_of_radhard_come_back(part: object) -> None:
    assert turned(part) == part


def test_learned_numbers_come_back(campaign: rh.Campaign) -> None:
    work = campaign.workload
    bounds = (rh.RangeRestriction(0.1), rh.RangeDetector(), rh.ClippedActivation())
    others = (rh.ValueThreshold(), rh.NeuronGradientSuppressor(), rh.BoundedNeuron())
    for fresh in (*bounds, *others):
        learned = fresh.learned(work)
        assert turned(learned) == learned
        assert campaign.with_(protections=[learned]).id != campaign.with_(protections=[fresh]).id


@dataclass(frozen=True)
class Mixed:
    values: dict[tuple[int, str], Tensor]
    none: None = None
    ends: tuple[float, float] = (-np.inf, np.inf)
    number: np.float32 = np.float32(0.1)  # noqa: RUF009


def test_other_plain_fields_come_back() -> None:
    found = turned(Mixed({(1, "a"): torch.arange(6, dtype=torch.int16).reshape(2, 3)}))
    assert found.values[1, "a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found.values[1, "a"].dtype == torch.int16
    assert (found.none, found.ends) == (None, (-np.inf, np.inf))
    assert np.float32(found.number) == np.float32(0.1)


def test_parameters_are_part_of_the_question(campaign: rh.Campaign) -> None:
    asked = [
        campaign,
        campaign.with_(sampler=rh.Importance()),
        campaign.with_(sampler=rh.GradientImportance(candidates=5)),
        campaign.with_(protections=[rh.RangeRestriction()]),
        campaign.with_(protections=[rh.RangeRestriction(cushion=0.1)]),
        campaign.with_(chip=rh.chips.Software(("weight",))),
        campaign.with_(workload=campaign.workload.with_(format=rh.FloatFormat("fp16", 6, 9))),
    ]
    assert len({one.id for one in asked}) == len(asked)


def test_a_question_holds_all_that_is_asked(campaign: rh.Campaign) -> None:
    apart = {"workload", "windows", "network", "question", "id", "name", "model"}
    apart |= {"engine"}  # said only where there is one, so that other questions keep their names
    given = set(rh.Campaign.__dataclass_fields__) - apart
    keys = campaign.question.keys
    assert set(keys) == given | {"fingerprint", "format", "fault_model"}


MODULE = """
import functools
from dataclasses import dataclass
import torch
import radhard as rh
import helping

LIMIT = 0.5

def shift(a, b):
    return (a - b).abs().amax(1)

def moved(logits, golden, labels, *, scale=1.0):
    # a remark
    return shift(logits, golden) * scale > LIMIT + helping.more()

def within(limit):
    def far(logits, golden, labels):
        return shift(logits, golden) > limit
    return far

def loud(logits, golden, labels):
    return shift(logits, golden) > 0.25

softer = functools.wraps(loud)(lambda *given: ~loud(*given))
dressed = functools.wraps(torch.Tensor.size)(lambda *given: loud(*given) & True)

def held(logits, golden, labels):
    return shift(logits, golden) > getattr(held, "limit") + held.more

held.limit, held.more = 0.5, 0.125

def around():
    @functools.wraps(loud)
    def inner(*given):
        return loud(*given)
    return inner

@torch.no_grad()
def quiet(logits, golden, labels):
    return shift(logits, golden) > 0.5

among = lambda logits, golden, labels: logits[:, 0] in {"x", "y", "z"}

def recursive(n):
    return recursive(n - 1) if n else n

@dataclass(frozen=True)
class Halving(rh.Protection):
    bits: tuple = (0,)
    def harden(self, space):
        return rh.BitTriplication(self.bits).harden(space)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Imports a module of the user's, with some of its text replaced."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(old: str = "", new: str = "", helping: str = "def more(): return 0") -> ModuleType:
        assert old in MODULE
        (tmp_path / "asking.py").write_text(MODULE.replace(old, new) if old else MODULE)
        (tmp_path / "helping.py").write_text(helping)
        for name in ("asking", "helping"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module("asking")

    yield load
    for name in ("asking", "helping"):
        sys.modules.pop(name, None)


def of(thing: object) -> str:
    return digest(described(thing, "it", {}))


def test_an_edited_criterion_is_another(own) -> None:
    first = of(own().moved)
    assert of(own().moved) == first
    assert of(own("# a remark", "# another\n").moved) == first
    assert of(own("def within(limit)", "def inside(limit)").moved) == first  # not what it reads
    for old, new in (
        ("* scale >", "* scale <"), ("LIMIT = 0.5", "LIMIT = 0.6"), (".amax(1)", ".amin(1)"),
        ("scale=1.0", "scale=2.0"), ("(logits, golden) * scale", "(golden, logits) * scale"),
    ):  # fmt: skip
        assert of(own(old, new).moved) != first, old
    assert of(own(helping="def more(): return 1").moved) != first


def test_a_library_s_wrapper_hides_no_edit(own) -> None:
    first = of(own().quiet)
    assert of(own().quiet) == first
    assert of(own("golden) > 0.5", "golden) > 0.6").quiet) != first
    assert turned(own().quiet) is sys.modules["asking"].quiet


def test_a_wrapper_is_not_what_it_wraps(own) -> None:
    asking = own()
    for name in ("softer", "dressed", "among"):
        assert turned(getattr(asking, name)) is getattr(asking, name)
    found = [of(getattr(asking, name)) for name in ("loud", "softer", "dressed")]
    assert len(set(found)) == 3
    assert of(own("~loud(*given)", "loud(*given)").softer) != found[1]
    assert of(own("& True", "& False").dressed) != found[2]
    assert of(own("> 0.25", "> 0.26").softer) != found[1]
    with pytest.raises(ValueError, match="put it into a module of its own"):
        turned(own().around())
    asking = own()
    stale, asking.loud = asking.loud, asking.quiet
    with pytest.raises(ValueError, match="it: asking:loud leads to another object"):
        of(stale)


def test_methods_of_data_hold_it(own) -> None:
    text = ("LIMIT = 0.5", "LIMIT = {1: 0.5}.get")
    first = of(own(text[0], text[1]).moved)
    assert of(own(text[0], text[1]).moved) == first
    assert of(own(text[0], "LIMIT = {1: 0.6}.get").moved) != first


def test_attributes_of_a_function_are_what_it_does(own) -> None:
    first = of(own().held)
    assert of(own().held) == first
    assert turned(own().held) is sys.modules["asking"].held
    assert of(own("= 0.5, 0.125", "= 0.6, 0.125").held) != first
    assert of(own("= 0.5, 0.125", "= 0.5, 0.25").held) != first


@pytest.mark.parametrize(
    ("read", "by"),
    [
        ('globals()["LIMIT"]', "globals"),
        ('eval("LIMIT")', "eval"),
        ("getattr(helping, labels)", "getattr"),
        ("getattr(helping, str('li') + 'mit')", "getattr"),
        ("max(map(getattr, [helping], ['limit']))", "getattr"),
        ('vars(helping)["limit"]', "vars"),
        ('helping.__dict__["limit"]', "__dict__"),
        ('moved.__globals__["LIMIT"]', "__globals__"),
        ("(lambda: eval(labels))()", "eval"),
    ],
)
def test_what_looks_names_up_is_refused(own, read: str, by: str) -> None:
    asking = own("LIMIT + helping.more()", read)
    with pytest.raises(ValueError, match=f"it, moved: it looks names up by {by}, so what it reads"):
        of(asking.moved)


def test_attributes_that_are_named_are_followed(own) -> None:
    for read in ('getattr(helping, "limit")', 'getattr(helping, "limit", max(1, 2))',
                 'getattr(globals_of.get("a", helping), "limit")'):  # fmt: skip
        text = ("LIMIT + helping.more()", read.replace("globals_of.get", '{"b": helping}.get'))
        one, other = (of(own(*text, f"limit = {limit}").moved) for limit in (1, 2))
        assert one != other, read


def test_closures_and_partials_are_their_values(own) -> None:
    asking = own()
    assert of(asking.within(1.0)) == of(asking.within(1.0)) != of(asking.within(2.0))
    assert of(partial(asking.moved, scale=2)) != of(partial(asking.moved, scale=3))
    assert of(asking.recursive)
    with pytest.raises(ValueError, match=r"it, .*far, 'limit' around it: an object of builtins"):
        of(asking.within(object()))


def test_an_edited_class_is_another(own) -> None:
    first = of(own().Halving())
    assert of(own().Halving()) == first != of(own().Halving((1,)))
    assert of(own("BitTriplication(self.bits)", "BitTriplication((7,))").Halving()) != first


def test_own_parts_come_back_unless_they_changed(own) -> None:
    asking = own()
    assert turned(asking.moved) is asking.moved
    assert turned(asking.Halving((2,))) == asking.Halving((2,))
    data = [described(part, "it", {}) for part in (asking.moved, asking.Halving())]
    own("LIMIT = 0.5", "LIMIT = 0.6")
    with pytest.raises(ValueError, match="asking:moved is not what it was when this was asked"):
        rebuilt(data[0], "criteria.moved", {})
    assert rebuilt(data[1], "it", {})
    own("BitTriplication(self.bits)", "BitTriplication((7,))")
    with pytest.raises(ValueError, match="asking:Halving is not what it was"):
        rebuilt(data[1], "protections[0]", {})
    with pytest.raises(ValueError, match="put it into a module of its own"):
        rebuilt(described(asking.within(1.0), "it", {}), "criteria.far", {})
    gone = {"function": "nowhere:moved"}
    with pytest.raises(ValueError, match="no module 'nowhere'"):
        rebuilt(gone, "criteria.moved", {})


def test_identity_of_own_parts_is_the_same_in_every_process(own, tmp_path: Path) -> None:
    code = """
    import asking
    from radhard.campaign.description import described
    from radhard.campaign.sealed import digest
    parts = (asking.moved, asking.among, asking.within(1.0), asking.Halving())
    print(digest(described(parts, "it", {})))
    """
    asking = own()
    here = of((asking.moved, asking.among, asking.within(1.0), asking.Halving()))
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path, text=True)
    assert done.stdout.strip() == here


class Plain:
    """Whose repr is its address."""


@dataclass
class Changing(rh.Protection):
    bits: int = 1


@dataclass(frozen=True)
class Holding:
    part: object
    type: str = ""


class Watching(rh.Protection):
    """A protection without data of its own, but no dataclass."""


NETWORK = torch.nn.Linear(2, 2)


def asks_a_network(logits: Tensor, golden: Tensor, labels: Tensor) -> Tensor:
    return NETWORK(logits).isnan().any(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protections": [Watching()]}, r"protections\[0\]: an object of .*Watching can't be told"),
        ({"protections": [Changing()]}, r"protections\[0\]: .* make its class @dataclass\(frozen"),
        ({"sampler": rh.Stratified(rates=(0.1, Plain()))}, r"sampler.rates\[1\]: .*Plain can't be"),
        (
            {"sampler": rh.Stratified(rates=(0.1, Holding(1)))},
            "a field can't be called 'type': rename",
        ),
        ({"criteria": {"odd": asks_a_network}}, "criteria.odd, asks_a_network, global 'NETWORK': "),
        ({"criteria": {"odd": NETWORK}}, "criteria.odd: an object of torch.nn.modules.linear.Lin"),
    ],
)
def test_what_is_no_data_is_refused_when_it_is_asked(campaign, changes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rh.Campaign(campaign.workload, name="odd", **{**changes})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"type": "subprocess:Popen", "args": "touch harm"}, "names nothing that can stand here"),
        ({"type": "os:system"}, "names nothing that can stand here"),
        ({"type": "Nothing"}, "use a name of radhard, or module:name"),
        ({"candidates": 5}, "lacks a type"),
        ({"type": "GradientImportance", "candidate": 5}, "it has candidates, least"),
        ({"type": "GradientImportance", "candidates": 1}, "use 2 or more candidates"),
        ({"type": "BitTriplication"}, "BitTriplication needs bits"),
        ({"type": "ValueThreshold", "tap": "nowhere"}, "'nowhere' is not a valid Tap"),
        ({"type": "Tensor", "sha256": "0"}, "copy tensors.npz to where campaign.toml lies"),
    ],
)
def test_data_that_says_nothing_is_refused(data: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rebuilt(data, "it", {})


def test_people_may_leave_defaults_out() -> None:
    assert rebuilt({"type": "RangeRestriction"}, "it", {}) == rh.RangeRestriction()
    found = rebuilt({"type": "ValueThreshold", "tap": "output"}, "it", {})
    assert found == rh.ValueThreshold(tap=rh.Tap.OUTPUT)
    assert of(found) == of(rh.ValueThreshold(tap=rh.Tap.OUTPUT))
    assert sampler_named("gradient-importance:candidates=5") == rh.GradientImportance(5)
    for wrong in ("gradient-importance:candidate=5", "importance:x", "importance:x=__import__"):
        with pytest.raises(ValueError, match="give its parameters as in"):
            sampler_named(wrong)
    with pytest.raises(ValueError, match="BitTriplication needs parameters"):
        protection_named("BitTriplication")


def test_words_name_what_was_chosen(campaign: rh.Campaign) -> None:
    def words(part: object) -> str:
        return in_words(described(part, "it", {}))

    learned = rh.RangeRestriction(0.1).learned(campaign.workload)
    assert words(learned) == "RangeRestriction(cushion=0.1, zero=False, fitted learned)"
    assert words(rh.RangeRestriction(0.1)) == "RangeRestriction(cushion=0.1, zero=False)"
    assert words(rh.Parity(("a", "b"))) == "Parity(components=(a, b))"
    assert words(rh.Parity()) == "Parity"
    assert words(of) == "of"
