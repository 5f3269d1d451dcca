"""Names run folders by their settings, and locks each for one process at a time."""

import csv
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import nan
from pathlib import Path
from time import sleep
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from cifar10.errors import Busy, Pruned, UserError, one_line
from cifar10.files import write_atomically
from cifar10.training.config import fill_defaults, flatten

DEFAULT_DATA = "cifar10"
OFFICIAL_DATA = (DEFAULT_DATA, "cifar100")
"""Data sets whose files are fixed by checksums: `data.root` does not affect the result."""
READ_ERRORS = (OSError, ValueError, LookupError, TypeError, ImportError, csv.Error, YAMLError, OmegaConfBaseException)
NOT_COMPARED = (
    *("runs", "overwrite", "stop_on_divergence", "checkpoint.every_n_minutes", "checkpoint.every_n_steps"),
    *("data.root", "data.mirrors", "data.eval_batch_size", "model.compile"),
    *("trainer.enable_progress_bar", "logger", "logger.tensorboard", "logger.mlflow.tracking_uri"),
    *("logger.mlflow.experiment", "logger.wandb.project", "logger.wandb.entity", "logger.wandb.mode"),
)
"""Settings that are not part of a run's identity: they affect its result by rounding at most. `data.root` is part of it
if no checksums fix the files."""
RESULT, CONFIG, STATUS = "metrics.json", "config.yaml", "status.txt"
"""STATUS holds one line: why the last attempt failed or was pruned, or that the run is validated but not tested."""
VALIDATED = "validated"
"""Status of a completed trial of a search, which is not tested."""
# Removed in this order: a kill in between leaves an unfinished run with its own settings.
RUN_FILES = (
    *(RESULT, "last.ckpt", "best.ckpt", "predictions.npz", "metrics.csv", "evolution", "tensorboard"),
    *("mlflow_run_id.txt", "wandb_run_id.txt", "wandb", STATUS, CONFIG),
)


def run_name(choices: Mapping[str, str], overrides: Sequence[str]) -> str:
    """Returns `<model or experiment>/<overrides>/seed=<n>`, from Hydra's group choices and task overrides.

    run_name({"model": "cnn", "data": "cifar10"}, ["epochs=3", "seed=2"]) == "cnn/epochs=3/seed=2"
    """
    seed, search = "1", choices.get("search")
    experiment = None if choices.get("experiment") == "study" else choices.get("experiment")  # it only lists runs
    base = f"search_{search}" if search else experiment
    changes = {} if choices["data"] == DEFAULT_DATA else {"data": choices["data"]}
    changes |= {"experiment": experiment} if search and experiment else {}
    for override in _parse(overrides):
        key, value = override.key_or_group, override.get_value_element_as_str()
        if key == "seed":
            seed = value.replace("/", "-")
        elif key == "data.root" and choices["data"] not in OFFICIAL_DATA:
            # Another data set. The full path is too long for a name.
            path = Path(value.strip("'\"")).expanduser().resolve()
            changes[key] = f"{path.name}-{_hash(path)}"
        elif key == "model" and base:
            changes[key] = value
        elif key not in ("model", "data", "experiment", "search", *NOT_COMPARED) and not key.startswith("hydra"):
            changes[("~" if override.is_delete() else "") + key] = value.replace("/", "-")
    name = _shorten(",".join(f"{key}={value}" for key, value in sorted(changes.items())))
    return "/".join([base or choices["model"], *([name] if name else []), f"seed={seed}"])


def result_overrides(overrides: Sequence[str]) -> list[str]:
    """Returns the overrides of a sweep, sorted, without those that do not affect the result."""
    parsed = {str(override.input_line): override.key_or_group for override in _parse(overrides)}
    other_data = "data" in parsed.values() and not any(f"data={name}" in parsed for name in OFFICIAL_DATA)
    not_compared = set(NOT_COMPARED) - ({"data.root"} if other_data else set())
    return sorted(line for line, key in parsed.items() if key not in not_compared)


def _parse(overrides: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(overrides))


def safe_name(text: str) -> str:
    """Returns `text` as a file name: `_` replaces all but letters, digits and `_.=,+~-`; long names are shortened."""
    return _shorten(re.sub(r"[^\w.=,+~-]+", "_", text))


