"""A run's folder: a function of its settings, so that the same command finds its own earlier work."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from cifar10.errors import UserError

DEFAULT_DATA = "cifar10"
WITHOUT_EFFECT = (
    *("runs", "overwrite", "stop_on_divergence", "checkpoint.every_n_minutes", "checkpoint.every_n_steps"),
    *("data.root", "data.mirrors", "data.eval_batch_size", "trainer.enable_progress_bar"),
)
"""Settings of where things are, how they are shown, how fast they go, and of what is done when training fails.

Where data=folder lies names its runs.
"""
NAME_LENGTH = 120
CONFIG = "config.yaml"
STATUS = "status.txt"
"""Why the folder's run ended before it was finished, in a line, where it was not interrupted."""


def run_name(choices: Mapping[str, str], overrides: Sequence[str]) -> str:
    """`<model or experiment>/<what differs>/seed=<n>`, from Hydra's choices of groups and its task overrides.

    It follows what was asked for, not what it comes to: `epochs=10` is another folder even where 10 is the default.
    run_name({"model": "cnn", "data": "cifar10"}, ["epochs=3", "seed=2"]) == "cnn/epochs=3/seed=2"
    """
    seed, search = "1", choices.get("search")
    experiment = None if choices.get("experiment") == "study" else choices.get("experiment")  # a list of runs
    base = f"search_{search}" if search else experiment
    changes = {} if choices["data"] == DEFAULT_DATA else {"data": choices["data"]}
    changes |= {"experiment": experiment} if search and experiment else {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = override.key_or_group, override.get_value_element_as_str()
        if key == "seed":
            seed = value.replace("/", "-")
        elif key == "data.root" and choices["data"] != DEFAULT_DATA:
            path = Path(value.strip("'\"")).resolve()  # another data set; its whole path is too long for a name
            changes[key] = f"{path.name}-{_short_hash(str(path))}"
        elif key == "model" and base:
            changes[key] = value
        elif key not in ("model", "data", "experiment", "search", *WITHOUT_EFFECT) and not key.startswith("hydra"):
            changes[("~" if override.is_delete() else "") + key] = value.replace("/", "-")
    name = ",".join(f"{key}={value}" for key, value in sorted(changes.items()))
    name = _shortened(name)
    return "/".join(filter(None, (base or choices["model"], name, f"seed={seed}")))


def words(overrides: Sequence[str]) -> list[str]:
    """What tells one sweep from another: its overrides in order, without those that change no result."""
    without_effect = set(WITHOUT_EFFECT)
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    if any(override.key_or_group == "data" and override.value() != DEFAULT_DATA for override in parsed):
        without_effect.remove("data.root")
    return sorted(override.input_line for override in parsed if override.key_or_group not in without_effect)


def monitored(record: Mapping[str, Any]) -> float:
    """What a finished run's `monitor` was, in its best epoch."""
    return record[record["config"]["monitor"].replace("/", "_")]


def safe_name(text: str) -> str:
    """A file's name for words of a command line."""
    return _shortened(re.sub(r"[^\w.=,+~-]+", "_", text))


def _shortened(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 9]}-{_short_hash(name)}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def finished_result(folder: Path, cfg: DictConfig) -> dict[str, Any] | None:
    """The finished run's `metrics.json`, or None where there is something to train, to go on with or to force.

    Raises UserError where the folder holds a run of other settings.
    """
    if cfg.overwrite:
        return None
    if (folder / CONFIG).exists():
        with readable(folder / CONFIG):
            stored = _flat(OmegaConf.load(folder / CONFIG))
        _check_same(folder, stored, _flat(cfg))
    result = folder / "metrics.json"
    if not result.exists():
        return None
    with readable(result):
        record = json.loads(result.read_text())
        record["test"]  # what is no result has none
        return record


UNREADABLE = (
    YAMLError,
    OmegaConfBaseException,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ImportError,
)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what a damaged file of a run makes its reader raise into one line."""
    try:
        yield
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read; start over with overwrite=true") from error


def claim(folder: Path, cfg: DictConfig) -> None:
    """Writes the settings into the folder; with overwrite=true removes an earlier run from it before."""
    from cifar10.files import write_atomically

    if cfg.overwrite:
        # The result first, the settings last: killed in between, it is an unfinished run of the old settings.
        for name in (
            "metrics.json",
            "last.ckpt",
            "best.ckpt",
            "predictions.npz",
            "metrics.csv",
            "evolution",
            "tensorboard",
            STATUS,
            CONFIG,
        ):
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if not (folder / CONFIG).exists():
        text = OmegaConf.to_yaml(cfg, resolve=True)
        write_atomically(folder / CONFIG, lambda file: file.write(text.encode()))


def _check_same(folder: Path, stored: dict[str, Any], asked: dict[str, Any]) -> None:
    for key in sorted(stored.keys() | asked.keys()):
        if key not in WITHOUT_EFFECT and stored.get(key) != asked.get(key):
            raise UserError(
                f"{folder} holds a run with {key}={stored.get(key)}, now it is {asked.get(key)}; "
                "set it back, choose another folder with runs=PATH, or start over with overwrite=true"
            )


def _flat(cfg: DictConfig) -> dict[str, Any]:
    from cifar10.training.config import completed, dotted

    return dict(dotted(completed(OmegaConf.to_container(cfg, resolve=True))))
