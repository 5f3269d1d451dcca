"""Selects the device of this machine, and the precision for `precision: auto`."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def chosen_precision(precision: str, accelerator: str) -> str:
    """Returns the precision for Lightning: for `auto`, `bf16-mixed` if the hardware supports bfloat16, else `32-true`.

    Measured for the training step of the CNN. Without hardware support (AMD Zen 3): bfloat16 10 images/s, float32 160.
    With AVX512-BF16: bfloat16 520 images/s, float32 280.
    """
    if precision != "auto":
        return precision
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        fast = torch.cuda.get_device_capability() >= (8, 0)
    else:
        cpu = cpu_capabilities()
        fast = cpu.get("avx512_bf16", False) or cpu.get("amx_bf16", False)
    return "bf16-mixed" if fast else "32-true"


def cpu_capabilities() -> Mapping[str, Any]:
    """Returns the name and instruction sets of the processor; empty in older PyTorch."""
    return getattr(torch.cpu, "get_capabilities", dict)()


def best_device() -> torch.device:
    """Returns the accelerator, or the CPU without one."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Returns a context that casts as a Trainer of this precision does."""
    if precision == "32-true":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16-mixed" else torch.float16)
