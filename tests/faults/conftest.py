"""What was tried of each fault, and what came of it: told at the end, and kept for docs/reliability.md."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

TRIED = pytest.StashKey[dict[str, tuple[int, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TRIED] = {}


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[[str, int, str], None]:
    """Tells of a fault how often it was tried and what came of it, when all of it has been asserted; tries add up."""
    all_tried = request.config.stash[TRIED]

    def tell(fault: str, tried: int, outcome: str) -> None:
        before, _ = all_tried.get(fault, (0, ""))
        all_tried[fault] = (before + tried, outcome)

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tried = config.stash[TRIED]
    if tried:
        terminalreporter.section("faults")
    for fault, (count, outcome) in tried.items():
        terminalreporter.line(f"{fault}: {count:,} tried; {outcome}")
    if tried and (path := os.environ.get("FAULTS_JSON")):
        Path(path).write_text(json.dumps(tried))
