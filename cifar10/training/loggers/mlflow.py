"""Logs to an MLflow server with Lightning's logger."""

import logging
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from PIL import Image

from cifar10.training.loggers.run_logger import Status
from cifar10.training.loggers.tracker import Tracker

ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; by default, a server that does not respond stops a run for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class MLflowTracker(Tracker):
    """Logs to an MLflow run. Figures and `best.ckpt` are its artifacts."""

    kind = "mlflow"

    def open(self, run_id: str | None) -> tuple[Any, str, str]:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import mlflow

        for name in ("mlflow.tracking.fluent", "urllib3.connectionpool"):  # they log new experiments and each retry
            logging.getLogger(name).setLevel(logging.ERROR)
        uri, experiment = self.settings["tracking_uri"], self.settings["experiment"]
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(experiment)  # unlike Lightning, creates it without a race between processes
        logger = MLFlowLogger(experiment, self.title, uri, run_id=run_id)
        logger.experiment.update_run(logger.run_id, "RUNNING")
        return logger, str(logger.run_id), f"{uri}/#/experiments/{logger.experiment_id}/runs/{logger.run_id}"

    def log_image(self, name: str, image: Image.Image, step: int) -> None:
        self.logger.experiment.log_image(self.logger.run_id, image, f"{name}.png")

    def log_file(self, path: Path) -> None:
        self.logger.experiment.log_artifact(self.logger.run_id, str(path))

    def close(self, status: Status) -> None:
        self.logger.finalize(status)
