"""Compares the losses of the first steps with plain PyTorch loops on the same batches."""

import pytest
import torch
from hydra.utils import instantiate
from kornia.color import rgb_to_lab
from lightning import Callback, seed_everything
from torch import nn
from torch.nn import functional as F

from cifar10.data.batches import epoch_order
from cifar10.training.checkpoints import LastCheckpoint
from cifar10.training.config import compose_settings
from cifar10.training.trainer import make_trainer

STEPS = 12
SIZES = ("data=synthetic", "data.train_size=1500", "data.val_size=300")
QUIET = ("trainer.accelerator=cpu", "trainer.enable_progress_bar=false")


class Losses(Callback):
    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.values.append(outputs["loss"].item())


def train(folder, *overrides, steps=STEPS):
    """Trains some steps; returns the losses, the initial weights, and the images, labels and order of the batches."""
    cfg = compose_settings(*overrides, *SIZES, "epochs=1", f"trainer.limit_train_batches={steps}", *QUIET)
    data = instantiate(cfg.data, _convert_="all", batch_size=cfg.batch_size, seed=cfg.seed)
    data.setup()
    seed_everything(cfg.seed, verbose=False)
    model = instantiate(cfg.model, _convert_="all", class_names=data.class_names)
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = make_trainer(cfg, folder, LastCheckpoint(folder / "last.ckpt"), model)
    trainer.callbacks.append(losses := Losses())
    trainer.fit(model, data)
    order = epoch_order(len(data.train_labels), cfg.seed, 0).split(cfg.batch_size)[:steps]
    return losses.values, initial, data.train_images.cpu(), data.train_labels.cpu(), order


def with_weights(layers, initial):
    """Copies the initial weights of the model into a plain network, in order."""
    weights = [value for name, value in initial.items() if name.startswith("network.layers.")]
    assert len(weights) == len(list(layers.parameters()))
    with torch.no_grad():
        for parameter, value in zip(layers.parameters(), weights, strict=True):
            parameter.copy_(value)
    return layers


def network_losses(layers, inputs, labels, order):
    optimizer = torch.optim.Adam(layers.parameters(), lr=1e-3, eps=1e-7)
    losses = []
    for index in order:
        loss = F.cross_entropy(layers(inputs[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_mlp(tmp_path):
    losses, initial, images, labels, order = train(tmp_path, "model=mlp")
    layers = nn.Sequential(
        nn.Flatten(), nn.Linear(3072, 300), nn.ELU(), nn.Linear(300, 150), nn.ELU(), nn.Linear(150, 10)
    )
    plain = network_losses(with_weights(layers, initial), images / 255, labels, order)
    assert losses == pytest.approx(plain, rel=1e-5)


def test_cnn(tmp_path):
    """The plain network pools after the ReLU, in the default memory layout, as in the study's code."""
    losses, initial, images, labels, order = train(tmp_path, "model=cnn", "precision=32-true", steps=6)

    def convolution(a, b):
        return nn.Conv2d(a, b, 3, padding="same"), nn.ReLU()

    layers = nn.Sequential(
        *convolution(3, 64), nn.MaxPool2d(2),
        *convolution(64, 128), *convolution(128, 128), nn.MaxPool2d(2),
        *convolution(128, 256), *convolution(256, 256), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(4096, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    inputs = images / 255
    inputs = (inputs - inputs.mean(0)) / inputs.std(0, correction=0)
    plain = network_losses(with_weights(layers, initial), inputs, labels, order)
    # Convolutions round differently in another memory layout, and the difference grows with each step.
    assert losses[:3] == pytest.approx(plain[:3], rel=1e-5)
    assert losses == pytest.approx(plain, rel=1e-3)


def test_prototype(tmp_path):
    losses, initial, images, labels, order = train(tmp_path, "model=prototype")
    prototypes = initial["network.prototypes"].requires_grad_()
    steps = len(epoch_order(1200, 1, 0).split(100))
    plain = []
    for step, index in enumerate(order):
        difference = rgb_to_lab(images[index] / 255)[:, None] - rgb_to_lab(prototypes)
        distances = difference.square().sum(2).sqrt().mean((2, 3))
        loss = distances.gather(1, labels[index, None]).mean()
        (gradient,) = torch.autograd.grad(loss, prototypes)
        rate = 10 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item()) / 2
        with torch.no_grad():
            prototypes.sub_(rate * gradient).clamp_(0, 1)
        plain.append(loss.item())
    assert losses == pytest.approx(plain, rel=1e-5)
