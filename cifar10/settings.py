"""Checks a composed configuration before anything heavy is imported or built."""

from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Gt
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from cifar10.errors import UserError


class Settings(BaseModel):
    """The top level of `conf/train.yaml`; what each key means is said there."""

    model_config = ConfigDict(strict=True, extra="forbid")

    seed: Annotated[int, Ge(0)]
    epochs: Annotated[int, Gt(0)]
    batch_size: Annotated[int, Gt(0)]
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"]
    monitor: Literal["val/loss", "val/accuracy"]
    runs: str
    force: bool
    trainer: dict[str, Any]
    model: dict[str, Any]
    data: dict[str, Any]


def check_settings(cfg: DictConfig) -> None:
    """Raises UserError that names the first key that is unknown, missing, of a wrong type or out of its range."""
    values = OmegaConf.to_container(cfg, resolve=True)
    try:
        Settings.model_validate(values)
    except ValidationError as error:
        raise _user_error("", error) from error
    for group in ("model", "data"):
        _check_arguments(group, values[group])


def _check_arguments(group: str, values: dict[str, Any]) -> None:
    """A model's or data module's settings against the types and ranges in its constructors' signatures."""
    cls = get_class(values.pop("_target_"))
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__[: cls.__mro__.index(_lightning_base(cls))]):
        hints |= get_type_hints(base.__init__, include_extras=True)
    for name, value in values.items():
        if name not in hints:
            raise UserError(f"{group}.{name}: {cls.__name__} has no such setting; it has {', '.join(sorted(hints))}")
        try:
            TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            raise _user_error(f"{group}.{name}", error) from error


def _lightning_base(cls: type) -> type:
    """The first class of Lightning's own among the ancestors: its constructor takes no settings of ours."""
    return next(base for base in cls.__mro__ if base.__module__.startswith("lightning."))


def _user_error(key: str, error: ValidationError) -> UserError:
    first = error.errors()[0]
    path = ".".join(filter(None, (key, *map(str, first["loc"]))))
    return UserError(f"{path}={first['input']}: {first['msg'][0].lower()}{first['msg'][1:]}")
