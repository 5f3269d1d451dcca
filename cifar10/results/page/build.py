"""Finished runs -> one HTML file that holds everything it shows."""

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from cifar10.errors import UserError
from cifar10.results.page import parts, tables
from cifar10.results.page.parts import Maker
from cifar10.results.page.prototypes import banner, prototype_parts
from cifar10.results.page.rows import MOST_SHOWN, Row, Shown, choose, make_rows, pictured_data
from cifar10.results.table import STUDY_DELTA, Record


def page(found: dict[Path, Record], complaints: Sequence[str]) -> tuple[str, list[str]]:
    """The page, and a line for each run or picture that it leaves out.

    found: the file of each record; complaints: of what was no finished run, for the page to tell as well.
    Raises UserError where no record is left.
    """
    rows, incomplete = make_rows(found)
    if not rows:
        raise UserError("no finished run of this version given")
    data = pictured_data(rows)
    pictured = [row for row in rows if row.data == data]
    every = choose(pictured)
    shown, more = every[:MOST_SHOWN], every[MOST_SHOWN:]
    side_by_side = sorted(shown, key=lambda one: one.role == "best")  # in a row, what compares
    make = Maker()
    _share_images(shown)
    context = {
        "data": data[0],
        "runs": sum(len(row.records) for row in rows),
        "other_data": list(dict.fromkeys(_other(row.data[0], data[0]) for row in rows if row.data != data)),
        "ladder": [_rung(model, every) for model in dict.fromkeys(one.row.model for one in every)],
        "banner": banner(shown, make),
        "results": tables.results(rows),
        "confusions": [parts.confusions(one) for one in side_by_side],
        "named_confusions": tables.named_confusions(pictured),
        "histories": make("history", shown, parts.history),
        "prototypes": prototype_parts(shown, make),
        "pairs": parts.pairs(shown, make),
        "class_accuracies": parts.class_accuracies(shown),
        "by_class": tables.by_class(pictured),
        "mistakes": make("its surest mistakes", shown, parts.mistakes),
        "reliability": make("calibration", side_by_side, parts.reliability),
        "first_layers": make("first layer", shown, parts.first_layer),
        "made": tables.made(rows),
        "environments": tables.environments(rows),
        "version": _version(),
    }
    crowded = [f"{one.name}, without pictures: a page has room for those of {MOST_SHOWN} rows" for one in more]
    new = [*incomplete, *make.left_out, *crowded]
    environment = Environment(
        loader=PackageLoader("cifar10.results.page", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template("page.html.jinja").render(context, warnings=[*complaints, *new]), new


def _share_images(shown: Sequence[Shown]) -> None:
    """Reads the images once for all runs, which were tested on the same ones."""
    data = None
    for one in shown:
        if one.run is None:
            continue
        try:
            data = data or one.run.data
            one.run.data = data
        except UserError:
            continue  # told where a picture needs them


def _rung(model: str, shown: Sequence[Shown]) -> dict[str, Any]:
    """A model's accuracies: of the study, by the study's protocol, by its best recipe."""
    own = [one for one in shown if one.row.model == model]
    row = own[0].row
    bars = [("study, 2019", row.study, tables.percent(row.study), "then")] if row.study else []
    for one in own:
        name = _protocol(one) if "study" in one.role else f"best here, {one.row.recipe}"
        bars.append((name, one.row.accuracy, tables.accuracy(one.row), "best" if one.role == "best" else "now"))
    return {"model": model, "what": _described(row), "bars": bars}


def _protocol(one: Shown) -> str:
    """What a run by the default recipe shares with the study, where there was one."""
    if one.row.study is None:
        return f"by default here, {one.changed}" if one.changed else "by default here"
    name = f"its recipe here, {one.changed}" if one.changed else "same protocol here"
    delta = one.row.first["config"]["model"].get("delta", STUDY_DELTA)
    return name if delta == STUDY_DELTA else f"{name}, but {delta} for {STUDY_DELTA}"


def _described(row: Row) -> str:
    """The first line of the model's docstring."""
    text = get_class(row.first["config"]["model"]["_target_"]).__doc__ or ""
    return text.partition("\n")[0].strip()


def _other(name: str, pictured: str) -> str:
    return name if name != pictured else f"other images of data={name}"


def _breakable(text: str) -> Markup:
    """Long names of settings may go on in the next line."""
    return Markup(re.sub("([_=])", r"\1<wbr>", str(escape(text))))


def _version() -> str:
    try:
        return version("cifar10")
    except PackageNotFoundError:
        return ""
