"""A finished run, opened again: its result, history, predictions, model and data."""

import csv
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import torch
from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_class
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor
from yaml import YAMLError

from cifar10.data.datamodule import ImageData
from cifar10.errors import UserError
from cifar10.models.test_predictions import TestPredictions
from cifar10.networks.base import Network
from cifar10.networks.checkpoint import load_network
from cifar10.results.table import recipe
from cifar10.training.loggers.prototype_snapshots import read_snapshots

BROKEN = (OSError, EOFError, ValueError, LookupError, TypeError, RuntimeError, AttributeError, ImportError, BadZipFile)
BROKEN += (YAMLError, OmegaConfBaseException, HydraException, InstantiationException, UnpicklingError, zlib.error)


class FinishedRun:
    """What `train.py` left in a folder; each part is read when it is first asked for.

    Raises UserError where the folder holds no finished run, or one that this version cannot read.
    """

    def __init__(self, folder: Path, record: dict[str, Any] | None = None) -> None:
        self.folder = folder
        try:
            self.record: dict[str, Any] = record or json.loads((folder / "metrics.json").read_text())
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
        with reading(self.folder), (self.folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
            return {name: [float(row[name]) for row in rows] for name in rows[0] if all(row[name] for row in rows)}

    @cached_property
    def model(self) -> Network:
        """With the tested weights, on the CPU, for evaluation."""
        return load_network(weights_of(self.folder))

    @cached_property
    def data(self) -> ImageData:
        """The images that it was trained and tested on. Raises UserError where they are not there any more."""
        with reading(self.folder):
            data = _data(OmegaConf.to_yaml(OmegaConf.load(self.folder / "config.yaml").data, resolve=True))
        if data.checksum != self.record["data_sha256"]:
            raise UserError(f"{self.folder}: the images of data={data.name} are not those that this run was tested on")
        return data

    @cached_property
    def predictions(self) -> TestPredictions:
        """What it said of the test images; made from the weights and kept where an older version did not."""
        try:
            return TestPredictions.load(self.folder)
        except BROKEN:
            with torch.inference_mode():
                logits = torch.cat([self.model(images) for images in self.data.test_images.split(500)])
            made = TestPredictions(logits.float().softmax(1).numpy(), self.data.test_labels.numpy())
            with suppress(UserError):  # a folder that is not to be written to
                made.save(self.folder)
            return made

    @cached_property
    def evolution(self) -> dict[int, Tensor]:
        """Training step -> the prototypes after it, (K, C, 3, H, W) in [0, 1]; empty for networks."""
        with reading(self.folder):
            return read_snapshots(self.folder, len(self.class_names))


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turns what files raise that are missing, torn or of another version into one line."""
    try:
        yield
    except BROKEN as error:
        if isinstance(error, OSError) and error.filename:
            raise UserError(f"{error.filename}: {error.strerror}") from error
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{folder}: torn, or a run of another version ({told})") from error


@cache
def _data(settings: str) -> ImageData:
    """What a run's settings describe, which may be a stranger's: nothing but data sets is made of them."""
    arguments = OmegaConf.to_container(OmegaConf.create(settings))
    kind = get_class(arguments.pop("_target_"))
    if not issubclass(kind, ImageData):
        raise ValueError(f"{kind.__name__} is no data set")
    data = kind(**arguments)
    data.setup()  # what is there no more is not fetched again to look at a run
    return data


def weights_of(folder: Path) -> Path:
    """A finished run's `best.ckpt`. Raises UserError where it is missing."""
    path = folder / "best.ckpt"
    if not path.is_file():
        raise UserError(f"{path} is missing; the run's weights are needed")
    return path
