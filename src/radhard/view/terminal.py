"""Tables in a terminal of any width."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

#: No terminal is this wide: room in which a table's own width shows.
_ANY_WIDTH = 10_000


def print_tables(*tables: Table) -> None:
    """Print tables, in a narrow terminal as wide as it takes to leave names and numbers whole."""
    console = Console(markup=False, highlight=False)
    room = console.options.update(max_width=_ANY_WIDTH)
    narrowest = max(console.measure(_unbroken(table), options=room).minimum for table in tables)
    console.width = max(console.width, narrowest)
    console.print(*tables)


def _unbroken(table: Table) -> Table:
    """With columns, and a title, that no narrow terminal makes narrower than their words."""
    for column in table.columns:
        if column.no_wrap:
            cells = [str(column.header), *map(str, column.cells)]
            lines = [line for cell in cells for line in cell.splitlines()]
            column.min_width = max(map(cell_len, lines), default=0)
    table.min_width = max(map(cell_len, str(table.title or "").split()), default=0)
    return table
