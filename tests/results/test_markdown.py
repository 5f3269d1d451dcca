"""Tests Markdown tables and their replacement in pages."""

import pytest

from cifar10.errors import UserError
from cifar10.results.markdown import find_table, markdown_table, replace_table


def test_first_row_is_the_header():
    assert markdown_table([["a", "b"], ["1", "2"], ["3", ""]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 |  |"


def test_only_the_table_of_that_name_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- a -->\nold\n<!-- /a -->\ntext\n<!-- b -->\nkept\n<!-- /b -->\n")
    replace_table(page, "a", r"new \1")
    assert page.read_text() == "<!-- a -->\nnew \\1\n<!-- /a -->\ntext\n<!-- b -->\nkept\n<!-- /b -->\n"
    assert find_table(page, "b") == "\nkept\n"


@pytest.mark.parametrize("text", [None, "# Results\n", "<!-- /a -->\n<!-- a -->\n"])
def test_page_without_the_markers_is_named(text, tmp_path):
    page = tmp_path / "page.md"
    if text is not None:
        page.write_text(text)
    with pytest.raises(UserError, match=r"page.md: no table between <!-- a --> and <!-- /a -->"):
        replace_table(page, "a", "")
