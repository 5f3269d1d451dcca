"""Opens a finished run: record, training curves, predictions, network, data. Writes nothing."""

import json
import os
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch
from hydra.utils import get_class
from torch import Tensor

from cifar10.data.cifar10 import CIFAR10Data
from cifar10.data.datamodule import ImageData
from cifar10.errors import UserError
from cifar10.models.test_predictions import TestPredictions
from cifar10.networks.base import Network
from cifar10.networks.checkpoint import load_network, weights_path
from cifar10.results.records import Record, experiment
from cifar10.training.config import check_arguments
from cifar10.training.loggers.prototype_snapshots import read_snapshots

_data_by_checksum: dict[str, ImageData] = {}
"""The data set that was read last: runs on the same images share it."""


class SavedRun:
    """The files of a finished run; each is read when it is first used.

    record: the content of `metrics.json`, where the caller has it. Raises UserError for missing or damaged files.
    """

    def __init__(self, folder: Path, record: Record | None = None) -> None:
        self.folder, path = folder, folder / "metrics.json"
        try:
            self.record = json.loads(path.read_text()) if record is None else record
            self.class_names = list(self.record["test"]["class_accuracy"])
        except FileNotFoundError as error:
            raise UserError(f"{folder}: no finished run here; name the folder that train.py logged last") from error
        except (OSError, ValueError, KeyError, TypeError) as error:  # TypeError: JSON of another structure
            raise _damaged(path, error) from error

    @property
    def title(self) -> str:
        """The heading of its figures."""
        return f"{self.record['model']}, {experiment(self.record)}, seed {self.record['seed']}, {self.record['data']}"

    @cached_property
    def history(self) -> dict[str, list[float]]:
        """The columns of `metrics.csv`, one value per epoch; columns with empty cells are left out."""
        path = self.folder / "metrics.csv"
        try:
            cells = pd.read_csv(path, dtype=str, keep_default_na=False)  # the text "nan" is a value
            return cells.loc[:, (cells != "").all()].astype(float).to_dict("list")
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error

    @cached_property
    def network(self) -> Network:
        """The network with the tested weights, on the CPU, in eval mode."""
        return load_network(weights_path(self.folder))

    @cached_property
    def prototypes(self) -> Tensor | None:
        """The prototypes of each class, (C, K, 3, H, W) in [0, 1]; None for a network without any."""
        images = self.network.prototype_images()
        return None if images is None else images.unflatten(0, (len(self.class_names), -1))

    @cached_property
    def data(self) -> ImageData:
        """The images that it was trained and tested on."""
        checksum = self.record["data_sha256"]
        if checksum not in _data_by_checksum:
            data = _read_data(self.folder / "metrics.json", self.record)
            if data.checksum != checksum:
                raise UserError(f"{self.folder}: data={data.name} has other images than this run was tested on")
            _data_by_checksum.clear()
            _data_by_checksum[checksum] = data
        return _data_by_checksum[checksum]

    @cached_property
    def predictions(self) -> TestPredictions:
        """The predictions on the test images; computed from the weights if `predictions.npz` is missing or damaged."""
        try:
            return TestPredictions.load(self.folder)
        except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error):
            with torch.inference_mode():
                logits = torch.cat([self.network(images) for images in self.data.test_images.split(500)])
            return TestPredictions(logits.float().softmax(1).numpy(), np.asarray(self.data.test_labels))

    @cached_property
    def snapshots(self) -> dict[int, Tensor]:
        """Training step -> the prototypes after it, (K, C, 3, H, W) in [0, 1]; empty for networks."""
        try:
            return read_snapshots(self.folder, len(self.class_names))
        except (OSError, ValueError) as error:
            raise _damaged(self.folder / "evolution", error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    if isinstance(error, OSError) and error.filename:
        return UserError(f"{error.filename}: {error.strerror}")
    return UserError(f"{path}: damaged, or of another version ({' '.join(f'{type(error).__name__}: {error}'.split())})")


@torch.inference_mode(False)  # the images are shared, also with code that computes gradients
def _read_data(path: Path, record: Record) -> ImageData:
    """Reads the data set of a record. The record may come from a stranger: only data sets are constructed from it."""
    try:
        arguments: dict[str, Any] = dict(record["config"]["data"])
        kind = get_class(arguments.pop("_target_"))
        if not issubclass(kind, ImageData):
            raise ValueError(f"config.data._target_={kind.__name__}: expected a data set")
    except (KeyError, ValueError, TypeError, ImportError) as error:
        raise _damaged(path, error) from error
    check_arguments("data", kind, arguments)
    try:
        data = kind(**arguments)
    except TypeError as error:  # a published record has no data.root
        raise _damaged(path, error) from error
    try:
        data.setup()  # does not download missing files
    except UserError as error:
        root = os.environ.get("CIFAR10_ROOT")
        if kind is not CIFAR10Data or root == arguments.get("root"):
            raise
        if root is None:
            raise UserError(f"{error}; if they are in another folder, set CIFAR10_ROOT=FOLDER") from error
        data = kind(**arguments | {"root": root})  # the run is from another working directory or machine
        data.setup()
    return data
