"""A finished run, opened again: its result, history, predictions, model and data."""

import csv
import json
from collections.abc import Iterable
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from torch import Tensor

from cifar10.data.module import ImageData
from cifar10.errors import UserError
from cifar10.evolution import read_evolution
from cifar10.files import SafeCheckpointIO
from cifar10.models.base import Classifier
from cifar10.predictions import Predictions
from cifar10.results import recipe


class FinishedRun:
    """What `train.py` left in a folder; each part is read when it is first asked for.

    Raises UserError where the folder holds no finished run, or one that this version cannot read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.record: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
            self.class_names = list(self.record["test"]["class_accuracy"])
        except FileNotFoundError as error:
            raise UserError(f"{folder}: no finished run here; name the folder that train.py told at its end") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder}/metrics.json: not a run's result ({type(error).__name__}: {error})") from error

    @property
    def title(self) -> str:
        """What stands over its figures."""
        return f"{self.record['model']}, {recipe(self.record)}, seed {self.record['seed']}, {self.record['data']}"

    @cached_property
    def history(self) -> dict[str, list[float]]:
        """The columns of `metrics.csv`, one value per epoch; those that have none are left out."""
        with (self.folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows] for name in rows[0] if all(row[name] for row in rows)}

    @cached_property
    def model(self) -> Classifier:
        """With the tested weights, on the CPU, for evaluation."""
        cls = get_class(self.record["config"]["model"]["_target_"])
        path = self.folder / "best.ckpt"
        if not path.exists():
            raise UserError(f"{path} is missing; the run's weights are needed")
        SafeCheckpointIO().load_checkpoint(path, weights_only=True)  # a clear line for what is no checkpoint
        return cls.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()

    @cached_property
    def data(self) -> ImageData:
        """The images that it was trained and tested on. Raises UserError where they are not there any more."""
        data = _data(OmegaConf.to_yaml(OmegaConf.load(self.folder / "config.yaml").data))
        if data.checksum != self.record["data_sha256"]:
            raise UserError(f"{self.folder}: the images of data={data.name} are not those that this run was tested on")
        return data

    @cached_property
    def predictions(self) -> Predictions:
        """What it said of the test images; made from the weights and kept where an older version did not."""
        try:
            return Predictions.load(self.folder)
        except (OSError, ValueError, KeyError, BadZipFile):
            with torch.inference_mode():
                logits = torch.cat([self.model(images) for images in self.data.test_images.split(500)])
            made = Predictions(logits.float().softmax(1).numpy(), self.data.test_labels.numpy())
            made.save(self.folder)
            return made

    @cached_property
    def evolution(self) -> dict[int, Tensor]:
        """Training step -> the prototypes after it, (K, C, 3, H, W) in [0, 1]; empty for networks."""
        return read_evolution(self.folder, len(self.class_names))


def finished_runs(paths: Iterable[Path]) -> list[FinishedRun]:
    """The finished runs at or below `paths`; what cannot be read is left out, `read_records` names it."""
    runs = []
    for folder in sorted({file.parent for path in paths for file in path.rglob("metrics.json")}):
        with suppress(UserError):
            runs.append(FinishedRun(folder))
    return runs


@cache
def _data(settings: str) -> ImageData:
    data = instantiate(OmegaConf.create(settings), _convert_="all")
    data.setup()  # what is there no more is not fetched again to look at a run
    return data
