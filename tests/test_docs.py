"""README and docs: links, anchors and file names resolve, commands of train.py compose, the README stays short."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from cifar10.training.config import check_settings, compose_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page: page.read_text() for page in PAGES}
CURRENT = [page for page in PAGES if page.name.lower() not in ("changelog.md", "contributing.md")]
"""Pages that name only what exists: contributing.md has files and settings of an example."""
BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
README_WORDS = 1200


def links(page):
    """Returns the targets of links and images outside of code."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", BLOCK.sub("", TEXTS[page])))


def anchors(page):
    """Returns the anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", TEXTS[page]), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def train_commands():
    """Returns the arguments of each `python train.py` in blocks and inline code."""
    for text in (TEXTS[page] for page in CURRENT):
        lines = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
        lines += re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
        commands = [re.search(r"(?:python|torchrun .*) train\.py (.*)", line) for line in lines]
        yield from (tuple(shlex.split(command[1], comments=True)) for command in commands if command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_anchors_resolve(page):
    for link in (link for link in links(page) if not link.startswith("https://")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_index_and_the_readme():
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= set(links(ROOT / "docs/README.md"))
    assert {f"docs/{page}" for page in pages} <= set(links(ROOT / "README.md"))


def test_named_files_exist():
    text = "".join(TEXTS[page] for page in CURRENT)
    named = set(re.findall(r"`((?:cifar10|conf|scripts|tests)/[\w./]+)`", text))
    assert named
    assert not [path for path in sorted(named) if not (ROOT / path).exists()]


def test_citation_has_the_version_and_license_of_the_package():
    citation, package = OmegaConf.load(ROOT / "CITATION.cff"), tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert (citation.version, citation.license) == (package["project"]["version"], package["project"]["license"])


def test_readme_is_short():
    assert len(TEXTS[ROOT / "README.md"].split()) <= README_WORDS


@pytest.mark.parametrize("command", sorted(set(train_commands())), ids=" ".join)
def test_train_commands_compose(command):
    """Composes the settings; of a sweep those of its first job, without the launcher, which is an extra."""
    words = [word.replace("$RANDOM", "1") for word in command if "=" in word and "launcher" not in word]
    job = []
    for override in OverridesParser.create().parse_overrides(words):
        if override.is_discrete_sweep():
            job.append(f"{override.get_key_element()}={next(override.sweep_string_iterator())}")
        elif not override.is_sweep_override():
            job.append(override.input_line)
    check_settings(compose_settings(*job))
