"""Signals as a wish to stop."""

import signal
import threading

import pytest

from cifar10.errors import Interrupted
from cifar10.training import signals
from cifar10.training.signals import StopSignals


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when told."""
    time = [100.0]
    monkeypatch.setattr(signals, "monotonic", lambda: time[0])
    return time


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_the_first_signal_is_remembered(signum, status):
    calls = []
    stop = StopSignals(lambda: calls.append(1))
    before = signal.getsignal(signum)
    with stop.caught():
        assert not stop.asked
        signal.raise_signal(signum)
        assert (stop.asked, stop.status, calls) == (True, status, [1])
    assert signal.getsignal(signum) is before


def test_a_second_ctrl_c_stops_at_once(clock):
    before = signal.getsignal(signal.SIGINT)
    with StopSignals().caught():
        signal.raise_signal(signal.SIGINT)
        clock[0] += 2
        with pytest.raises(Interrupted, match="at once"):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_comes_twice_within_a_moment_is_one(clock):
    stop = StopSignals()
    with stop.caught():
        for signum in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(signum)
        clock[0] += 2
        signal.raise_signal(signal.SIGTERM)
    assert stop.status == 130


def test_a_thread_catches_none():
    found = []
    before = signal.getsignal(signal.SIGINT)

    def look():
        with StopSignals().caught():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before]
