"""How a neural network behaves when the hardware that runs it is struck by faults.

>>> import torch, radhard as rh
>>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
>>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]), format=rh.FLOAT16)
>>> result = rh.Campaign(work, rh.chips.SOFTWARE).run(until=200)
>>> result["sdc1"].n
200
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radhard.accel import chips
    from radhard.accel.chip import Accelerator
    from radhard.arith.array import Array, Defect
    from radhard.arith.multiplier import Errors, Multiplier
    from radhard.arith.multipliers import multiplier_named, multipliers
    from radhard.arith.netlist import Netlist, read_netlist
    from radhard.arith.tabulated import Tabulated, read_table
    from radhard.campaign.campaign import Campaign
    from radhard.campaign.chips import Chips, UnderDefects, under_defects
    from radhard.campaign.collect import collect
    from radhard.campaign.difference import Compared, Difference, compare
    from radhard.campaign.follow import Propagation, follow
    from radhard.campaign.rates import UnderErrors, under_errors
    from radhard.campaign.result import Result
    from radhard.campaign.store import StoreError
    from radhard.campaign.union import merge
    from radhard.engine.device import device_named
    from radhard.engine.guard import Guard, Sight, StepGuard
    from radhard.engine.resume import resume
    from radhard.engine.trace import record
    from radhard.faults.corruption import Corruption
    from radhard.faults.fault import Faults
    from radhard.faults.model import (
        BitFlip,
        Burst,
        FaultModel,
        MultiBitFlip,
        RandomValue,
        StuckAt,
    )
    from radhard.faults.permanent import Permanent
    from radhard.faults.rate import NeuronErrors, WeightErrors
    from radhard.faults.space import SiteSpace, software_space
    from radhard.formats.catalogue import (
        BFLOAT16,
        FIXED8,
        FIXED16,
        FIXED16_10,
        FIXED32_10,
        FIXED32_26,
        FLOAT8_E4M3,
        FLOAT8_E5M2,
        FLOAT16,
        FLOAT32,
        FLOAT64,
        INT4,
        INT4_CHANNEL,
        INT8,
        INT8_CHANNEL,
        INT8_ONNX,
        INT16,
        UINT4,
        UINT8,
        format_named,
    )
    from radhard.formats.fixed import FixedFormat
    from radhard.formats.floating import FloatFormat
    from radhard.formats.integer import IntegerFormat
    from radhard.formats.number import NumberFormat
    from radhard.network.arithmetic import Arithmetic, Datapath, Parameters
    from radhard.network.aware import LearnedSteps
    from radhard.network.capture import capture
    from radhard.network.clip import LeastSquares, MinMax, Percentile
    from radhard.network.format import Formats, LayerFormats
    from radhard.network.layout import CaptureError
    from radhard.network.quantisation import Bits, Quantisation
    from radhard.network.quantise import quantise
    from radhard.network.quantised import save
    from radhard.network.terms import Terms
    from radhard.network.workload import Workload
    from radhard.protect.bound import (
        ClippedActivation,
        RangeRestriction,
        ValueThreshold,
    )
    from radhard.protect.checksum import Checksum
    from radhard.protect.differences import Replacement
    from radhard.protect.gradient import (
        Axis,
        Gate,
        Granularity,
        Neighbours,
        NeuronGradientSuppressor,
        Ordering,
    )
    from radhard.protect.hardening import HardenedLatches, LatchType
    from radhard.protect.median import MedianFeature
    from radhard.protect.module import harden
    from radhard.protect.neuron import BoundedNeuron
    from radhard.protect.protection import Cost, Protection
    from radhard.protect.ranges import RangeDetector
    from radhard.protect.redundancy import Redundancy
    from radhard.protect.retune import Retune
    from radhard.protect.rules import Bypass, Hybrid, Keep, WeightMap
    from radhard.protect.slopes import StraightThrough, TableSlopes
    from radhard.protect.storage import SECDED, BitTriplication, Parity, WeightSignature
    from radhard.protect.tap import Tap
    from radhard.sampling.gradient import GradientImportance
    from radhard.sampling.proposals import (
        BitImportance,
        Importance,
        MacWeighted,
        Stratified,
        Uniform,
    )
    from radhard.sampling.sampler import Sampler, Tilted
    from radhard.search.choose import Choice, choose
    from radhard.search.trial import Goal
    from radhard.stats.estimate import Estimate
    from radhard.stats.stopping import Precision
    from radhard.view.bar import ProgressBar
    from radhard.view.page import report

#: Where each public name lives; the modules are imported when a name is first used.
_ROOMS = {
    "accel.chip": ["Accelerator"],
    "arith.array": ["Array", "Defect"],
    "arith.multiplier": ["Errors", "Multiplier"],
    "arith.multipliers": ["multiplier_named", "multipliers"],
    "arith.netlist": ["Netlist", "read_netlist"],
    "arith.tabulated": ["Tabulated", "read_table"],
    "campaign.campaign": ["Campaign"],
    "campaign.collect": ["collect"],
    "campaign.difference": ["Compared", "Difference", "compare"],
    "campaign.follow": ["Propagation", "follow"],
    "campaign.result": ["Result"],
    "campaign.store": ["StoreError"],
    "campaign.union": ["merge"],
    "engine.device": ["device_named"],
    "engine.guard": ["Guard", "Sight", "StepGuard"],
    "engine.resume": ["resume"],
    "engine.trace": ["record"],
    "faults.corruption": ["Corruption"],
    "faults.fault": ["Faults"],
    "faults.model": [
        "BitFlip",
        "Burst",
        "FaultModel",
        "MultiBitFlip",
        "RandomValue",
        "StuckAt",
    ],
    "faults.space": ["SiteSpace", "software_space"],
    "formats.catalogue": [
        "BFLOAT16",
        "FIXED8",
        "FIXED16",
        "FIXED16_10",
        "FIXED32_10",
        "FIXED32_26",
        "FLOAT8_E4M3",
        "FLOAT8_E5M2",
        "FLOAT16",
        "FLOAT32",
        "FLOAT64",
        "INT4",
        "INT4_CHANNEL",
        "INT8",
        "INT8_CHANNEL",
        "INT8_ONNX",
        "INT16",
        "UINT4",
        "UINT8",
        "format_named",
    ],
    "formats.fixed": ["FixedFormat"],
    "formats.floating": ["FloatFormat"],
    "formats.integer": ["IntegerFormat"],
    "formats.number": ["NumberFormat"],
    "network.arithmetic": ["Arithmetic", "Datapath", "Parameters"],
    "network.format": ["Formats", "LayerFormats"],
    "network.export": ["CaptureError"],
    "network.aware": ["LearnedSteps"],
    "network.capture": ["capture"],
    "network.clip": ["LeastSquares", "MinMax", "Percentile"],
    "network.quantisation": ["Bits", "Quantisation"],
    "network.quantise": ["quantise"],
    "network.quantised": ["save"],
    "network.terms": ["Terms"],
    "network.workload": ["Workload"],
    "protect.hardening": ["HardenedLatches", "LatchType"],
    "protect.ranges": ["RangeDetector"],
    "view.bar": ["ProgressBar"],
    "view.page": ["report"],
    "sampling.gradient": ["GradientImportance"],
    "sampling.proposals": ["BitImportance", "Importance", "MacWeighted", "Stratified", "Uniform"],
    "campaign.chips": ["Chips", "UnderDefects", "under_defects"],
    "campaign.rates": ["UnderErrors", "under_errors"],
    "faults.permanent": ["Permanent"],
    "faults.rate": ["NeuronErrors", "WeightErrors"],
    "protect.bound": ["ClippedActivation", "RangeRestriction", "ValueThreshold"],
    "protect.neuron": ["BoundedNeuron"],
    "protect.checksum": ["Checksum"],
    "protect.differences": ["Replacement"],
    "protect.gradient": [
        "Axis",
        "Gate",
        "Granularity",
        "Neighbours",
        "NeuronGradientSuppressor",
        "Ordering",
    ],
    "protect.median": ["MedianFeature"],
    "protect.module": ["harden"],
    "protect.protection": ["Cost", "Protection"],
    "protect.redundancy": ["Redundancy"],
    "protect.retune": ["Retune"],
    "protect.rules": ["Bypass", "Hybrid", "Keep", "WeightMap"],
    "protect.slopes": ["StraightThrough", "TableSlopes"],
    "protect.storage": ["SECDED", "BitTriplication", "Parity", "WeightSignature"],
    "protect.tap": ["Tap"],
    "sampling.sampler": ["Sampler", "Tilted"],
    "search.choose": ["Choice", "choose"],
    "search.trial": ["Goal"],
    "stats.estimate": ["Estimate"],
    "stats.stopping": ["Precision"],
}
_HOME = {name: f"radhard.{room}" for room, names in _ROOMS.items() for name in names}
#: Public names that are modules themselves.
_MODULES = {"chips": "radhard.accel.chips"}

__all__ = sorted({*_HOME, *_MODULES})  # noqa: PLE0605 - a test holds it equal to the imports above


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _HOME:
        raise AttributeError(f"radhard has no {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
