"""A systolic array with its control, register by register and edge by edge, in plain integers.

Tiles follow each other as fast as a caller can start them that waits until each is done and then
two edges more for its last results. Nothing is vectorised, and no tile knows of another.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import mul


@dataclass
class Machine:
    """What is held between edges: registers by name and place, and who has told it to run."""

    rows: int
    cols: int
    flow: str
    widths: dict[str, int]  # a, w, p, and counters
    held: dict[tuple, int] = field(default_factory=dict)
    multiply: Callable[[int, int], int] = mul  # an activation and a weight

    def get(self, name: str, *place: int) -> int:
        return self.held.get((name, *place), 0)

    def width(self, name: str) -> int:
        few = self.rows.bit_length()
        if name in ("enable", "load", "clear", "drain", "valid"):
            return 1
        if name == "state":
            return 2
        if name == "hold" or (name == "write" and self.flow == "os"):
            return few
        return self.widths.get(name, self.widths["counter"])

    def number(self, name: str, *place: int) -> int:
        """A register of an element, as a number with a sign."""
        code, width = self.get(name, *place), self.width(name)
        return code - (1 << width) if code >> (width - 1) else code

    def product(self, across: int, above: int) -> int:
        """Of what moves right and what comes from above."""
        return self.multiply(above, across) if self.flow == "is" else self.multiply(across, above)

    def flip(self, name: str, place: tuple, bit: int) -> None:
        self.held[(name, *place)] = self.get(name, *place) ^ (1 << bit)

    def edge(self, start: bool, left: list, top: list, results: dict) -> bool:
        """One clock edge; whether the tile is done at it.

        ``left`` are the memories of the rows, a list each; ``top`` those of the columns; results
        are by (place, column).
        """
        rows, cols, flow = self.rows, self.cols, self.flow
        stays = flow == "os"
        right, down = ("w", "a") if flow == "is" else ("a", "w")
        free = len(left[0])
        new: dict[tuple, int] = {}

        def fetched(memory: list, at: int) -> int:
            return memory[at] if at < len(memory) else 0

        # results are written
        for c in range(cols):
            on = self.get("drain") if stays else self.get("valid", rows + c)
            at = self.get("write") if stays else self.get("write", c)
            if on:
                results[at, c] = self.number("p", rows - 1, c)
        # elements
        for r in range(rows):
            for c in range(cols):
                entering = fetched(left[r], self.get("read", r)) if self.get("valid", r) else 0
                came = self.number(right, r, c - 1) if c else entering
                if stays:
                    on = self.get("valid", c)
                    above = fetched(top[c], self.get("fetch", c)) if on else 0
                else:
                    above = fetched(top[c][::-1], self.get("hold"))  # the last row comes first
                above = self.number(down, r - 1, c) if r else above
                sums = self.number("p", r - 1, c) if r else 0
                if stays and self.get("enable"):
                    total = self.number("p", r, c) + self.product(came, above)
                    p = sums if self.get("drain") else total
                    clear = self.get("clear")
                    new |= {
                        (right, r, c): 0 if clear else came,
                        (down, r, c): 0 if clear else above,
                    }
                    new["p", r, c] = 0 if clear else p
                if not stays and self.get("enable"):
                    new[right, r, c] = came
                    new["p", r, c] = sums + self.product(came, self.number(down, r, c))
                if not stays and self.get("load"):
                    new[down, r, c] = above
        # what is next
        state, step = self.get("state"), self.get("step")
        wave = free + rows + cols - (2 if stays else 1)
        done = state == 3 and step >= rows - 1 if stays else state == 2 and step >= wave - 1
        if not start:
            follows = 0
        elif state == 1:
            follows = 2 if stays or step >= rows - 1 else 1
        elif state == 2:
            follows = 2 if step < wave - 1 else 3 if stays else 0
        elif state == 3 and stays:
            follows = 3 if step < rows - 1 else 0
        else:
            follows = 1
        idle = state == 0 or (state == 3 and not stays)
        ends = (
            idle or done or not start
            or (state == 1 and (stays or step >= rows - 1)) or (state == 2 and step >= wave - 1)
        )  # fmt: skip
        new |= {("state",): follows, ("step",): 0 if ends else step + 1}
        new["enable",] = int(not idle if stays else state == 2)
        for k in range(max(rows, cols) if stays else rows + cols):
            entering = state == 2 and step < free
            new["valid", k] = int(
                state != 1 and (bool(self.get("valid", k - 1)) if k else entering)
            )
        counters = [("read", r, self.get("valid", r)) for r in range(rows)]
        if stays:
            new |= {("clear",): int(state == 1), ("drain",): int(state == 3)}
            counters += [("fetch", c, self.get("valid", c)) for c in range(cols)]
            new["write",] = 0 if state == 1 else self.get("write") + self.get("drain")
        else:
            new["load",] = int(state == 1)
            new["hold",] = self.get("hold") + 1 if self.get("load") else 0
            counters += [("write", c, self.get("valid", rows + c)) for c in range(cols)]
        for name, k, on in counters:
            new[name, k] = 0 if state == 1 else self.get(name, k) + on
        for key, value in new.items():
            self.held[key] = value & ((1 << self.width(key[0])) - 1)
        return bool(done and start)

    def tile(self, left: list, top: list, strike: tuple | None = None) -> tuple[dict, int]:
        """Results by (place, column) of one tile, and its edges; ``strike``: edge, flip."""
        results: dict = {}
        start, after, edges = True, 3, 0
        while start or after > 0:
            if strike and strike[0] == edges:
                self.flip(*strike[1:])
            done = self.edge(start, left, top, results if after > 0 else {})
            start = start and not done
            after = 3 if start else after - 1
            edges += 1
        return results, edges
