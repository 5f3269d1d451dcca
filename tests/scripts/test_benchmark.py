"""Tests of scripts/benchmark.py: the measurements, and the page rendered from them."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from PIL import Image

import cifar10
from cifar10.results.saved_run import SavedRun
from cifar10.training.config import compose_settings

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="needs ONNX: pip install -e '.[export]'")

import benchmark

from benchmarks import loading, predict
from benchmarks.measure import interleaved, load_data
from benchmarks.search import summarize
from benchmarks.tables import markdown, ratios, spread, table
from benchmarks.training import PerImage, bare_loop, lightning_alone, standard_baseline, this_project

ABOUT = {
    "device": "D",
    "threads": 1,
    "versions": {"torch": "2"},
    "commit": "c",
    "rounds": 3,
    "command": "x",
    "note": "N",
}


def test_alternatives_are_interleaved_after_a_warm_up_round():
    calls = []

    def alternative(name):
        return lambda: calls.append(name) or float(len(calls))

    found = interleaved({"row": {name: alternative(name) for name in "abc"}}, rounds=3)
    assert "".join(calls) == "abc" + "bca" + "cab" + "abc"
    assert found == {"row": {"a": [6, 8, 10], "b": [4, 9, 11], "c": [5, 7, 12]}}


def test_ratios_are_computed_per_round():
    assert ratios([10, 40, 30], [10, 20, 10]) == [1, 2, 3]
    assert spread([5.0, 1.0, 2.0, 9.0]) == "3.50 (1.00 to 9.00)"
    assert spread([]) == ""
    assert (spread([20]), spread([1234.5]), spread([0.0033])) == ("20", "1,234", "0.0033")


@pytest.mark.parametrize("loop", [bare_loop, this_project, lightning_alone, standard_baseline])
@pytest.mark.parametrize("model", ["prototype", "mlp"])
def test_each_loop_takes_the_given_number_of_steps(model, loop, monkeypatch):
    steps = []
    optimizer = torch.optim.SGD if model == "prototype" else torch.optim.Adam
    original = optimizer.step
    monkeypatch.setattr(optimizer, "step", lambda self, *args, **rest: steps.append(1) or original(self, *args, **rest))
    short = "epochs=1", "batch_size=8", "trainer.limit_train_batches=12"
    cfg = compose_settings(f"model={model}", "data=synthetic", *short)
    assert loop(cfg, load_data(cfg, at_least=12 * 8), 12) > 0
    assert len(steps) == 12


def test_per_image_data_set_returns_the_images():
    data = load_data(compose_settings("model=mlp", "data=synthetic"), at_least=4000)
    assert len(data.train_labels) == 6000  # 3,000, repeated
    pairs = PerImage(data, lambda image: torch.from_numpy(np.array(image)).long().permute(2, 0, 1))
    for index in (0, 7, 1300):
        image, label = pairs[index]
        assert torch.equal(image, data.train_images[index].long())
        assert label == data.train_labels[index]


def test_kornia_loader_returns_every_image_once():
    images, labels = torch.randint(256, (1100, 3, 32, 32), dtype=torch.uint8), torch.arange(1100)
    found = list(loading.with_kornia(images, labels))
    assert sorted(torch.cat([labels for _, labels in found]).tolist()) == list(range(1100))
    assert {tuple(images.shape[1:]) for images, _ in found} == {(3, 32, 32)}


def test_page_is_rendered_from_the_published_measurements():
    results = json.loads((ROOT / "docs/benchmark.json").read_text())
    page = markdown(results)
    assert (ROOT / "docs/benchmark.md").read_text() == page
    assert list(results) == list(benchmark.PARTS)
    assert not any("+" in part["commit"] for part in results.values()), "measured with uncommitted changes"
    for found in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({line.count("|") for line in found.splitlines()}) == 1, found
        assert set(found.splitlines()[1]) <= set("|- "), found


def test_table_has_ratios_of_columns_and_to_a_baseline_row():
    rows = {"mlp": {"this project": [2.0, 4.0], "bare loop": [4.0, 4.0]}, "cnn": {"this project": [1.0]}}
    assert list(table("speed", rows)) == [
        "| speed | this project | bare loop | this project / bare loop |",
        "| --- | --- | --- | --- |",
        "| mlp | 3.00 (2.00 to 4.00) | 4.00 (4.00 to 4.00) | 0.75 (0.50 to 1.00) |",
        "| cnn | 1.00 |  |  |",
    ]
    rows = {"import torch": {"seconds": [2.0]}, "predict.py": {"seconds": [3.0]}}
    assert list(table("command", rows))[-1] == "| predict.py | 3.00 | 1.50 |"


def test_update_replaces_one_part_and_keeps_the_others(tmp_path):
    first = {name: ABOUT | {"tables": {"t": {"row": {"column": [1.0]}}}} for name in ("training", "loading")}
    benchmark.update(first, tmp_path / "new")
    second = {"training": ABOUT | {"commit": "d", "tables": {"t": {"row": {"column": [2.0]}}}}}
    benchmark.update(second, tmp_path / "new")
    assert json.loads((tmp_path / "new/benchmark.json").read_text()) == first | second
    assert (tmp_path / "new/benchmark.md").read_text() == markdown(first | second)


def test_search_is_summarized_by_its_complete_trials():
    states = optuna.trial.TrialState
    trials = [
        optuna.create_trial(value=value, state=state, intermediate_values=dict.fromkeys(range(epochs), 0.1))
        for value, state, epochs in ((0.5, states.COMPLETE, 7), (0.9, states.PRUNED, 2), (0.6, states.COMPLETE, 7))
    ]
    found = summarize(trials)
    assert (found["pruned"], found["epochs"]) == (1, 18)
    assert found["best, %"] == pytest.approx(60)


def test_latency_is_measured_on_one_image(synthetic_runs, monkeypatch, tmp_path):
    monkeypatch.setattr(predict, "CALLS", 2)
    monkeypatch.setattr(predict, "export_network", lambda network: network)  # exports are tested in test_export
    monkeypatch.setattr(predict, "to_onnx", lambda network, class_names: network)
    monkeypatch.setattr(predict, "onnx_runtime", lambda network: network)
    image = SavedRun(synthetic_runs / "model=mlp").data.test_images[:1]
    path = tmp_path / "image.png"
    Image.fromarray(image[0].permute(1, 2, 0).numpy()).save(path)
    trained = cifar10.load(synthetic_runs / "model=mlp", "cpu")
    batch_sizes = []
    logits = trained.logits
    monkeypatch.setattr(trained, "logits", lambda batch, *size: batch_sizes.append(len(batch)) or logits(batch, *size))
    measurements = predict.latency(trained, image, path)
    assert list(measurements) == ["PyTorch alone", "predict, an array", "predict, a PNG file", "onnxruntime"]
    assert all(measure() > 0 for measure in measurements.values())
    assert batch_sizes == [1] * 4  # two calls with the array, two with the file
