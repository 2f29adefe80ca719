"""Energy of approximate multipliers over that of exact ones."""

from __future__ import annotations

from collections.abc import Mapping

from radhard.arith.multiplier import Multiplier, full_name
from radhard.network.workload import Workload

#: Power of exact 8 x 8 multipliers in mW, signed or not, as EvoApproxLib has it at 45 nm.
_EXACT_POWER = {True: 0.425, False: 0.391}


def relative_energy(workload: Workload, multiplier: Multiplier | Mapping[str, Multiplier]
                    ) -> float | None:  # fmt: skip
    """Power of a network's multiplications over that of exact ones; ``None`` where it is unknown.

    The sum over layers of multiply-accumulates times power, as EvoApproxLib gives it. Adders and
    memories are left out.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]), rh.INT8)
    >>> round(relative_energy(work, rh.multiplier_named("mul8s_1L1G@v1")), 3)
    0.296
    """
    used = exact = 0.0
    for layer in workload.layers:
        own = multiplier if isinstance(multiplier, Multiplier) else multiplier.get(layer.name)
        signed = own.signed if own is not None else True
        power = _EXACT_POWER[signed]
        exact += layer.macs * power
        if own is not None and full_name(own) not in ("mul8s_exact", "mul8u_exact"):
            if own.power_mw is None:
                return None
            power = own.power_mw
        used += layer.macs * power
    return used / exact
