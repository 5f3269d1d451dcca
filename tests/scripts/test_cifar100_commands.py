"""Trains each model on small files in the official format of CIFAR-100, then runs the other commands on it."""

import json
from pathlib import Path

import pytest
import torch
from miniature import FINE_NAMES, write_miniature_100
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(run_script, tmp_path, monkeypatch):
    """Runs a script in an empty folder that contains the data; asserts success and returns its output."""
    write_miniature_100(tmp_path, monkeypatch)
    monkeypatch.setenv("CIFAR100_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(script, *arguments):
        status, text = run_script(str(ROOT / script), *arguments)
        assert status == 0
        return text

    return run


@pytest.mark.parametrize("model", ["prototype", "mlp", "cnn"])
def test_commands_follow_the_number_of_classes(model, command, tmp_path):
    command("train.py", f"model={model}", "data=cifar100", "data.val_size=20", "epochs=1", "batch_size=40")
    run = tmp_path / f"runs/{model}/batch_size=40,data=cifar100,data.val_size=20,epochs=1/seed=1"
    assert list(json.loads((run / "metrics.json").read_text())["test"]["class_accuracy"]) == FINE_NAMES
    assert "same accuracy and confusion matrix" in command("scripts/evaluate.py", run)
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    top = json.loads(command("scripts/predict.py", run, "red.png", "--json", "--top", 100))[0]["top"]
    assert {one["class"] for one in top} == set(FINE_NAMES)
    command("scripts/report.py", run, "--page", "page.html")
    assert "Image classification on CIFAR-100" in Path("page.html").read_text()


def test_export_has_a_logit_per_class(command, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs pip install -e '.[export]'")
    command("train.py", "model=mlp", "data=cifar100", "data.labels=coarse", "data.val_size=20", "epochs=1")
    (run,) = Path("runs/mlp").glob("*/seed=1")
    command("scripts/export.py", run, "--out", "exported")
    program = torch.export.load("exported/model.pt2").module()
    assert program(torch.zeros(3, 3, 32, 32, dtype=torch.uint8)).shape == (3, 20)
