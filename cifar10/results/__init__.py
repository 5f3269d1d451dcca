"""Results of finished runs: one table, one registry of figures, one page."""

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def load(paths: str | PathLike[str] | Iterable[str | PathLike[str]]) -> "pd.DataFrame":
    """Returns the finished runs at or below `paths`, one row per run.

    paths: run folders, folders of them, or `metrics.json` files under any name (docs/results/).

    | column | content |
    | --- | --- |
    | model, experiment, data | `CNN`, `cnn_fast` or `study`, `cifar10` |
    | data_sha256, seed | checksum of the images and labels; seed of the run |
    | changes | overrides that differ from the experiment's defaults, as typed; "" if there are none |
    | accuracy, loss | on the test set; accuracy in [0, 1] |
    | val_accuracy, val_loss | on the validation images, after the tested epoch |
    | settings | dict of all settings that affect the result, without the seed: `{"model.learning_rate": 0.1, ...}` |
    | seconds | reading data, training, validation and test together |
    | device, precision, commit | where and by which code the run was made |
    | path | the file |
    | record | its content, a dict |

    A run counts once: named twice, copied, or repeated with the same settings and seed. A run's own folder takes
    precedence over a copy, a later path over an earlier one. `.attrs["skipped"]` lists what was skipped and why:
    unfinished runs, other JSON files, repetitions with different results.

    >>> runs = cifar10.results.load("runs")
    >>> runs.groupby(["model", "experiment"])["accuracy"].agg(["mean", "std", "count"])
    """
    from cifar10.results.records import read_runs

    return read_runs(paths)
