"""Tests that a restored state reproduces the random numbers."""

import random
from io import BytesIO

import numpy as np
import torch

from cifar10.training.rng_state import get_random_state, set_random_state

CPU = torch.device("cpu")


def draw():
    return random.random(), np.random.random(), torch.rand(1).item(), random.gauss(0, 1), np.random.normal()


def test_saved_state_restores_all_generators():
    draw()
    file = BytesIO()
    torch.save(get_random_state(CPU), file)
    drawn = [draw() for _ in range(3)]
    file.seek(0)
    set_random_state(torch.load(file, weights_only=True), CPU)
    assert [draw() for _ in range(3)] == drawn


def test_state_of_another_device_type_is_ignored():
    state = get_random_state(CPU)
    drawn = draw()
    set_random_state(state | {"cuda": torch.zeros(16, dtype=torch.uint8)}, CPU)
    assert draw() == drawn
