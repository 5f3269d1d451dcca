"""Every use of a private name of another library, with its reason and the version that it was checked with.

The functions import the library when they are called. tests/test_compat.py fails if a library no longer has a name.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning import Trainer


def keep_signal_handlers(trainer: "Trainer") -> None:
    """Keeps Lightning from installing its SIGTERM handler, which ends a run without saving it (Lightning 2.6.6).

    It has no option for that, and under DDP the handler calls a collective operation wherever the signal arrives.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None
