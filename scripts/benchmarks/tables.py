"""Renders measurements as Markdown."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

RATIOS = (  # pairs of columns that get a ratio column
    ("this project", "bare loop"),
    ("this project", "Lightning alone"),
    ("this project", "standard DataLoader baseline"),
    ("this project", "Keras"),
    ("achieved", "matrix product"),
    ("this project", "Kornia on the batch"),
    ("two processes", "one process"),
    ("without", "with"),
)
BASELINES = ("import torch", "decoding alone")  # rows by which the other rows of a one-column table are divided
INTRODUCTION = """\
Medians over the rounds, minimum and maximum in brackets. Alternatives are interleaved within each round. A ratio is the
median of the ratios within the rounds."""


def markdown(results: dict[str, Any]) -> str:
    """Renders the content of benchmark.json: part -> `note`, `tables` and metadata."""
    blocks = ["# Benchmark", INTRODUCTION]
    for name, part in results.items():
        tables = ["\n".join(table(unit, rows)) for unit, rows in part["tables"].items()]
        versions = ", ".join(f"{package} {version}" for package, version in part["versions"].items())
        machine = f"{part['device']}, {part['threads']} threads; {versions}"
        source = f"`{part['command']}`, {part['rounds']} rounds at commit {part['commit']}, on {machine}."
        blocks += [f"## {name.capitalize()}", part["note"], *tables, source]
    return "\n\n".join(blocks) + "\n"


def table(unit: str, rows: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    """Yields the lines of a table, from row -> column -> values. A cell without values is blank."""
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    pairs = [pair for pair in RATIOS if {*pair} <= {*columns}]
    baselines = [name for name in BASELINES if name in rows]
    head = [unit, *columns, *(" / ".join(pair) for pair in pairs), *(f"/ {name}" for name in baselines)]
    yield from (line(head), line(["---"] * len(head)))
    for name, cells in rows.items():
        values = [cells.get(column, []) for column in columns]
        values += [ratios(cells.get(first, []), cells.get(second, [])) for first, second in pairs]
        values += [ratios(cells[columns[0]], rows[baseline][columns[0]]) for baseline in baselines]
        yield line([name, *map(spread, values)])


def ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Returns the ratio of each round, in which both were measured under the same load."""
    return [a / b for a, b in zip(first, second, strict=bool(first and second))]


def spread(values: Sequence[float]) -> str:
    """Formats the median, followed by minimum and maximum in brackets; "" without values."""
    if not values:
        return ""
    middle = median(values)
    decimals = next(count for least, count in ((100, 0), (10, 1), (0.1, 2), (0, 4)) if abs(middle) >= least)
    shown = [f"{value:,.{0 if isinstance(value, int) else decimals}f}" for value in (middle, min(values), max(values))]
    return shown[0] if len(values) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
