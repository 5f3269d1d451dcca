"""Hydra's sweeps as the space of a search."""

import sys

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cifar10.errors import UserError
from cifar10.sweeps.search_space import read_space


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
def test_hydra_s_words_as_a_space(line, distribution):
    assert read_space([OverridesParser.create().parse_override(line)]) == {"a": distribution}


def test_without_optuna_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"a search needs Optuna: pip install -e '.\[search\]'"):
        read_space([])
