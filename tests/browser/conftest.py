"""Starts Chromium and opens pages for the browser tests."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
QUIET += ("--disable-component-update", "--disable-sync")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Starts the system's Chromium, headless, as a Playwright browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")
    path = shutil.which("chromium")
    if path is None:
        missing = pytest.fail if os.environ.get("REQUIRE_CHROMIUM") else pytest.skip
        missing("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def models(synthetic_runs: Path) -> dict[str, Any]:
    """Loads a trained model of each kind."""
    import cifar10

    return {name: cifar10.load(synthetic_runs / f"model={name}", "cpu") for name in ("prototype", "mlp", "cnn")}


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page at `address`, a fixture of the module. Fails on page errors and on requests to another server."""
    contexts, errors = [], []
    own = (address, address.replace("http", "ws", 1), "file:", "data:", "blob:")

    def open_page(**settings: Any) -> Any:
        context = browser.new_context(**settings)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("response", lambda response: errors.append(response.url) if response.status >= 400 else None)
        tab.on("request", lambda request: None if request.url.startswith(own) else errors.append(request.url))
        tab.goto(address, wait_until="load" if address.startswith("file:") else "networkidle")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
