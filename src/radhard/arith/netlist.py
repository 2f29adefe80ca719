"""A multiplier by its gates, with nodes that are stuck."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from radhard.arith.multiplier import Integers, Multiplier, check_width
from radhard.arith.verilog import Module, nets_of, read_module


@dataclass(frozen=True, slots=True)
class Netlist(Multiplier):
    """The module of a Verilog file that is no part of another one.

    Its inputs are A and B, and it has one output. Figures of its silicon are those that a file of
    EvoApproxLib has in its comments.

    Attributes:
        verilog: the text of the file: gates, see `radhard.arith.verilog`.
        signed: whether operands and product are in two's complement; a netlist does not say.
        release: of the library that it is from, or empty.
        stuck: nodes, and the 0 or 1 that each of them is stuck at.

    Raises:
        ValueError: where the text can't be read, is no multiplier, or has no such node.

    >>> text = "module tiny(A, B, O); input [1:0] A; input [1:0] B; output [3:0] O; "
    >>> text += "assign O = {1'b0, A[1] & B[1], 1'b0, A[0] & B[0]}; endmodule"
    >>> tiny = Netlist(text)
    >>> tiny.product([1, 2, 3], [3, 3, 1]).tolist()
    [1, 4, 1]
    >>> int(tiny.stuck_at("O[3]", 1).product(0, 0))
    8
    """

    verilog: str = field()
    signed: bool = False
    release: str = ""
    stuck: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        module = self._module()
        ports = {name.lower(): width for name, width in module.inputs.items()}
        widths = [ports.get("a", 0), ports.get("b", 0), *module.outputs.values()]
        if len(ports) != 2 or widths != [widths[0], widths[0], 2 * widths[0]]:
            raise ValueError(
                f"module {module.name} has inputs {dict(module.inputs)} and outputs "
                f"{dict(module.outputs)}: a multiplier has A and B of like width and one output of "
                "twice the width"
            )
        check_width(module.name, widths[0])
        for node, level in self.stuck:
            if node not in module.nodes or level not in (0, 1):
                raise ValueError(
                    f"{module.name}: {node} can't be stuck at {level}: levels are 0 and 1, nodes "
                    f"{', '.join(module.nodes[:20])}, ...: see nodes"
                )

    @property
    def name(self) -> str:
        faults = ",".join(f"{node}={level}" for node, level in self.stuck)
        return ":".join(filter(None, (self._module().name, faults)))

    @property
    def module_name(self) -> str:
        """Of the module, in the file."""
        return self._module().name

    @property
    def ports(self) -> tuple[str, str, str]:
        """Names of A, of B and of the output, in the file."""
        module = self._module()
        a, b = sorted(module.inputs, key=str.lower)
        (out,) = module.outputs
        return a, b, out

    @property
    def width(self) -> int:
        return next(iter(self._module().inputs.values()))

    @property
    def power_mw(self) -> float | None:
        return self._figure("PWR")

    @property
    def area_um2(self) -> float | None:
        return self._figure("AREA")

    @property
    def delay_ns(self) -> float | None:
        return self._figure("DELAY")

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes, as they are named in the file: inputs, wires and outputs, bit by bit."""
        return self._module().nodes

    def stuck_at(self, node: str, level: int) -> Netlist:
        """The same with one more node stuck at 0 or 1.

        Raises:
            ValueError: where there is no such node.
        """
        return replace(self, stuck=(*self.stuck, (node, level)))

    def formula(self, a: Integers, b: Integers) -> Integers:
        module = self._module()
        operands = {"a": a, "b": b}
        given = {
            f"{port}[{k}]": np.packbits((operands[port.lower()].ravel() >> k) & 1 != 0)
            for port, width in module.inputs.items()
            for k in range(width)
        }
        nets = module.run(given, dict(self.stuck))
        ((port, width),) = module.outputs.items()
        total = np.zeros(a.size, np.int64)
        for k, net in enumerate(nets_of(port, width)):
            bit = np.unpackbits(nets[net], count=a.size).astype(np.int64) << k
            total += -bit if self.signed and k == width - 1 else bit
        return total.reshape(a.shape)

    def _module(self) -> Module:
        return read_module(self.verilog)

    def _figure(self, of: str) -> float | None:
        found = re.search(rf"//\s*PDK45_{of}\s*=\s*([\d.]+)", self.verilog)
        return float(found[1]) if found else None


def read_netlist(path: Path | str, signed: bool, release: str = "") -> Netlist:
    """The multiplier in a Verilog file, such as one of a checkout of EvoApproxLib.

    Args:
        path: the file; nothing in it is run.
        signed: whether operands and product are in two's complement.
        release: of the library, which its names need.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: where it can't be read, or is no multiplier.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give a .v file of gates")
    try:
        return Netlist(path.read_text(encoding="utf-8"), signed, release)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error!s:.600}") from error
