"""Loads a finished run: record, training curves, predictions, network, data. Never writes."""

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
from cifar10.errors import UserError, one_line
from cifar10.models.test_predictions import TestPredictions
from cifar10.networks.base import Network
from cifar10.networks.checkpoint import load_network, weights_path
from cifar10.results.records import Record, experiment
from cifar10.training.config import check_arguments
from cifar10.training.loggers.prototype_snapshots import read_snapshots

_data_by_checksum: dict[str, ImageData] = {}
"""The data set that was loaded last; runs on the same images share it."""


class SavedRun:
    """Files of a finished run, loaded on first access. Raises UserError for missing or damaged files.

    record: the content of `metrics.json`, if it is loaded already.
    """

    def __init__(self, folder: Path, record: Record | None = None) -> None:
        self.folder, path = folder, folder / "metrics.json"
        try:
            self.record = json.loads(path.read_text()) if record is None else record
            names = self.record["test"]["class_accuracy"]
            self.class_names = [name.encode(errors="replace").decode() for name in names]  # figures need valid Unicode
        except FileNotFoundError as error:
            raise UserError(f"{folder}: no finished run found; pass the folder that train.py logs last") from error
        except (OSError, ValueError, KeyError, TypeError) as error:  # TypeError: a list, not an object
            raise _damaged(path, error) from error

    @property
    def title(self) -> str:
        """The title of the run's figures."""
        return f"{self.record['model']}, {experiment(self.record)}, seed {self.record['seed']}, {self.record['data']}"

    @cached_property
    def history(self) -> dict[str, list[float]]:
        """The columns of `metrics.csv`, one value per epoch, without columns that have empty cells."""
        path = self.folder / "metrics.csv"
        try:
            cells = pd.read_csv(path, dtype=str, keep_default_na=False)  # "nan" is a value
            return cells.loc[:, (cells != "").all()].astype(float).to_dict("list")
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error

    @cached_property
    def network(self) -> Network:
        """The network with the weights of the best epoch, on the CPU, in eval mode."""
        network = load_network(weights_path(self.folder))
        network.class_names = self.class_names
        return network

    @cached_property
    def prototypes(self) -> Tensor | None:
        """The prototypes of each class, (C, K, 3, H, W) in [0, 1]; None for other models."""
        images = self.network.prototype_images()
        return None if images is None else images.unflatten(0, (len(self.class_names), -1))

    @cached_property
    def data(self) -> ImageData:
        """The data set of the run."""
        checksum = self.record["data_sha256"]
        if checksum not in _data_by_checksum:
            data = _load_data(self.folder / "metrics.json", self.record)
            if data.checksum != checksum:
                raise UserError(f"{self.folder}: data={data.name} differs from the images of this run")
            _data_by_checksum.clear()
            _data_by_checksum[checksum] = data
        return _data_by_checksum[checksum]

    @cached_property
    def predictions(self) -> TestPredictions:
        """The predictions on the test images.

        If `predictions.npz` is missing or damaged, they are computed from the weights, in the precision of the run.
        """
        try:
            return TestPredictions.load(self.folder)
        except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error):
            bfloat16 = torch.autocast("cpu", torch.bfloat16, enabled=self.record["precision"] == "bf16-mixed")
            with torch.inference_mode(), bfloat16:
                logits = torch.cat([self.network(images) for images in self.data.test_images.split(500)])
            return TestPredictions(logits.float().softmax(1).numpy(), np.asarray(self.data.test_labels))

    @cached_property
    def snapshots(self) -> dict[int, Tensor]:
        """Training step -> prototypes after it, (K, C, 3, H, W) in [0, 1]; empty for other models."""
        try:
            return read_snapshots(self.folder, len(self.class_names))
        except (OSError, ValueError) as error:
            raise _damaged(self.folder / "evolution", error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    if isinstance(error, OSError) and error.filename:
        return UserError(one_line(error))
    return UserError(f"{path}: damaged or from an incompatible version ({type(error).__name__}: {one_line(error)})")


@torch.inference_mode(False)  # cached images are also used with gradients
def _load_data(path: Path, record: Record) -> ImageData:
    """Loads the data set of a record. Records are untrusted: only subclasses of ImageData are instantiated."""
    try:
        arguments: dict[str, Any] = dict(record["config"]["data"])
        cls = get_class(arguments.pop("_target_"))
        if not issubclass(cls, ImageData):
            raise ValueError(f"config.data._target_={cls.__name__}: expected a subclass of ImageData")
        check_arguments("data", cls, arguments)
        data = cls(**arguments)
    except (KeyError, ValueError, TypeError, ImportError) as error:  # TypeError: published records lack data.root
        raise _damaged(path, error) from error
    try:
        data.setup()  # does not download missing files
    except UserError as error:
        variable = f"{data.name.upper()}_ROOT"
        root = os.environ.get(variable)
        if not isinstance(data, CIFAR10Data) or root == arguments.get("root"):
            raise
        if root is None:
            raise UserError(f"{error}; if they are in another folder, set {variable}=FOLDER") from error
        data = cls(**arguments | {"root": root})  # the run is from another working directory or machine
        data.setup()
    return data
