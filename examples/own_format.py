"""A number format of your own: posits of 8 bits, by the table of their values.

Run it anywhere: python examples/own_format.py
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

import radhard as rh
from radhard.network.source import subject
from radhard.testing import check_format


@cache
def values() -> Tensor:
    """The real value of each of the 256 codes of a posit with no exponent bits."""
    found = []
    for code in range(256):
        if code in (0, 128):
            found.append(0.0 if code == 0 else float("nan"))
            continue
        bits = format(256 - code if code > 128 else code, "08b")[1:]
        run = len(bits) - len(bits.lstrip(bits[0]))
        power = run - 1 if bits[0] == "1" else -run
        fraction = bits[run + 1 :]
        size = (1 + int(fraction or "0", 2) / 2 ** len(fraction)) * 2.0**power
        found.append(-size if code > 128 else size)
    return torch.tensor(found)


@dataclass(frozen=True)
class Posit8:
    """Posits of 8 bits without exponent bits (Gustafson and Yonemoto, 2017)."""

    name: str = "posit8"
    width: int = 8
    significant: int = 7

    @property
    def fields(self) -> dict[str, range]:
        """The sign; regime and fraction share the rest."""
        return {"sign": range(7, 8), "integer": range(7)}

    def decode(self, codes: Tensor) -> Tensor:
        """By the table."""
        return values()[codes & 255]

    def encode(self, real: Tensor) -> Tensor:
        """The nearest value's code; what is not zero never becomes zero, nor infinite."""
        ordered, code = torch.sort(values()[torch.arange(256) != 128])
        code = torch.arange(256)[torch.arange(256) != 128][code]
        place = torch.searchsorted(ordered, real.float().contiguous()).clamp(1, len(ordered) - 1)
        nearer = (real - ordered[place - 1]) < (ordered[place] - real)
        found = code[torch.where(nearer, place - 1, place)]
        found = torch.where((found == 0) & (real > 0), 1, found)
        found = torch.where((found == 0) & (real < 0), 255, found)
        return torch.where(torch.isnan(real), 128, found)

    def round(self, real: Tensor) -> Tensor:
        """The nearest value."""
        return self.decode(self.encode(real)).to(real.dtype)

    def flip(self, real: Tensor, mask: Tensor) -> Tensor:
        """With bits of the code inverted."""
        return self.decode(self.encode(real) ^ mask).to(real.dtype)

    def fit(self, sample: Tensor, channels: int = 0) -> "Posit8":
        """Itself: its range is fixed."""
        return self


if __name__ == "__main__":
    check_format(Posit8())
    digits = subject("digits-cnn")
    for fmt in (Posit8(), rh.FLOAT8_E4M3):
        work = rh.capture(digits.model, digits.images[:64], digits.labels[:64], format=fmt)
        result = rh.Campaign(work).run(until=1000)
        print(f"{fmt.name:9} golden {result.golden}, SDC-1 {result['sdc1']}")
