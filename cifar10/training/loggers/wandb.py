"""Logs to Weights & Biases with Lightning's logger."""

import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from cifar10.training.loggers.run_logger import Status
from cifar10.training.loggers.tracker import Tracker

LIMITS: dict[str, Any] = {"login_timeout": 30, "init_timeout": 30, "finish_timeout": 60, "finish_timeout_raises": True}
"""Seconds. By default, the end of a run would wait without limit for a server that does not respond."""


class WandbTracker(Tracker):
    """Logs to a W&B run. The x axis of each chart is the epoch, and `best.ckpt` is one of its files."""

    kind = "wandb"

    def open(self, run_id: str | None) -> tuple[Any, str, str]:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        more: dict[str, Any] = {"resume": "allow", "reinit": "create_new"}
        more |= {"settings": wandb.Settings(console="off", symlink=False, **LIMITS)}
        run = wandb.init(dir=self.folder, name=self.title, id=run_id, **more, **self.settings)
        run.define_metric("*", step_metric="trainer/global_step")  # the name that Lightning uses
        address = f"wandb sync '{Path(run.dir).parent}'" if run.offline else str(run.url)
        return WandbLogger(experiment=run), run.id, address

    def log_image(self, name: str, image: Image.Image, step: int) -> None:
        self.logger.log_image(name, [image], step)

    def log_file(self, path: Path) -> None:
        self.logger.experiment.save(path, base_path=path.parent, policy="now")

    def close(self, status: Status) -> None:
        self.logger.experiment.finish(exit_code=int(status != "FINISHED"))
