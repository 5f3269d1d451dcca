"""What each choice in this project's code brings: the same step or evaluation with it and without it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.measure import compose, interleaved, read_images, synchronize
from benchmarks.training import this_project
from cifar10.color.delta_e import Delta, mean_difference, to_color_space
from cifar10.color.kernels import compiled_mean_difference
from cifar10.models.cnn import CNN
from cifar10.models.mlp import MLP
from cifar10.training.precision import best_device
from cifar10.training.trainer import STEP_HOOKS

STEPS = {"cnn": 8, "mlp": 300}


def choices(rounds: int) -> dict[str, Any]:
    """Choice -> with and without it -> seconds, one value a round: of training steps at batch 32, or of evaluation."""
    device = best_device()
    study_order = CNN()
    study_order.network.layers = pooling_last(study_order.network.layers)
    bfloat16 = torch.autocast(device.type, torch.bfloat16)
    pairs = {
        "cnn: channels innermost in memory": (training(CNN(), device), training(CNN(), device, contiguous=True)),
        "cnn: pooling before the ReLU": (training(CNN(), device), training(study_order, device)),
        "cnn: bfloat16 (only where the hardware multiplies it)": (
            training(CNN(), device, context=bfloat16, steps=1),
            training(CNN(), device, steps=1),
        ),
        "cnn: torch.compile (not used)": (training(torch.compile(CNN()), device), training(CNN(), device)),
        "cnn: evaluation in batches of 500, not 32": (evaluation(device, 500), evaluation(device, 32)),
        "cnn: evaluation in inference mode, not no_grad": (
            evaluation(device, 500),
            evaluation(device, 500, torch.no_grad),
        ),
        "mlp: the Trainer's step without idle hooks": (trainer_steps(), trainer_steps(idle_hooks=True)),
        "mlp: Adam in one kernel": (training(MLP(), device), training(MLP(), device, fused=False)),
        "mlp: torch.compile (not used)": (training(torch.compile(MLP()), device), training(MLP(), device)),
        "prototypes: compiled kernels, not cdist": (differences(device, compiled=True), differences(device)),
        "prototypes: cdist, not broadcasting": (differences(device), differences(device, broadcast=True)),
        "prototypes: CIEDE2000, not Delta E 1976": (differences(device, "ciede2000"), differences(device)),
    }
    return {name: interleaved({"with": chosen, "without": other}, rounds) for name, (chosen, other) in pairs.items()}


def training(
    model: Any,
    device: torch.device,
    contiguous: bool = False,
    fused: bool = True,
    context: Any = None,
    steps: int | None = None,
) -> Callable[[], float]:
    """Seconds of a few training steps of the model on random images."""
    model = model.to(device)
    if contiguous:
        model.to(memory_format=torch.contiguous_format)
        model.scale = lambda images: (images / 255 - model.mean) / model.std
    optimizer = torch.optim.Adam(model.parameters(), fused=fused)
    images = torch.randint(256, (32, 3, 32, 32), dtype=torch.uint8, device=device)
    labels = torch.arange(32, device=device) % 10
    steps = steps or STEPS["mlp" if isinstance(getattr(model, "_orig_mod", model), MLP) else "cnn"]

    def measure() -> float:
        synchronize()
        start = perf_counter()
        for _ in range(steps):
            if context is None:
                loss = F.cross_entropy(model(images), labels)
            else:
                with context:
                    loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        synchronize()
        return perf_counter() - start

    return measure


def trainer_steps(idle_hooks: bool = False) -> Callable[[], float]:
    """Seconds of the MLP's steps under this project's Trainer."""
    cfg = compose("model=mlp", "data=synthetic", "epochs=1", f"+trainer.limit_train_batches={STEPS['mlp']}")
    data = read_images(cfg, at_least=STEPS["mlp"] * cfg.batch_size)

    def measure() -> float:
        with patch("cifar10.training.trainer.STEP_HOOKS", () if idle_hooks else STEP_HOOKS):
            return this_project(cfg, data, STEPS["mlp"])

    return measure


def evaluation(
    device: torch.device, batch_size: int, mode: Callable[[], AbstractContextManager] = torch.inference_mode
) -> Callable[[], float]:
    """Seconds to classify 500 images."""
    model = CNN().to(device).eval()
    images = torch.randint(256, (500, 3, 32, 32), dtype=torch.uint8, device=device)

    def measure() -> float:
        synchronize()
        start = perf_counter()
        with mode():
            for batch in images.split(batch_size):
                model(batch)
        synchronize()
        return perf_counter() - start

    return measure


def differences(
    device: torch.device, delta: Delta = "cie76", compiled: bool = False, broadcast: bool = False
) -> Callable[[], float]:
    """Seconds of the mean differences of 250 images to 10 prototypes."""
    images, prototypes = to_color_space(torch.rand(260, 3, 32, 32, device=device), delta).split(250)

    def measure() -> float:
        synchronize()
        start = perf_counter()
        for _ in range(5):
            if broadcast:
                (images[:, None] - prototypes).square().sum(2).sqrt().mean((-2, -1))
            elif compiled:
                compiled_mean_difference(images, prototypes, delta)
            else:
                mean_difference(images, prototypes, delta)
        synchronize()
        return perf_counter() - start

    return measure


def pooling_last(layers: nn.Sequential) -> nn.Sequential:
    """The study's order: each pooling after its ReLU."""
    ordered = list(layers)
    for place, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            ordered[place : place + 2] = [ordered[place + 1], layer]
    return nn.Sequential(*ordered)
