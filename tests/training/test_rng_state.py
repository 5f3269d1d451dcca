"""What is drawn after a state was set is what was drawn after it was told."""

import random
from io import BytesIO

import numpy as np
import torch

from cifar10.training.rng_state import random_state, set_random_state

CPU = torch.device("cpu")


def draw():
    return random.random(), np.random.random(), torch.rand(1).item(), random.gauss(0, 1), np.random.normal()


def test_all_generators_go_on_from_a_state_that_a_file_held():
    draw()
    file = BytesIO()
    torch.save(random_state(CPU), file)
    drawn = [draw() for _ in range(3)]
    file.seek(0)
    set_random_state(torch.load(file, weights_only=True), CPU)
    assert [draw() for _ in range(3)] == drawn


def test_the_state_of_another_kind_of_device_is_left_out():
    state = random_state(CPU)
    drawn = draw()
    set_random_state(state | {"cuda": torch.zeros(16, dtype=torch.uint8)}, CPU)
    assert draw() == drawn
