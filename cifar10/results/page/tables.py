"""The page's tables: what each cell says, and by what it sorts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cifar10.errors import UserError
from cifar10.models.test_predictions import most_confused
from cifar10.results.command import command
from cifar10.results.page.parts import MOST_CLASSES
from cifar10.results.page.rows import Row
from cifar10.results.table import Record

NAMED = (("cat", "dog"), ("dog", "cat"), ("truck", "automobile"), ("automobile", "truck"))
"""The confusions that the study names, from the true class to the other."""


class Cell(NamedTuple):
    """sort: what the column sorts by instead of the text. share: in [0, 1], for a bar. code: a command."""

    text: str
    sort: float | None = None
    share: float | None = None
    code: bool = False


class Table(NamedTuple):
    """numeric: which columns hold numbers. The first cell of a row is its heading."""

    caption: str
    columns: list[str]
    numeric: list[bool]
    rows: list[list[Cell]]


def percent(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}%}"


def accuracy(row: Row) -> str:
    """Mean over seeds, with the deviation where there are several."""
    spread = "" if row.deviation is None else f" ± {100 * row.deviation:.2f}"
    return percent(row.accuracy) + spread


def _number(text: str, value: float | None, share: float | None = None) -> Cell:
    return Cell(text, -1.0 if value is None else value, share)


def _table(caption: str, columns: dict[str, bool], rows: list[list[Cell]]) -> Table:
    return Table(caption, list(columns), list(columns.values()), rows)


def results(rows: Sequence[Row]) -> Table:
    columns = dict.fromkeys(("model", "experiment", "data"), False)
    columns |= dict.fromkeys(("study, 2019", "test accuracy", "seeds", "minutes a run", "parameters"), True)
    columns |= dict.fromkeys(("device", "precision"), False)
    cells = [
        [
            Cell(row.model),
            Cell(row.recipe),
            Cell(row.first["data"]),
            _number(percent(row.study), row.study),
            _number(accuracy(row), row.accuracy, row.accuracy),
            _number(str(len(row.records)), len(row.records)),
            _number(f"{row.minutes:.1f}", row.minutes),
            _number(f"{row.first['parameters']:,}", row.first["parameters"]),
            Cell(row.first["device"]),
            Cell(row.first["precision"]),
        ]
        for row in rows
    ]
    caption = (
        "Test accuracy, mean ± standard deviation over seeds; minutes are of reading, training, validation and test"
    )
    return _table(caption, columns, cells)


def named_confusions(rows: Sequence[Row]) -> Table:
    """Those that the study names where there are such classes, and of each row the pair that it confuses most."""
    names = rows[0].class_names
    named = [pair for pair in NAMED if set(pair) <= set(names)]
    columns = {"model": False} | {f"{true} for {guess}": True for true, guess in named}
    columns |= {"most confused pair": False, "one way": True, "the other": True}
    cells = []
    for row in rows:
        shares = [row.rates[names.index(true), names.index(guess)] for true, guess in named]
        first, second = most_confused(row.confusion)
        ways = [row.rates[first, second], row.rates[second, first]]
        texts = [_number(percent(share, 1), share) for share in shares]
        pair = Cell(f"{names[first]} for {names[second]}, {names[second]} for {names[first]}")
        cells.append([Cell(row.name), *texts, pair, *(_number(percent(share, 1), share) for share in ways)])
    caption = "Shares of a true class's test images that are taken for another class, over all seeds"
    return _table(caption, columns, cells)


def by_class(rows: Sequence[Row]) -> Table:
    """A column for each class; of many classes for those that are hardest on average."""
    names, values = rows[0].class_names, np.array([row.class_accuracy for row in rows])
    kept = np.sort(values.mean(0).argsort()[:MOST_CLASSES])
    cells = [
        [Cell(row.name), *(_number(percent(own[place], 1), own[place]) for place in kept)]
        for row, own in zip(rows, values, strict=True)
    ]
    which = "" if len(kept) == len(names) else f", the {len(kept)} hardest of {len(names)}"
    caption = f"Share of each class's test images that is recognised, mean over seeds{which}"
    return _table(caption, {"model": False} | {names[place]: True for place in kept}, cells)


def environments(rows: Sequence[Row]) -> dict[str, str]:
    """Versions -> a letter for them, in the order of the rows."""
    texts = dict.fromkeys(_versions(record) for row in rows for record in row.records)
    return {text: chr(ord("A") + place) if place < 26 else str(place + 1) for place, text in enumerate(texts)}


def _versions(record: Record) -> str:
    return ", ".join(f"{name} {version}" for name, version in record["versions"].items())


def made(rows: Sequence[Row]) -> Table:
    """A row for each run."""
    letters = environments(rows)
    phases = list(dict.fromkeys(phase for row in rows for record in row.records for phase in record["seconds"]))
    columns = {"command": False, "test accuracy": True} | {f"{phase}, s": True for phase in phases}
    columns |= dict.fromkeys(("commit", "versions", "device", "precision"), False)
    cells = []
    for row in rows:
        for record in row.records:
            seconds = [record["seconds"].get(phase) for phase in phases]
            right = record["test"]["accuracy"]
            commit = record["commit"] or "none"
            cells.append(
                [
                    Cell(_command(record), code=True),
                    _number(percent(right), right),
                    *(_number("" if value is None else f"{value:,.1f}", value) for value in seconds),
                    Cell(commit[:10] + "+" * commit.endswith("+"), code=True),
                    Cell(letters[_versions(record)]),
                    Cell(record["device"]),
                    Cell(record["precision"]),
                ]
            )
    caption = (
        "Each run: its command, what it came to, and what made it. A commit with + had files that differed from it"
    )
    return _table(caption, columns, cells)


def _command(record: Record) -> str:
    try:
        return command(record)
    except UserError as error:
        return f"not known: {error}"
