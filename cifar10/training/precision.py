"""The device of this machine, and what `precision: auto` stands for on it."""

from contextlib import AbstractContextManager, nullcontext

import torch


def chosen_precision(precision: str, accelerator: str) -> str:
    """Lightning's word for `precision`: `auto` is `bf16-mixed` where hardware multiplies bfloat16, else `32-true`.

    Decided by capability, not by a stopwatch: a run and its resumption must not differ because the machine was busy.
    Measured on the CNN's training step, images/s: without such hardware (AMD Zen 3) bfloat16 runs at 10, float32 at
    160; with AVX512-BF16 at 520, float32 at 280.
    """
    if precision != "auto":
        return precision
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        fast = torch.cuda.get_device_capability() >= (8, 0)
    else:
        cpu = getattr(torch.cpu, "get_capabilities", dict)()  # missing in older PyTorch
        fast = cpu.get("avx512_bf16", False) or cpu.get("amx_bf16", False)
    return "bf16-mixed" if fast else "32-true"


def best_device() -> torch.device:
    """The accelerator, if there is one."""
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Within it a model computes as under a Trainer of that precision: `32-true`, `bf16-mixed` or `16-mixed`."""
    if precision == "32-true":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16-mixed" else torch.float16)
