"""Exponential moving average of the weights, used for validation and test."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage(WeightAveraging):
    """Averages weights and buffers: average = decay * average + (1 - decay) * weights, after each step.

    `last.ckpt` holds both, `best.ckpt` the average only (Polyak and Juditsky, SIAM J. Control Optim. 30, 1992).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))

    @contextmanager
    def in_place(self, trainer: Trainer, module: LightningModule) -> Iterator[None]:
        """Swaps the average into the module until the end of the block, as in validation."""
        self.on_validation_epoch_start(trainer, module)  # swaps weights and average
        try:
            yield
        finally:
            self.on_validation_epoch_end(trainer, module)  # swaps them back
