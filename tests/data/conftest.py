import contextlib
import os
import threading
from collections.abc import Callable, Iterator

import pytest
from mirror_server import Answer, Mirror


@pytest.fixture
def no_proxy(monkeypatch) -> None:
    """urllib sends even 127.0.0.1 through http_proxy, unless no_proxy names it."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def serve(no_proxy) -> Iterator[Callable[..., Mirror]]:
    """Starts a mirror with these answers."""
    with contextlib.ExitStack() as stack:

        def start(*answers: Answer) -> Mirror:
            mirror = stack.enter_context(Mirror(*(answers or [Answer()])))
            threading.Thread(target=mirror.serve_forever, args=(0.005,), daemon=True).start()
            stack.callback(mirror.shutdown)
            stack.callback(mirror.closing.set)
            return mirror

        yield start
