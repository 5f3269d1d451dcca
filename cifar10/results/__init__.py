"""Results of finished runs: the table of runs, their figures, the HTML report."""

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def load(paths: str | PathLike[str] | Iterable[str | PathLike[str]]) -> "pd.DataFrame":
    """Returns the finished runs at or below `paths`, one row per run.

    paths: run folders, folders that contain some, or copies of `metrics.json` under any name (docs/results/).

    | column | content |
    | --- | --- |
    | model, experiment, data | `CNN`, `cnn_fast` or `study`, `cifar10` |
    | data_sha256, seed | checksum of images and labels; random seed |
    | changes | overrides other than model, experiment, data and seed, as typed; "" if none |
    | accuracy, loss | on the test set; accuracy in [0, 1] |
    | val_accuracy, val_loss | on the validation images, at the best epoch |
    | settings | dict of the settings that affect the result, without the seed: `{"model.learning_rate": 0.1, ...}` |
    | seconds | total of data loading, training, validation and test |
    | device, precision, commit | hardware, numerical precision and git commit |
    | path | path of the record |
    | record | its content, a dict |

    Runs with the same settings and seed are counted once. A run folder takes precedence over a copied record, a later
    path over an earlier one. `.attrs["skipped"]` lists skipped paths with reasons: unfinished runs, other JSON files,
    duplicates with different results.

    >>> runs = cifar10.results.load("runs")
    >>> runs.groupby(["model", "experiment"])["accuracy"].agg(["mean", "std", "count"])
    """
    from cifar10.results.records import read_runs

    return read_runs(paths)
