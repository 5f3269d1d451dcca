"""Converts Hydra's sweep overrides to Optuna's distributions."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from cifar10.errors import UserError


def read_space(overrides: Sequence[Override]) -> dict[str, BaseDistribution]:
    """Returns the distribution of each sweep override. Choices keep the text of the command line."""
    space: dict[str, BaseDistribution] = {}
    for override in overrides:
        if override.is_sweep_override():
            try:
                space[override.get_key_element()] = _distribution(override)
            except (ValueError, IndexError, TypeError) as error:  # of Optuna: no values, or of a wrong type
                raise UserError(f"{override.input_line}: {error}; use interval, range or choice") from error
    return space


def _distribution(override: Override) -> BaseDistribution:
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        low, high = (getattr(sweep, name) for name in ("start", "end"))
        if not (isfinite(low) and isfinite(high)):
            raise ValueError("both ends must be finite")
        kind = IntDistribution if isinstance(low, int) and isinstance(high, int) else FloatDistribution
        return kind(low, high, log="log" in sweep.tags)
    if isinstance(sweep, RangeSweep):
        bounds = [bound for bound in (sweep.start, sweep.stop, sweep.step) if isinstance(bound, int)]
        if len(bounds) == 3:
            numbers = range(*bounds)
            return IntDistribution(numbers[0], numbers[-1], step=numbers.step)
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def format_value(value: Any) -> str:
    """Formats a value for the command line. Floats get four digits, since they become part of the folder's name."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
