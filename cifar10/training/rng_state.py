"""State of all random number generators as tensors and plain Python, for checkpoints."""

import random
from typing import Any

import numpy as np
import torch


def get_random_state(device: torch.device) -> dict[str, Any]:
    """Returns the states of the generators of Python, NumPy and PyTorch, on the CPU and on `device`."""
    legacy: Any = np.random.get_state()
    name, keys, *rest = legacy
    state = {"python": random.getstate(), "numpy": (name, keys.tolist(), *rest), "cpu": torch.get_rng_state()}
    if device.type != "cpu":
        state[device.type] = torch.get_device_module(device).get_rng_state()
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restores a state returned by `get_random_state`. Ignores the state of another device type."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["cpu"])
    if device.type != "cpu" and device.type in state:
        torch.get_device_module(device).set_rng_state(state[device.type])
