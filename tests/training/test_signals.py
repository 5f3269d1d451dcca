"""Tests StopSignals."""

import signal
import threading

import pytest

from cifar10.errors import Interrupted
from cifar10.training import signals
from cifar10.training.signals import StopSignals


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test advances, in seconds."""
    time = [100.0]
    monkeypatch.setattr(signals, "monotonic", lambda: time[0])
    return time


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_first_signal_sets_requested(signum, status):
    calls = []
    stop = StopSignals(lambda: calls.append(1))
    before = signal.getsignal(signum)
    with stop.caught():
        assert not stop.requested
        signal.raise_signal(signum)
        assert (stop.requested, stop.status, calls) == (True, status, [1])
    assert signal.getsignal(signum) is before


def test_second_sigint_interrupts_immediately(clock):
    before = signal.getsignal(signal.SIGINT)
    with StopSignals().caught():
        signal.raise_signal(signal.SIGINT)
        clock[0] += 2
        with pytest.raises(Interrupted, match="immediately"):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_repeated_signal_within_debounce_time_counts_once(clock):
    stop = StopSignals()
    with stop.caught():
        for signum in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(signum)
        clock[0] += 2
        signal.raise_signal(signal.SIGTERM)
    assert stop.status == 130


def test_other_threads_leave_handlers_unchanged():
    found = []
    before = signal.getsignal(signal.SIGINT)

    def read_handler():
        with StopSignals().caught():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=read_handler)
    thread.start()
    thread.join()
    assert found == [before]
