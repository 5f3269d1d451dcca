"""Tests the moving average of the weights: validation, checkpoints and test use it."""

import json

import pytest
import torch
from test_run import composed

from cifar10.errors import UserError
from cifar10.models.mlp import MLP
from cifar10.training.checkpoints import LastCheckpoint
from cifar10.training.run import train


@pytest.mark.parametrize("batch_norm", [pytest.param(False, marks=pytest.mark.slow), True])
def test_best_ckpt_holds_the_average_and_last_ckpt_holds_both(batch_norm, tmp_path, monkeypatch):
    """Compares with the formula over the weights after each step, from the first step on."""
    seen, validated = [], []
    original = LastCheckpoint.on_train_batch_end

    def record_weights(self, trainer, module, *args):
        seen.append({name: value.clone() for name, value in module.state_dict().items()})
        original(self, trainer, module, *args)

    def validate(self, batch, batch_idx, original=MLP.validation_step):
        validated.append({name: value.clone() for name, value in self.state_dict().items()})
        original(self, batch, batch_idx)

    monkeypatch.setattr(LastCheckpoint, "on_train_batch_end", record_weights)
    monkeypatch.setattr(MLP, "validation_step", validate)
    record = train(composed("model=mlp", "batch_size=25", "ema_decay=0.8", f"model.batch_norm={batch_norm}"), tmp_path)

    averages = [seen[0]]
    for weights in seen[1:]:
        averages.append({name: averages[-1][name] * 0.8 + value * 0.2 for name, value in weights.items()})
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    steps = 4
    for name, value in best.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, averages[steps * record["best_epoch"] - 1][name], rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(last["state_dict"][name], averages[-1][name], rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(validated[0][name], averages[steps - 1][name], rtol=1e-5, atol=1e-6)
            assert torch.equal(last["current_model_state"][name], seen[-1][name])
    assert json.loads((tmp_path / "metrics.json").read_text())["config"]["ema_decay"] == 0.8


def test_weiszfeld_solver_refuses_ema(tmp_path):
    with pytest.raises(UserError, match=r"weiszfeld.*ema_decay=null"):
        train(composed("experiment=prototype_exact", "ema_decay=0.9"), tmp_path)
