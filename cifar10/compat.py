"""Every use of a private name of another library, with its reason and the version that it was checked with.

The functions import the library when they are called. tests/test_compat.py fails if a library no longer has a name.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer
    from torch import Tensor


def keep_signal_handlers(trainer: "Trainer") -> None:
    """Keeps Lightning from installing its SIGTERM handler, which ends a run without saving it (Lightning 2.6.6).

    It has no option for that, and under DDP the handler calls a collective operation wherever the signal arrives.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def has_trainer(module: "LightningModule") -> bool:
    """Returns whether a Trainer is attached: the property `trainer` raises an error without one (Lightning 2.6.6)."""
    return module._trainer is not None


def count_batches(trainer: "Trainer", count: int) -> None:
    """Adds batches to the Trainer's counters, for a `training_step` that trains on several (Lightning 2.6.6).

    Its loop counts one per call. The private one counts optimizer steps for loggers and is part of checkpoints.
    """
    trainer.fit_loop.epoch_loop.batch_progress.increment_by(count)
    trainer.fit_loop.epoch_loop._batches_that_stepped += count


def mark_dynamic_batch(tensor: "Tensor") -> None:
    """Makes torch.compile treat the size of the first axis as variable from the first call on (PyTorch 2.14.1).

    Without it the first size gets a kernel of its own, which takes as many seconds again as the kernel for all sizes.
    PyTorch's documentation of dynamic shapes names this function; `torch.compiler` has none for it.
    """
    import torch

    torch._dynamo.maybe_mark_dynamic(tensor, 0)
