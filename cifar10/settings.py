"""Checks a composed configuration before anything heavy is imported or built."""

import inspect
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Gt, Interval
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from cifar10.errors import UserError

FROM_ELSEWHERE = ("class_names", "batch_size", "seed")
"""Arguments of models and data modules that `train.py` fills in, from the data and from the top level."""


class TrainerSettings(BaseModel):
    """What may be set of `lightning.Trainer`; the rest would break what this project promises of a run."""

    model_config = ConfigDict(strict=True, extra="forbid")

    accelerator: str
    devices: int | str | list[int]
    strategy: str = "auto"
    num_nodes: Annotated[int, Gt(0)] = 1
    enable_progress_bar: bool
    limit_train_batches: Annotated[int, Gt(0)] | Annotated[float, Interval(gt=0, le=1)] = 1.0
    gradient_clip_val: Annotated[float, Gt(0)] | None = None
    deterministic: bool | Literal["warn"] = False
    benchmark: bool | None = None
    profiler: Literal["simple", "advanced", "pytorch"] | None = None


class Settings(BaseModel):
    """The top level of `conf/train.yaml`; what each key means is said there."""

    model_config = ConfigDict(strict=True, extra="forbid")

    seed: Annotated[int, Interval(ge=0, lt=2**32)]
    epochs: Annotated[int, Gt(0)]
    batch_size: Annotated[int, Gt(0)]
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    monitor: Literal["val/loss", "val/accuracy"]
    runs: str
    force: bool
    trainer: TrainerSettings
    model: dict[str, Any]
    data: dict[str, Any]


def check_settings(cfg: DictConfig) -> None:
    """Raises UserError that names the first key that is unknown, missing, of a wrong type or out of its range."""
    values = OmegaConf.to_container(cfg, resolve=True)
    try:
        Settings.model_validate(values)
    except ValidationError as error:
        raise _user_error("", values, error) from error
    for group in ("model", "data"):
        _check_arguments(group, values[group])


def _check_arguments(group: str, values: dict[str, Any]) -> None:
    """A model's or data module's settings against the types and ranges in its constructor's signature."""
    cls = get_class(values.pop("_target_"))
    hints = _settable(cls)
    for name, value in values.items():
        if name not in hints:
            raise UserError(f"{group}.{name}: {cls.__name__} has no such setting; it has {', '.join(sorted(hints))}")
        try:
            TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            raise _user_error(f"{group}.{name}", value, error) from error


def _settable(cls: type) -> dict[str, Any]:
    """Parameter -> type, of the constructor and, where it passes on `**kwargs`, of the class below it."""
    hints: dict[str, Any] = {}
    for base in cls.__mro__:
        parameters = inspect.signature(base.__init__).parameters
        types = get_type_hints(base.__init__, include_extras=True)
        hints |= {name: types[name] for name in parameters if name in types and name not in (*FROM_ELSEWHERE, "kwargs")}
        if "kwargs" not in parameters:
            break
    return hints


def _user_error(key: str, values: Any, error: ValidationError) -> UserError:
    first = error.errors()[0]
    keys = [key] if key else []
    for part in first["loc"]:
        if isinstance(values, dict):  # what follows tells which type of a union was tried
            keys.append(str(part))
            values = values.get(part)
    return UserError(f"{'.'.join(keys)}={first['input']}: {first['msg'][0].lower()}{first['msg'][1:]}")
