"""Training of the two feed-forward networks: optimizer, schedule, loss, initialization from data."""

import numpy as np
import pytest
import torch
from lightning import Callback
from torch import nn
from torch.nn import functional as F

from cifar10.models.cnn import CNN
from cifar10.models.mlp import MLP
from cifar10.networks.cnn import whitening_filters

both = pytest.mark.parametrize("model", [MLP, CNN])


@both
def test_adam_has_the_settings_of_keras(model):
    optimizer = model(learning_rate=0.003).configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    settings = {"lr": 0.003, "betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 0, "amsgrad": False}
    assert {name: optimizer.defaults[name] for name in settings} == settings


@both
def test_default_learning_rate(model):
    assert model().configure_optimizers().defaults["lr"] == 0.001


def test_whitening_init(random_data, quiet_trainer):
    data = random_data([0, 1] * 20, val_size=8)
    model = CNN(class_names=["a", "b"], whitening_init=True)
    data.setup()
    model.trainer = quiet_trainer()
    model.trainer.datamodule = data
    model._device = torch.device("meta")  # Lightning tells a module of its device before it moves it there
    model.setup("fit")
    first, *others = (layer for layer in model.network.layers if isinstance(layer, nn.Conv2d))
    assert torch.equal(first.weight[:54], whitening_filters(model.network.normalize(data.train_images)))
    for layer in others:
        images = torch.rand(2, layer.in_channels, 5, 5)
        assert torch.equal(layer(images)[:, : layer.in_channels], images)


def test_label_smoothing_in_training_only():
    logits, labels = torch.randn(6, 10), torch.arange(6)
    model = MLP(label_smoothing=0.2)
    target = 0.8 * F.one_hot(labels, 10) + 0.2 / 10
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(model.train().loss(logits, labels), expected)
    torch.testing.assert_close(model.eval().loss(logits, labels), F.cross_entropy(logits, labels))


@pytest.mark.parametrize(
    ("name", "kind", "defaults"),
    [
        ("adamw", torch.optim.AdamW, {"betas": (0.9, 0.999), "weight_decay": 0.02}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.02}),
    ],
)
def test_optimizer_setting(name, kind, defaults):
    optimizer = MLP(optimizer=name, weight_decay=0.02, learning_rate=0.3).configure_optimizers()
    assert type(optimizer) is kind
    assert {key: optimizer.defaults[key] for key in defaults} == defaults


def test_warmup_and_decay_are_linear(random_data, quiet_trainer):
    """Warm-up over a quarter of 20 steps: from nearly 0 to 0.4 at step 4, then to nearly 0 at the last."""
    rates = []

    class Rates(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer = quiet_trainer(max_epochs=2)
    trainer.callbacks.append(Rates())
    trainer.fit(
        MLP(["a", "b"], optimizer="sgd", learning_rate=0.4, warmup_fraction=0.25),
        random_data([0, 1] * 25, batch_size=4, val_size=10),
    )
    expected = np.interp(range(20), [0, 4, 19], [0.4 / 25, 0.4, 0.4 / 25 / 1e4])
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
