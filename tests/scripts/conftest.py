"""Runs the script that a test file is about."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

Run = Callable[..., tuple[Any, str]]


@pytest.fixture
def command(run_script: Run, request: pytest.FixtureRequest) -> Run:
    """Runs the test file's SCRIPT with arguments; returns its exit status or message, and its output."""
    return partial(run_script, request.module.SCRIPT)
