"""Renders Markdown tables and replaces those between the markers of a page."""

import re
from collections.abc import Sequence

from cifar10.errors import UserError


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Renders rows of cells; the first row is the header."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def replace_table(page: str, name: str, table: str) -> str:
    """Returns the page with `table` between `<!-- name -->` and `<!-- /name -->`. Raises UserError without these."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if not re.search(f"{start}\n.*{end}", page, re.DOTALL):
        raise UserError(f"no table between {start} and {end}")
    return re.sub(f"{start}\n.*{end}", lambda _: f"{start}\n{table}\n{end}", page, flags=re.DOTALL)
