"""Each private name that cifar10/compat.py uses is still there, and still does what it is used for."""

import signal

from lightning import Trainer

from cifar10 import compat


def test_lightning_registers_its_signal_handlers_by_this_name(quiet_trainer):
    connector = getattr(quiet_trainer(), "_signal_connector", None)
    assert callable(getattr(connector, "register_signal_handlers", None)), (
        "lightning.Trainer has lost _signal_connector.register_signal_handlers: adapt compat.keep_signal_handlers"
    )


def test_lightning_installs_no_handler(quiet_trainer):
    before = signal.getsignal(signal.SIGTERM)
    trainer: Trainer = quiet_trainer()
    compat.keep_signal_handlers(trainer)
    trainer._signal_connector.register_signal_handlers()
    assert signal.getsignal(signal.SIGTERM) is before
