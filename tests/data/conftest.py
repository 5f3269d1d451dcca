import contextlib
import os
import threading
from collections.abc import Callable, Iterator

import pytest
from mirror_server import Mirror, Response


@pytest.fixture
def no_proxy(monkeypatch) -> None:
    """Clears the proxy settings: HTTP clients would send even requests to 127.0.0.1 through a proxy."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def serve(no_proxy) -> Iterator[Callable[..., Mirror]]:
    """Starts mirrors with the given responses."""
    with contextlib.ExitStack() as stack:

        def start(*responses: Response) -> Mirror:
            mirror = stack.enter_context(Mirror(*(responses or [Response()])))
            threading.Thread(target=mirror.serve_forever, args=(0.005,), daemon=True).start()
            stack.callback(mirror.shutdown)
            stack.callback(mirror.closing.set)
            return mirror

        yield start
