"""Tests the TensorBoard events of a run: scalars, HPARAMS and PROJECTOR."""

import csv
import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.summary.writer import event_file_writer

from cifar10.networks.base import to_unit
from cifar10.results.saved_run import SavedRun
from cifar10.training.loggers.run_logger import hyperparameters
from cifar10.training.loggers.tensorboard import RunTensorBoardLogger, remove_events

SCRIPT = str(Path(__file__).resolve().parents[3] / "scripts/embed.py")


@pytest.fixture(autouse=True)
def event_files_are_read_in_order(monkeypatch):
    """Resets TensorBoard's counter of files: names of one second are sorted as text, 100 before 99."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


def events(run):
    found = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    found.Reload()
    return found


def test_hyperparameters_are_named_as_on_the_command_line():
    config = {
        "seed": 1,
        "runs": "runs",
        "trainer": {"devices": 1, "gradient_clip_val": None, "enable_progress_bar": False},
        "model": {"_target_": "cifar10.models.mlp.MLP", "learning_rate": 0.001, "batch_norm": True},
        "data": {"_target_": "cifar10.data.cifar10.CIFAR10", "root": "data", "val_split": "first"},
        "some": {"list": [1, 2]},
    }
    assert hyperparameters({"model": "MLP", "data": "cifar10", "config": config}) == {
        "model": "MLP",
        "data": "cifar10",
        "seed": 1,
        "trainer.devices": 1,
        "model.learning_rate": 0.001,
        "model.batch_norm": True,
        "data.val_split": "first",
        "some.list": "[1, 2]",
    }


def test_run_has_one_hparams_row_without_a_list_of_columns(synthetic_runs):
    run = synthetic_runs / "model=mlp"
    record = json.loads((run / "metrics.json").read_text())
    found = events(run)
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    row = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert row["model"].string_value == "MLP"
    assert row["model.learning_rate"].number_value == record["config"]["model"]["learning_rate"]
    assert "_hparams_/experiment" not in found.summary_metadata
    best = found.Scalars("results/val_accuracy")
    assert [(value.step, value.value) for value in best] == [
        (record["best_epoch"], pytest.approx(record["val_accuracy"]))
    ]


def read_scalars(folder):
    """Returns tag -> [(step, value)] of the scalars that TensorBoard shows."""
    found = events(folder)
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def log_training(folder, epochs_done, epochs):
    logger = RunTensorBoardLogger(folder, epochs_done)
    for epoch in epochs:
        logger.log_metrics({"train/loss": 1 / epoch}, epoch)
        logger.experiment.add_image("prototypes", torch.rand(3, 8, 8), epoch)
    logger.finalize("success")


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("epochs_done", [0, 1, 2, 3])
def test_resumed_run_shows_each_epoch_once(epochs_done, truncated, tmp_path):
    """The run is killed in epoch 4, maybe within a write, and resumed from an earlier epoch."""
    log_training(tmp_path, None, [1, 2, 3, 4])
    if truncated:
        (path,) = (tmp_path / "tensorboard").glob("*.train")
        path.write_bytes(path.read_bytes()[:-5])
    log_training(tmp_path, epochs_done, range(epochs_done + 1, 6))
    assert read_scalars(tmp_path) == {"train/loss": [(epoch, pytest.approx(1 / epoch)) for epoch in range(1, 6)]}
    assert [event.step for event in events(tmp_path).Images("prototypes")] == [1, 2, 3, 4, 5]


def test_results_are_replaced_and_a_new_run_removes_old_events(synthetic_runs, tmp_path):
    record = json.loads((synthetic_runs / "model=mlp/metrics.json").read_text())
    log_training(tmp_path, None, [1, 2])
    for _ in range(2):
        remove_events(tmp_path, of_training=False)
        logger = RunTensorBoardLogger(tmp_path)
        logger.log_results(record)
        logger.finish("FINISHED")
    assert {tag: len(values) for tag, values in read_scalars(tmp_path).items()} == {
        "train/loss": 2,
        "results/test_loss": 1,
        "results/test_accuracy": 1,
        "results/val_loss": 1,
        "results/val_accuracy": 1,
    }
    (tmp_path / "tensorboard/projector_config.pbtxt").write_text("")
    remove_events(tmp_path, of_training=True)
    assert not read_scalars(tmp_path)
    assert (tmp_path / "tensorboard/projector_config.pbtxt").exists()


def embed(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, arguments)])
    runpy.run_path(SCRIPT, run_name="__main__")


@pytest.fixture
def projected(synthetic_runs, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    shutil.copytree(synthetic_runs / "model=mlp", run)
    for _ in range(2):  # the second call replaces the first
        embed(monkeypatch, run, "--images", 50)
    assert capsys.readouterr().out.startswith(f"{run}: wrote 50 embeddings")
    return run


def test_projector_gets_the_inputs_of_the_last_layer(projected):
    folder, run = projected / "tensorboard/projector", SavedRun(projected)
    points = np.loadtxt(folder / "points.tsv", delimiter="\t")
    images = run.data.test_images[:50]
    with torch.inference_mode():
        torch.testing.assert_close(run.network.layers[-1](torch.tensor(points).float()), run.network(images))
    assert points.shape == (50, 150)

    with (folder / "images.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    names = run.class_names
    assert [row["class"] for row in rows] == [names[label] for label in run.data.test_labels[:50]]
    assert [row["prediction"] for row in rows] == [names[guess] for guess in run.predictions.predicted[:50]]
    assert {row["correct"] for row in rows if row["class"] == row["prediction"]} == {"True"}
    assert float(rows[7]["confidence"]) == pytest.approx(run.predictions.confidence[7], abs=5e-4)

    with Image.open(folder / "images.png") as picture:
        sprite = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
    assert sprite.shape == (3, 8 * 32, 8 * 32)
    torch.testing.assert_close(sprite[:, 32:64, 64:96], to_unit(images[10]))
    config = (projected / "tensorboard/projector_config.pbtxt").read_text()
    assert config.count("embeddings {") == 1
    assert "single_image_dim: 32\n    single_image_dim: 32" in config


@pytest.mark.parametrize("count", [1, 10_001])
def test_invalid_number_of_points_is_refused(count, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="2"):
        embed(monkeypatch, tmp_path, "--images", count)
    assert "2 to 10,000" in capsys.readouterr().err


def test_missing_run_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"embed.py: .*: no finished run"):
        embed(monkeypatch, tmp_path)