def _shorten(name: str) -> str:
    return name if len(name) <= 120 else f"{name[:111]}-{_hash(name)}"


def _hash(value: object) -> str:
    return hashlib.sha256(os.fsencode(str(value))).hexdigest()[:8]


def finished_result(folder: Path, cfg: DictConfig) -> dict[str, Any] | None:
    """Returns the record of a finished run, or None if the run has to be trained, resumed or overwritten.

    cfg: all settings, from `fill_defaults`. Raises UserError if the folder holds a run with other settings.
    """
    if cfg.overwrite:
        return None
    if (folder / CONFIG).exists():
        _check_same_settings(folder, cfg)
    if not (folder / RESULT).exists():
        return None
    with readable(folder / RESULT):
        return read_record(folder / RESULT)


def read_record(path: Path) -> dict[str, Any]:
    """Returns the content of `metrics.json`, in which null stands for a loss that is not finite.

    Raises OSError, ValueError, KeyError or TypeError for a damaged file.
    """
    record = json.loads(path.read_text())
    for values, name in ((record["test"], "loss"), (record, "val_loss")):
        values[name] = nan if values[name] is None else float(values[name])
    return record


def _check_same_settings(folder: Path, cfg: DictConfig) -> None:
    given: Any = OmegaConf.to_container(cfg, resolve=True)
    with readable(folder / CONFIG):
        older: Any = OmegaConf.to_container(OmegaConf.load(folder / CONFIG), resolve=True)
        stored, new = dict(flatten(fill_defaults(older))), dict(flatten(given))
    for key in sorted((stored.keys() | new.keys()) - set(NOT_COMPARED)):
        if comparable(key, stored.get(key)) != comparable(key, new.get(key)):
            raise UserError(
                f"{folder} holds a run with {key}={stored.get(key)}, got {key}={new.get(key)}; "
                "restore the setting, choose another folder with runs=PATH, or start over with overwrite=true"
            )


def comparable(name: str, value: Any) -> Any:
    """Returns a setting's value for comparisons: an integer as a float, since 3 and 3.0 are the same setting.

    The exception is `trainer.limit_train_batches`, where 1 is one batch and 1.0 is all batches.
    """
    if name == "trainer.limit_train_batches":
        return value if type(value) is float else f"{value} batches"
    return float(value) if type(value) is int else value


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Converts the errors of reading a damaged or incompatible YAML, JSON or CSV file to UserError."""
    try:
        yield
    except READ_ERRORS as error:
        raise UserError(f"{path} cannot be read; start over with overwrite=true") from error


def init_run_folder(folder: Path, cfg: DictConfig) -> None:
    """Writes the settings into the folder. With overwrite=true, removes the previous run first."""
    for name in RUN_FILES if cfg.overwrite else ():
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if not (folder / CONFIG).exists():
        text = OmegaConf.to_yaml(cfg, resolve=True)
        write_atomically(folder / CONFIG, lambda file: file.write(text.encode()))


@contextmanager
def lock_run_folder(folder: Path) -> Iterator[None]:
    """Creates and locks the folder until the end of the block or process. Raises Busy if it is locked."""
    lock, holder = FileLock(folder / ".lock"), folder / ".holder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise Busy(
            f"{folder} is locked by {_read_holder(holder)}; wait, or choose another folder with runs=PATH"
        ) from None
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; choose another folder with runs=PATH") from error
    try:
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _read_holder(holder: Path) -> str:
    for _ in range(20):  # written shortly after the lock is acquired
        with suppress(OSError):
            if text := holder.read_text():
                return text
        sleep(0.05)
    return "another process"


@contextmanager
def log_failure_to_status(folder: Path) -> Iterator[None]:
    """Writes the reason of a failure of the block to STATUS. Neither Interrupted nor Busy is a failure."""
    try:
        yield
    except Busy:
        raise
    except Exception as error:
        text = f"{status_of(error)}: {one_line(error) or type(error).__name__}\n"
        with suppress(UserError):
            write_atomically(folder / STATUS, lambda file: file.write(text.encode(errors="replace")))
        raise


def status_of(error: Exception) -> str:
    """Returns the status of a job that raised this error."""
    return "lost" if isinstance(error, Busy) else "pruned" if isinstance(error, Pruned) else "failed"
