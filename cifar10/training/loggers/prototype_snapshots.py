"""Snapshots of the class prototypes during training, for figures of their evolution."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer
from PIL import Image
from torch import Tensor

from cifar10.files import write_atomically


class PrototypeSnapshots(Callback):
    """Saves the prototypes as `evolution/<step>.png` before training, after 1, 2, 4, 8 ... steps, and after the last.

    Each column of an image holds the prototypes of one class, without gaps, rounded to 8 bits.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / "evolution"
        self.last_step = -1

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.global_step == 0:  # not when resumed
            self._save(trainer, pl_module)

    def needs_step(self, step: int) -> bool:
        """Returns whether to act after this step; see `Classifier.training_step`."""
        return step & (step - 1) == 0  # most changes come in the first steps

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        if self.needs_step(trainer.global_step):
            self._save(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        # Before the last checkpoint is saved: a run that is killed afterwards does not train again.
        if trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs:
            self._save(trainer, pl_module)

    def _save(self, trainer: Trainer, model: Any) -> None:
        if not trainer.is_global_zero or trainer.global_step == self.last_step:
            return
        self.last_step = trainer.global_step
        rows = model.network.prototype_images().unflatten(0, (len(model.class_names), -1)).transpose(0, 1)
        pixels = rows.mul(255).round().byte().permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
        picture = Image.fromarray(pixels.cpu().numpy())
        write_atomically(self.folder / f"{self.last_step:07}.png", lambda file: picture.save(file, "png"))


def read_snapshots(run: Path, classes: int) -> dict[int, Tensor]:
    """Returns step -> prototypes after that step, (K, C, 3, H, W) in [0, 1]; empty without snapshots."""
    frames = {}
    for path in sorted((run / "evolution").glob("*.png")):
        with Image.open(path) as picture:
            pixels = torch.from_numpy(np.array(picture.convert("RGB")))
        side = pixels.shape[1] // classes
        frames[int(path.stem)] = pixels.unfold(0, side, side).unfold(1, side, side) / 255
    return frames
