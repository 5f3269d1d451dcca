"""Tests of the conversion from Hydra's sweeps to Optuna's distributions."""

import re
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cifar10.errors import UserError

optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
spaces = pytest.importorskip("cifar10.sweeps.search_space")


@pytest.mark.parametrize(
    ("line", "distribution"),
    [
        ("a=interval(0.5,2)", optuna.distributions.FloatDistribution(0.5, 2)),
        ("a=tag(log,interval(1e-4,1e-1))", optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)),
        ("a=int(interval(1,9))", optuna.distributions.IntDistribution(1, 9)),
        ("a=range(1,10,3)", optuna.distributions.IntDistribution(1, 7, step=3)),
        ("a=choice(x,false,3)", optuna.distributions.CategoricalDistribution(["x", "False", "3"])),
        ("a=x,y", optuna.distributions.CategoricalDistribution(["x", "y"])),
    ],
)
def test_sweep_is_converted_to_a_distribution(line, distribution):
    assert spaces.read_space([OverridesParser.create().parse_override(line)]) == {"a": distribution}


@pytest.mark.parametrize(
    "line", ["a=interval(1,0)", "a=interval(nan,1)", "a=interval(0,inf)", "a=range(5,5)", "a=tag(log,interval(0,1))"]
)
def test_invalid_space_is_refused(line):
    with pytest.raises(UserError, match=re.escape(f"{line}: ")):
        spaces.read_space([OverridesParser.create().parse_override(line)])


def test_without_optuna_the_error_names_the_extra(search, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("cifar10.sweeps.") and name != "cifar10.sweeps.jobs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert search()[0] == "train.py: a search needs Optuna: pip install -e '.[search]'"
