"""With default settings on synthetic images, the accuracies rank as in the study."""

import pytest

from cifar10.training.config import compose_settings
from cifar10.training.run import train


@pytest.mark.slow
def test_models_rank_as_in_the_study(tmp_path):
    accuracy = {}
    for model in ("prototype", "mlp", "cnn"):
        settings = compose_settings(f"model={model}", "data=synthetic", "trainer.enable_progress_bar=false")
        accuracy[model] = train(settings, tmp_path / model)["test"]["accuracy"]
    assert 0.25 < accuracy["prototype"] < accuracy["mlp"] - 0.08
    assert accuracy["mlp"] < accuracy["cnn"] - 0.15
