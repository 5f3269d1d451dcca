"""Renders Markdown tables and replaces those between the markers of a page."""

import re
from collections.abc import Sequence
from pathlib import Path

from cifar10.errors import UserError


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Renders rows of cells; the first row is the header."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def find_table(page: Path, name: str) -> str:
    """Returns the text between `<!-- name -->` and `<!-- /name -->`. Raises UserError if the page has no such text."""
    start, end = _markers(name)
    text = page.read_text() if page.exists() else ""
    if found := re.search(f"{start}(.*?){end}", text, re.DOTALL):
        return found[1]
    raise UserError(f"{page}: no table between {start} and {end}")


def replace_table(page: Path, name: str, table: str) -> None:
    """Replaces the text between `<!-- name -->` and `<!-- /name -->`. Raises UserError if the page has no such text."""
    start, end = _markers(name)
    old = f"{start}{find_table(page, name)}{end}"
    page.write_text(page.read_text().replace(old, f"{start}\n{table}\n{end}"))


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- /{name} -->"
