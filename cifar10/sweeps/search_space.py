"""What a search varies: Hydra's sweeps as Optuna's distributions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from cifar10.errors import UserError, shorten
from cifar10.sweeps.study import optuna_or_error
from cifar10.training.config import CONF

if TYPE_CHECKING:
    import optuna


def read_space(overrides: Sequence[Override]) -> "dict[str, optuna.distributions.BaseDistribution]":
    """What Hydra calls a sweep, as Optuna's distributions; choices as they are written on the command line."""
    optuna_or_error()
    space: dict[str, Any] = {}
    for override in overrides:
        if override.is_sweep_override():
            try:
                space[override.get_key_element()] = _distribution(override)
            except (ValueError, IndexError, TypeError) as error:
                raise UserError(f"{override.input_line}: {error}; a search knows interval, range, choice") from error
    return space


def _distribution(override: Override) -> "optuna.distributions.BaseDistribution":
    """Raises ValueError, IndexError or TypeError for a sweep that has no values, or none in a search."""
    distributions, sweep = optuna_or_error().distributions, override.value()
    if isinstance(sweep, IntervalSweep):
        whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
        kind = distributions.IntDistribution if whole else distributions.FloatDistribution
        return kind(sweep.start, sweep.end, log="log" in sweep.tags)
    if isinstance(sweep, RangeSweep) and all(isinstance(n, int) for n in (sweep.start, sweep.stop, sweep.step)):
        numbers = range(sweep.start, sweep.stop, sweep.step)
        return distributions.IntDistribution(numbers[0], numbers[-1], step=sweep.step)
    if isinstance(sweep, ChoiceSweep | RangeSweep):
        return distributions.CategoricalDistribution(list(override.sweep_string_iterator()))
    raise ValueError("no such sweep")


def some_values(name: str, distribution: "optuna.distributions.BaseDistribution") -> Sequence[float | int | str]:
    """One of its values; of a choice between files of `conf/`, such as `model`, all."""
    if not hasattr(distribution, "choices"):
        return [distribution.low]
    return distribution.choices if (CONF / name).is_dir() else distribution.choices[:1]


def check_words(study: "optuna.Study", words: list[str]) -> None:
    """Raises UserError where a study was begun by other `words`: trials of other settings cannot be compared."""
    if "words" not in study.user_attrs and any(trial.state.name != "WAITING" for trial in study.trials):
        raise UserError(f"study {study.study_name} has trials of another program; begin one: hydra.sweeper.study=NAME")
    begun = study.user_attrs.get("words", words)
    if changed := sorted(set(begun) ^ set(words)):
        raise UserError(
            f"study {study.study_name} was begun with other settings, see {shorten(changed)}; set them back, or begin "
            "another with hydra.sweeper.study=NAME"
        )
    if "words" not in study.user_attrs:
        study.set_user_attr("words", words)


def written(value: float | int | str) -> str:
    """A value as the command line has it; short, since a run's name is made of it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
