"""A run's folder: a function of its settings, so that the same command finds its own earlier work."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from cifar10.errors import UserError

DEFAULT_DATA = "cifar10"
WITHOUT_EFFECT = ("runs", "force", "data.root", "data.mirrors", "trainer.enable_progress_bar")
"""Settings that say where things are or how they are shown. A changed data set is caught by its checksum."""
NAME_LENGTH = 120


def run_name(choices: Mapping[str, str], overrides: Sequence[str]) -> str:
    """`<model>/<what differs from the defaults>/seed=<n>`, from Hydra's choices of groups and its task overrides.

    run_name({"model": "cnn", "data": "cifar10"}, ["epochs=3", "seed=2"]) == "cnn/epochs=3/seed=2"
    """
    seed = None
    changes = {} if choices["data"] == DEFAULT_DATA else {"data": choices["data"]}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = override.key_or_group, override.get_value_element_as_str()
        if key == "seed":
            seed = value
        elif key == "data.root" and choices["data"] != DEFAULT_DATA:
            changes[key] = value.rstrip("/").rpartition("/")[2]  # another data set; its whole path is no name
        elif key not in ("model", "data", *WITHOUT_EFFECT) and not key.startswith("hydra"):
            changes[("~" if override.is_delete() else "") + key] = value.replace("/", "-")
    name = ",".join(f"{key}={value}" for key, value in sorted(changes.items()))
    if len(name) > NAME_LENGTH:
        name = f"{name[: NAME_LENGTH - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return "/".join(filter(None, (choices["model"], name, f"seed={seed or 1}")))


def open_run(folder: Path, cfg: DictConfig) -> dict[str, Any] | None:
    """The finished run's `metrics.json`, or None where there is something to train or to go on with.

    Writes `config.yaml`. Raises UserError where the folder holds a run of other settings.
    """
    if cfg.force:
        for name in ("config.yaml", "metrics.json", "metrics.csv", "last.ckpt", "best.ckpt", "tensorboard"):
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    stored = folder / "config.yaml"
    if stored.exists():
        _check_same(folder, _flat(OmegaConf.load(stored)), _flat(cfg))
    if (folder / "metrics.json").exists():
        return json.loads((folder / "metrics.json").read_text())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stored.write_text(OmegaConf.to_yaml(cfg, resolve=True))
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another folder with runs=PATH") from error
    return None


def _check_same(folder: Path, stored: dict[str, Any], asked: dict[str, Any]) -> None:
    for key in sorted(stored.keys() | asked.keys()):
        if key not in WITHOUT_EFFECT and stored.get(key) != asked.get(key):
            raise UserError(
                f"{folder} holds a run with {key}={stored.get(key)}, now it is {asked.get(key)}; "
                "set it back, choose another folder with runs=PATH, or start over with force=true"
            )


def _flat(cfg: DictConfig) -> dict[str, Any]:
    """Dotted key -> value, lists as values."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, child in value.items():
                walk(f"{prefix}.{name}" if prefix else name, child)
        else:
            flat[prefix] = value

    walk("", OmegaConf.to_container(cfg, resolve=True))
    return flat
