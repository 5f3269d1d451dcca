"""Tests that precision=auto depends on the hardware."""

import pytest
import torch

from cifar10.training.precision import chosen_precision


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({}, "32-true"), ({"avx512_bf16": True}, "bf16-mixed"), ({"amx_bf16": True}, "bf16-mixed")],
)
def test_cpu_with_bfloat16_hardware_uses_it(capabilities, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert chosen_precision("auto", "cpu") == precision


@pytest.mark.parametrize(
    ("capability", "precision"), [((7, 5), "32-true"), ((8, 0), "bf16-mixed"), ((9, 0), "bf16-mixed")]
)
def test_gpu_from_ampere_on_uses_bfloat16(capability, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert chosen_precision("auto", "auto") == precision


def test_explicit_precision_is_kept():
    assert chosen_precision("16-mixed", "cpu") == "16-mixed"
