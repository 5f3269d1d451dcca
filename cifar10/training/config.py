"""Validates the composed settings before PyTorch is imported."""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from inspect import Parameter, signature
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Gt, Interval
from hydra import compose, initialize_config_dir
from hydra.errors import OverrideParseException
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cifar10.errors import UserError, one_line

CONF = Path(__file__).resolve().parents[2] / "conf"
NOT_SETTINGS = ("class_names", "batch_size", "seed", "network")
"""Constructor arguments that come from the data, from the top-level settings or from a subclass."""


class _Group(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class TrainerSettings(_Group):
    """Arguments of `lightning.Trainer` that can be set. The others would break guarantees of this project."""

    accelerator: str
    devices: int | str | list[int]
    strategy: Literal["auto", "ddp"] = "auto"
    num_nodes: Annotated[int, Gt(0)] = 1
    enable_progress_bar: bool | None
    limit_train_batches: Annotated[int, Gt(0)] | Annotated[float, Interval(gt=0, le=1)] = 1.0
    gradient_clip_val: Annotated[float, Interval(gt=0, lt=inf)] | None = None
    deterministic: bool | Literal["warn"] = False
    benchmark: bool | None = None
    profiler: Literal["simple", "advanced", "pytorch"] | None = None


class CheckpointSettings(_Group):
    """Intervals at which `last.ckpt` is saved within an epoch."""

    every_n_minutes: Annotated[float, Gt(0)] | None = None
    every_n_steps: Annotated[int, Gt(0)] | None = None


class MLflowSettings(_Group):
    """Where the MLflow server is, and the experiment that its runs belong to."""

    tracking_uri: str
    experiment: str


class WandbSettings(_Group):
    """The W&B project of the runs."""

    project: str
    entity: str | None
    mode: Literal["online", "offline"]


class LoggerSettings(_Group):
    """Loggers besides `metrics.csv`; `conf/logger/` has one file for each."""

    tensorboard: bool = False
    mlflow: MLflowSettings | None = None
    wandb: WandbSettings | None = None


class Settings(_Group):
    """Top level of `conf/train.yaml`, which documents each key."""

    experiment: Annotated[str, Field(pattern=r"^\w+$")]
    seed: Annotated[int, Interval(ge=0, lt=2**32)]
    epochs: Annotated[int, Gt(0)]
    batch_size: Annotated[int, Gt(0)]
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    monitor: Literal["val/loss", "val/accuracy"]
    runs: str
    overwrite: bool
    ema_decay: Annotated[float, Interval(gt=0, lt=1)] | None
    stop_on_divergence: bool
    checkpoint: CheckpointSettings
    trainer: TrainerSettings
    logger: LoggerSettings = LoggerSettings()
    model: dict[str, Any]
    data: dict[str, Any]


def check_settings(cfg: DictConfig) -> None:
    """Raises UserError for the first key that is unknown, missing, of a wrong type or out of range."""
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    try:
        Settings.model_validate(values)
    except ValidationError as error:
        raise _user_error("", values, error) from error
    for group in ("model", "data"):
        target = values[group].pop("_target_", None)
        try:
            cls = get_class(target)
        except (ImportError, ValueError, AttributeError, TypeError) as error:
            raise UserError(f"{group}._target_={target}: {_import_error(target, error)}") from error
        check_arguments(group, cls, values[group])
    if values["batch_size"] == 1 and values["model"].get("batch_norm"):
        raise UserError("batch_size=1: model.batch_norm=true needs at least two images per batch; increase batch_size")


def _import_error(target: Any, error: Exception) -> str:
    """Returns why a class cannot be imported: it does not exist, or its module raised an error."""
    cause = error.__cause__
    missing = getattr(cause, "name", None)  # of a ModuleNotFoundError or AttributeError
    if not isinstance(cause, Exception) or f"{target}.".startswith(f"{missing}.") or missing in str(target).split("."):
        return "class not found; omit it, and choose a class by a group such as model=NAME"
    return f"the import failed: {type(cause).__name__}: {one_line(cause)}"


def check_arguments(group: str, cls: type, values: Mapping[str, Any], excluded: Collection[str] = NOT_SETTINGS) -> None:
    """Validates settings against the types and ranges in the signature of the constructor of `cls`."""
    settable = settable_arguments(cls, excluded)
    for name, value in values.items():
        if name not in settable:
            raise UserError(f"invalid setting {group}.{name}: {cls.__name__} expects {', '.join(sorted(settable))}")
        try:
            TypeAdapter(settable[name][1]).validate_python(value, strict=True)
        except ValidationError as error:
            raise _user_error(f"{group}.{name}", value, error) from error


def compose_settings(*overrides: str) -> DictConfig:
    """Returns the settings of `python train.py OVERRIDES`. Raises HydraException, OmegaConfBaseException."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", list(overrides))
    OmegaConf.resolve(cfg)
    return cfg


def fill_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Adds defaults of constructors and Trainer to settings. Raises ImportError if a class no longer exists."""
    full = dict(config)
    for group, settings in (("trainer", TrainerSettings), ("checkpoint", CheckpointSettings)):
        fields = settings.model_fields.items()
        given = full.get(group, {})
        full[group] = given | {k: v.default for k, v in fields if k not in given and not v.is_required()}
    for group in full.keys() & {"model", "data"}:
        if target := full[group].get("_target_"):
            arguments = settable_arguments(get_class(target)).items()
            defaults = {name: parameter.default for name, (parameter, _) in arguments if name not in full[group]}
            full[group] = full[group] | {k: v for k, v in defaults.items() if v is not Parameter.empty}
    return full


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields ("group.name", value) for each setting, as named on the command line. Lists are values."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def settable_arguments(cls: type, excluded: Collection[str] = NOT_SETTINGS) -> dict[str, tuple[Parameter, Any]]:
    """Returns name -> (parameter, type) of the constructor and, if it forwards `**kwargs`, of its base class."""
    found: dict[str, tuple[Parameter, Any]] = {}
    for base in cls.__mro__:
        constructor = vars(base).get("__init__", object.__init__)
        parameters, types = signature(constructor).parameters, get_type_hints(constructor, include_extras=True)
        for name in (name for name in parameters if name in types and name not in (*excluded, "kwargs")):
            found.setdefault(name, (parameters[name], types[name]))
        if "kwargs" not in parameters:
            break
    return found


def _user_error(key: str, values: Any, error: ValidationError) -> UserError:
    first = error.errors()[0]
    keys = [key] if key else []
    for part in first["loc"]:
        if isinstance(values, dict):  # the following parts name a member of a union
            keys.append(str(part))
            values = values.get(part)
    name, value = ".".join(keys), first["input"]
    value = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    hint = f"; quote it: {_quote(name, value)}" if first["type"] == "string_type" else ""
    return UserError(f"{name}={value}: {first['msg'][0].lower()}{first['msg'][1:]}{hint}")


def explain(error: Exception) -> str:
    """Returns `one_line(error)`. Suggests the closest name for an unknown setting, or quotes."""
    if isinstance(error, OverrideParseException):
        override = " ".join(error.override.split())  # without line breaks
        if "=" not in override:
            return f"invalid argument {override}: expected NAME=VALUE, such as model=cnn; --help lists all settings"
        return f"cannot parse {override}; quote the value: {_quote(*override.split('=', 1))}"
    if several := re.match(r"Ambiguous value for argument '(.+?)=(.*)'", str(error)):
        key, values = several.groups()
        return f"{key}={values}: several values need -m, or a list [{values}]; quote text: {_quote(key, values)}"
    unknown = re.match(r"Could not override '([^']+)'", str(error))
    if not unknown:
        return one_line(error)
    names = [name for file in CONF.rglob("*.yaml") for name in _keys(file)]
    close = get_close_matches(unknown[1], names, n=1, cutoff=0.7)
    if close == [unknown[1]]:
        return f"unknown setting {unknown[1]}: it exists only with another model=, data=, search=, logger= or trainer="
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown setting {unknown[1]}; {hint}python train.py --help lists all settings"


def _quote(key: str, value: str) -> str:
    """Returns an override with quotes for the shell and for the parser of Hydra."""
    return f'"{key}=\\"{value}\\""' if "'" in value else f"\"{key}='{value}'\""


def _keys(file: Path) -> Iterator[str]:
    """Yields the settings and groups of a file in `conf/`, as named on the command line."""
    prefixes = {"data": "data.", "logger": "logger.", "trainer": "trainer.", "sweeper": "hydra.sweeper."}
    prefix = prefixes.get(file.parent.name, "")
    content: Any = OmegaConf.to_container(OmegaConf.load(file))
    for name, _ in flatten(content, prefix):
        yield from (name, name.partition(".")[0])
