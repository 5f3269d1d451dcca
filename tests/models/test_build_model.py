"""Builds models from settings and from checkpoints."""

import pytest
import torch

from cifar10.errors import UserError
from cifar10.models.build import build_model, load_model
from cifar10.models.cnn import CNN
from cifar10.models.prototype import Prototype
from cifar10.models.weiszfeld import Weiszfeld

PROTOTYPE = {"_target_": "cifar10.models.prototype.Prototype", "learning_rate": 3.0}


@pytest.mark.parametrize(("solver", "cls"), [("gradient", Prototype), ("weiszfeld", Weiszfeld)])
def test_the_solver_chooses_the_class(solver, cls):
    model = build_model({**PROTOTYPE, "solver": solver}, ["a", "b"])
    assert type(model) is cls
    assert model.network.name == "Prototype"
    expected = {"class_names": ["a", "b"], "learning_rate": 3.0, "solver": solver}
    assert {name: model.hparams[name] for name in expected} == expected


def test_prototype_refuses_solver_weiszfeld():
    with pytest.raises(UserError, match=r"model.solver=weiszfeld is the class cifar10.models.weiszfeld.Weiszfeld"):
        Prototype(solver="weiszfeld")


def test_tolerance_needs_solver_weiszfeld():
    with pytest.raises(UserError, match=r"model.tolerance=0.1 .*solver=weiszfeld"):
        Prototype(tolerance=0.1)
    assert Weiszfeld(tolerance=0.1).tolerance == 0.1


def test_any_other_model_is_its_target():
    model = build_model({"_target_": "cifar10.models.cnn.CNN", "batch_norm": True}, ["a", "b", "c"])
    assert type(model) is CNN
    assert model.class_names == ["a", "b", "c"]


@pytest.mark.parametrize(
    "content",
    [{"model": "os.system"}, {"model": "Classifier"}, {"model": "Forgotten"}, {"model": "MLP"}, {"model": 3}],
    ids=str,
)
def test_unknown_models_raise_one_line(content, tmp_path):
    torch.save(content | {"hyper_parameters": {}, "state_dict": {}}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"a.ckpt: this version does not support the model"):
        load_model(tmp_path / "a.ckpt")
