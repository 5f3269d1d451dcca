"""All uses of private names of other libraries, each with the reason and the version that it was checked with.

Each function imports the library when called. tests/test_compat.py fails if a library drops a name.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer
    from torch import Tensor


def keep_signal_handlers(trainer: "Trainer") -> None:
    """Disables Lightning's SIGTERM handler, which ends a run without a checkpoint (Lightning 2.6.6).

    Lightning has no option for that. Under DDP its handler calls a collective operation at an arbitrary point.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def has_trainer(module: "LightningModule") -> bool:
    """Returns whether a Trainer is attached. The property `trainer` raises an error without one (Lightning 2.6.6)."""
    return module._trainer is not None


def count_batches(trainer: "Trainer", count: int) -> None:
    """Adds batches to the Trainer's counters, for a `training_step` that trains on several (Lightning 2.6.6).

    Its loop counts one per call. The private one counts optimizer steps for loggers and is part of checkpoints.
    """
    trainer.fit_loop.epoch_loop.batch_progress.increment_by(count)
    trainer.fit_loop.epoch_loop._batches_that_stepped += count


def mark_dynamic_batch(tensor: "Tensor") -> None:
    """Marks the first axis as dynamic for torch.compile from the first call on (PyTorch 2.14.1).

    Otherwise torch.compile builds a static kernel first, which doubles the compile time. The PyTorch documentation on
    dynamic shapes names this function; `torch.compiler` has no public equivalent.
    """
    import torch

    torch._dynamo.maybe_mark_dynamic(tensor, 0)
