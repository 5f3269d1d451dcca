"""The command that gives a run's settings again, from its record."""

import json
import shlex
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf

from cifar10.errors import UserError
from cifar10.results.table import Record, recipe
from cifar10.training.config import CONF, completed, dotted
from cifar10.training.run_folder import DEFAULT_DATA, WITHOUT_EFFECT


def command(record: Record) -> str:
    """`python train.py model=cnn seed=1`, or `python train.py experiment=cnn_fast seed=2 epochs=3`.

    Raises UserError where no file in conf/ describes the run's model or data.
    """
    name, changes = _base_and_changes(record)
    words = [*name, f"seed={record['seed']}", *changes]
    return " ".join(["python train.py", *map(shlex.quote, words)])


def changes(record: Record) -> list[str]:
    """What the command sets besides model, recipe, data set and seed."""
    return _base_and_changes(record)[1]


def _base_and_changes(record: Record) -> tuple[list[str], list[str]]:
    config, data = completed(record["config"]), _choice("data", record["config"])
    special = recipe(record) != "study" and (CONF / f"experiment/{recipe(record)}.yaml").exists()
    base = [f"experiment={recipe(record)}" if special else f"model={_choice('model', config)}"]
    if _choice("model", composed(*base)) != (model := _choice("model", config)):
        base.append(f"model={model}")  # of an experiment that was given another one
    base += [] if data == DEFAULT_DATA else [f"data={data}"]
    settings = composed(*base)
    listed, today, then = (dict(dotted(one)) for one in (settings, completed(settings), config))
    if data == "folder":
        base.append(f"data.root={_value(then.get('data.root', 'PATH'))}")
    different = []
    for key in sorted(today.keys() | then.keys()):
        if key in ("seed", *WITHOUT_EFFECT) or (key in today and key in then and today[key] == then[key]):
            continue
        prefix = "" if key in listed else "+"
        different.append(f"{prefix}{key}={_value(then[key])}" if key in then else f"~{key}")
    return base, different


@cache
def composed(*overrides: str) -> dict[str, Any]:
    """The settings of `python train.py <overrides>`, as plain Python. Raises HydraException, OmegaConfBaseException."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("train", list(overrides)), resolve=True)


@cache
def _described(group: str) -> dict[str, str]:
    """Class -> the file in conf/<group>/ that describes it."""
    files = {file.stem: OmegaConf.load(file) for file in sorted((CONF / group).glob("*.yaml"))}
    return {settings.get(group, settings)["_target_"]: name for name, settings in files.items()}


def _choice(group: str, config: dict[str, Any]) -> str:
    target = config.get(group, {}).get("_target_")
    if target not in _described(group):
        raise UserError(f"no file in conf/{group}/ has _target_: {target}")
    return _described(group)[target]


def _value(value: Any) -> str:
    """As Hydra's command line reads it."""
    if not isinstance(value, str):
        return json.dumps(value)
    return value if _read(value) == value else QuotedString(value, Quote.single).with_quotes()


def _read(text: str) -> Any:
    try:
        return OverridesParser.create().parse_override(f"key={text}").value()
    except HydraException:
        return None
