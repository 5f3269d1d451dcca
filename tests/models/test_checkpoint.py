"""Loads checkpoints weights-only, without data and configuration."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cifar10.errors import UserError
from cifar10.models.build import load_model
from cifar10.models.classifier import Classifier
from cifar10.models.cnn import CNN
from cifar10.models.mlp import MLP
from cifar10.models.prototype import Prototype
from cifar10.models.weiszfeld import Weiszfeld
from cifar10.networks.checkpoint import load_network


@pytest.fixture(scope="module", params=[Prototype, Weiszfeld, MLP, CNN])
def trained(request, random_data, quiet_trainer, tmp_path_factory) -> tuple[Classifier, Path]:
    """Returns a model after one epoch, and its checkpoint."""
    data = random_data([0, 1, 2, 3] * 10, batch_size=16, val_size=8)
    data.setup()
    model = request.param(class_names=data.class_names)
    trainer = quiet_trainer()
    trainer.fit(model, data)
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    trainer.save_checkpoint(path)
    return model.eval(), path


def walk(value: Any) -> list[Any]:
    """Returns the leaves of nested dicts, lists and tuples, including keys."""
    if isinstance(value, dict):
        return [leaf for item in value.items() for leaf in walk(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in walk(item)]
    return [value]


def test_loaded_logits_are_bit_identical(trained):
    model, path = trained
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    for loaded in (type(model).load_from_checkpoint(path).eval(), load_model(path), load_network(path)):
        with torch.no_grad():
            assert torch.equal(loaded(images), model(images))
        assert loaded.class_names == ["class 0", "class 1", "class 2", "class 3"]


def test_checkpoint_holds_tensors_and_plain_python_only(trained):
    leaves = walk(torch.load(trained[1], weights_only=True))
    assert {type(leaf) for leaf in leaves} <= {torch.Tensor, str, int, float, bool, type(None)}


def test_checkpoint_of_another_model_is_refused(trained):
    model, path = trained
    for other in {Prototype, Weiszfeld, MLP, CNN} - {type(model)}:
        with pytest.raises(UserError, match=f"{type(model).__name__}, expected one of {other.__name__}"):
            other.load_from_checkpoint(path, weights_only=True)
