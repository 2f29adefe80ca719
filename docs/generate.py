"""Write the pages of docs/ that follow from the code: `python docs/generate.py`."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from radhard.cli import app
from radhard.formats.catalogue import formats
from radhard.formats.number import describe
from radhard.network.zoo import parameter_count, zoo

DOCS = Path(__file__).parent


def command_line() -> str:
    """The help of every verb."""
    parts = ["# Command line\n", "Made by `docs/generate.py`.\n"]
    for verb in ("", "assess", "compare-samplers", "list", "report", "run", "study", "train"):
        arguments = [verb, "--help"] if verb else ["--help"]
        shown = CliRunner().invoke(
            app, arguments, prog_name="radhard", env={"COLUMNS": "90", "TERM": "dumb"}
        )
        title = f"radhard {verb}".strip()
        parts.append(f"## {title}\n\n```\n{shown.output.strip()}\n```\n")
    parts.append(
        "Exit codes: 0 done, 1 failure, 2 wrong use, 130 interrupted. `RADHARD_DATA` names a folder "
        "of data sets,\n`RADHARD_CACHE` the folder for downloads and trained weights; "
        "`RADHARD_DEBUG=1` shows tracebacks.\n"
    )
    return "\n".join(parts)


def number_formats() -> str:
    """The table of number formats."""
    rows = [f"| `{fmt.name}` | {fmt.width} | {describe(fmt)} |" for fmt in formats()]
    return "\n".join(
        [
            "# Number formats\n",
            "Made by `docs/generate.py`. Any other is a line of Python:",
            "`radhard.FloatFormat(name, exponent=4, mantissa=5)`,",
            "`radhard.FixedFormat(name, width=12, fraction=8)`, `radhard.IntegerFormat(name, width=6)`.\n",
            "| name | bits | layout, high bits first |",
            "|---|---|---|",
            *rows,
            "",
            "Floats round to nearest, ties to even. Fixed point cuts toward zero and saturates. Integers",
            "round to nearest and saturate; their scale, and the radix point of `fixed8` and `fixed16`, are",
            "fitted to the ranges seen on the workload's images. `-channel` formats have one scale per",
            "output channel of weights.",
            "",
        ]
    )


def models() -> str:
    """The table of the model zoo."""
    rows = [
        f"| `{m.name}` | {m.data} | {' x '.join(map(str, m.shape))} | {parameter_count(m):,} | "
        f"{m.source} |"
        for m in zoo()
    ]
    return "\n".join(
        [
            "# Models\n",
            "Made by `docs/generate.py`. `digits-cnn` is trained; `radhard train` trains the others, but",
            "those for ImageNet need a checkpoint.\n",
            "| name | data | image | parameters | source |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


PAGES = {"command-line.md": command_line, "formats.md": number_formats, "models.md": models}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
