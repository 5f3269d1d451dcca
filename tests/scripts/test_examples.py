"""Examples of README.md and docs/: commands parse, Python sessions give the documented outputs."""

import argparse
import doctest
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from cifar10.errors import UserError
from cifar10.results.markdown import find_table

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts/examples.py"))
PAGES = {str(page.relative_to(ROOT)): page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
SHELL = re.compile(r"^```(?:sh|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def documented_commands():
    """Yields each documented script command as a list of arguments."""
    for text in PAGES.values():
        lines = [line for block in SHELL.findall(text) for line in block.splitlines()]
        lines += re.findall(r"`(python scripts/[^`]*)`", text)
        for line in lines:
            found = re.search(r"python (scripts/\w+\.py[^;|#]*)", line)
            if found:
                yield shlex.split(found[1])


class ParsedError(Exception):
    """Raised after the arguments are parsed."""


@pytest.mark.parametrize("words", sorted(set(map(tuple, documented_commands()))), ids=" ".join)
def test_documented_command_parses(words, monkeypatch):
    def parse(parser):
        original(parser)
        raise ParsedError

    original = argparse.ArgumentParser.parse_intermixed_args
    for name in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, name, parse)
    monkeypatch.setattr(sys, "argv", [str(ROOT / words[0]), *words[1:]])
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))  # as `python scripts/NAME.py` does
    if len(words) == 1:  # mentioned without arguments
        assert (ROOT / words[0]).is_file()
        return
    with pytest.raises(ParsedError):
        runpy.run_path(str(ROOT / words[0]), run_name="__main__")


@pytest.mark.parametrize("page", SCRIPT["PAGES"])
def test_documented_commands_have_outputs(page):
    blocks = SCRIPT["CONSOLE"].findall(PAGES[page])
    assert blocks or page == "README.md"
    for block in blocks:
        outputs = dict(SCRIPT["commands"](block))
        assert SCRIPT["update_commands"](block, outputs.__getitem__) == block
        assert all(outputs.values()), f"without output; python scripts/examples.py: {outputs}"


class IgnorePredictions(doctest.OutputChecker):
    """Ignores class names and probabilities, which depend on the weights."""

    def check_output(self, want, got, optionflags):
        return self.kind(want) == self.kind(got)

    @staticmethod
    def kind(text):
        text = re.sub(r"^\w+ +(\d\.\d+)$", "NAME 0.0", text, flags=re.MULTILINE)
        return re.sub(r"'\w+'", "'NAME'", text)


@pytest.mark.parametrize("page", SCRIPT["PAGES"])
def test_documented_python_runs(page, tmp_path, monkeypatch, run_script):
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    run_script(str(ROOT / "scripts/photos.py"), "photos")
    blocks = "".join(SCRIPT["PYTHON"].findall(PAGES[page]))
    test = doctest.DocTestParser().get_doctest(blocks, {}, page, page, 0)
    assert test.examples
    failures = []
    doctest.DocTestRunner(IgnorePredictions()).run(test, out=failures.append)
    assert not failures, "".join(failures)


def test_python_outputs_are_updated():
    text = "```pycon\n>>> a = 2\n>>> a + 1\n7\n>>> for x in 'bc':\n...     print(x)\nold\nold\n```\n"
    updated = "```pycon\n>>> a = 2\n>>> a + 1\n3\n>>> for x in 'bc':\n...     print(x)\nb\nc\n```\n"
    assert SCRIPT["update"](text) == updated


def test_command_outputs_are_updated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = SCRIPT["run_command"]
    block = "$ echo one; echo two >&2\nold\n$ touch mark; ls; echo '  a  '\nold\nold\n"
    assert SCRIPT["update_commands"](block, run) == (
        "$ echo one; echo two >&2\none\ntwo\n$ touch mark; ls; echo '  a  '\nmark\n  a\n"
    )
    with pytest.raises(UserError, match=r"echo no; false\nno"):
        run("echo no; false")
    with pytest.raises(ValueError, match="output without a command"):
        SCRIPT["commands"]("orphan\n$ ls\n")


def test_corruption_table_averages_over_severities():
    one = {"model": "MLP", "images": 2000, "test": {"accuracy": 0.5}, "ece": 0.1}
    one["corruptions"] = {
        "blur": [{"accuracy": 0.4, "ece": 0.2}, {"accuracy": 0.2, "ece": 0.1}],
        "JPEG": [{"accuracy": 0.1, "ece": 0.3}, {"accuracy": 0.3, "ece": 0.4}],
    }
    assert SCRIPT["corruption_table"]([one, one | {"model": "CNN"}]).splitlines() == [
        "| 2,000 test images | MLP | CNN |",
        "| --- | --- | --- |",
        "| no corruption | 50.0% (10.0%) | 50.0% (10.0%) |",
        "| blur | 30.0% (15.0%) | 30.0% (15.0%) |",
        "| JPEG | 20.0% (35.0%) | 20.0% (35.0%) |",
        "| all corruptions | 25.0% (25.0%) | 25.0% (25.0%) |",
    ]


def test_corruption_table_agrees_with_the_documented_command():
    table = find_table(ROOT / "docs/use.md", "corruptions").strip()
    rows = {row.split(" | ")[0]: row.split(" | ")[-1] for row in table.splitlines()}
    text = PAGES["docs/use.md"].partition("## Robustness")[0]
    shown = re.findall(r"^\| ([\w ]+) \|.*\| ([\d.]+%) \| ([\d.]+%) \|$", text, re.MULTILINE)
    assert len(shown) == 7
    for kind, accuracy, ece in shown:
        assert rows[f"| {kind}"] == f"{accuracy} ({ece}) |"
