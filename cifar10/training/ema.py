"""A moving average of the weights, by which validation and test go: it swings less than the weights themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning import LightningModule
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage(WeightAveraging):
    """Lightning's exponential moving average of weights and buffers: each step counts for 1 - `decay` of what is new.

    `last.ckpt` holds both, `best.ckpt` the average alone (Polyak and Juditsky, SIAM J. Control Optim. 30, 1992).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))

    @contextmanager
    def in_place(self, module: LightningModule) -> Iterator[None]:
        """Within it the module has the average for its weights, as in validation."""
        self._swap_models(module)
        try:
            yield
        finally:
            self._swap_models(module)
