"""Tests scripts/evaluate.py: reproduces the run's results, and evaluates on other data and corruptions."""

import json
import shutil
from functools import partial
from pathlib import Path
from statistics import mean
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cifar10.data.augment import flip_and_shift
from cifar10.inference.corruptions import PARAMETERS, corruption
from cifar10.inference.evaluate import evaluate, load_data
from cifar10.models.build import load_model
from cifar10.networks.weights import read_index
from cifar10.results.figures.curves import calibration
from cifar10.results.saved_run import SavedRun

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/evaluate.py")


@pytest.mark.parametrize("name", ["prototype", "mlp", "cnn"])
def test_results_are_bit_identical_to_the_run(name, command, synthetic_runs, tmp_path):
    run = SavedRun(synthetic_runs / f"model={name}")
    code, text = command(run.folder, "--json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert code == 0
    assert found["test"] == run.record["test"]
    assert found["ece"] == calibration(run.predictions.probabilities, run.predictions.labels).ece
    assert "same accuracy and confusion matrix" in text


@pytest.mark.parametrize("name", ["prototype", "mlp", "cnn"])
def test_published_weights_have_the_results_of_their_entry(name, command, published, tmp_path):
    code, text = command(name, "--device", "cpu", "--json", tmp_path / "found.json")
    found, entry = json.loads((tmp_path / "found.json").read_text()), read_index()[name]
    assert code == 0
    assert {key: found["test"][key] for key in entry["test"]} == entry["test"]
    assert "weights.json       same accuracy, overall and by class" in text


def test_checkpoint_without_run_is_tested_on_given_data(command, synthetic_runs, tmp_path):
    run = SavedRun(synthetic_runs / "model=mlp")
    shutil.copy(run.folder / "best.ckpt", tmp_path / "mine.ckpt")
    settings = ["data=synthetic", "data.train_size=140", "data.test_size=100", "data.val_size=40"]
    code, text = command(tmp_path / "mine.ckpt", *settings, "--json", tmp_path / "found.json")
    assert code == 0
    assert json.loads((tmp_path / "found.json").read_text())["test"]["confusion"] == run.record["test"]["confusion"]
    assert "metrics.json" not in text


def test_different_results_are_reported(command, synthetic_runs, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(synthetic_runs / "model=mlp", folder, ignore=shutil.ignore_patterns("seed=2", "tensorboard"))
    record = json.loads((folder / "metrics.json").read_text())
    record["test"]["accuracy"] = 0.999
    (folder / "metrics.json").write_text(json.dumps(record))
    assert f"99.90% on {record['device']} in 32-true: results differ" in command(folder)[1]


def test_corruptions_are_evaluated_at_five_severities(command, synthetic_runs, tmp_path):
    code, text = command(synthetic_runs / "model=mlp", "--corruptions", "--json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())["corruptions"]
    assert code == 0
    assert list(found) == list(PARAMETERS)
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("|")}
    for kind, severities in found.items():
        assert [f"{one['accuracy']:.1%}" for one in severities] == rows[kind].split(" | ")[1:6]
        assert f"{mean(one['accuracy'] for one in severities):.1%}" == rows[kind].split(" | ")[6]
    run = SavedRun(synthetic_runs / "model=mlp")
    predicted = run.network(corruption("JPEG", 3)(run.data.test_images)).argmax(1)
    assert found["JPEG"][2]["accuracy"] == pytest.approx((predicted == run.data.test_labels).double().mean().item())


def test_certified_accuracy_counts_correct_images_by_radius(command, synthetic_runs, tmp_path):
    run = SavedRun(synthetic_runs / "model=prototype")
    figure = tmp_path / "certified.svg"
    options = ("--images", 60, "--json", tmp_path / "found.json", "--out", figure)
    code, text = command(run.folder, "--certify", *options)
    images, labels = run.data.test_images[:60], run.data.test_labels[:60]
    radius, correct = run.network.certified_radius(images), run.network(images).argmax(1) == labels
    expected = {name: (correct & (radius > float(name))).double().mean().item() for name in ("0.25", "0.5", "1", "2")}
    assert code == 0
    assert json.loads((tmp_path / "found.json").read_text())["certified_accuracy"] == pytest.approx(expected)
    assert 0 < expected["0.25"] < correct.double().mean()
    *_, row, _, path = text.splitlines()
    assert row == f"| certified accuracy | {' | '.join(f'{one:.1%}' for one in expected.values())} |"
    assert path == str(figure)
    assert "certified" in figure.read_text()


def test_figure_needs_certify(command, synthetic_runs):
    assert command(synthetic_runs / "model=prototype", "--out", "certified.svg")[0] == 2


def test_tta_flip_averages_logits_over_flips(command, synthetic_runs, tmp_path):
    run = SavedRun(synthetic_runs / "model=mlp")
    command(run.folder, "--tta-flip", "--images", 30, "--json", tmp_path / "found.json")
    images = run.data.test_images[:30]
    flipped = flip_and_shift(images, images.new_ones(30), images.new_zeros(30, 2).long())
    logits = (run.network(images) + run.network(flipped)) / 2
    accuracy = (logits.argmax(1) == run.data.test_labels[:30]).double().mean().item()
    assert json.loads((tmp_path / "found.json").read_text())["test"]["accuracy"] == pytest.approx(accuracy)


def test_bfloat16_changes_probabilities_slightly(synthetic_runs):
    run = SavedRun(synthetic_runs / "model=mlp")
    model = load_model(run.folder / "best.ckpt")
    test = partial(evaluate, model, run.data.test_images, run.data.test_labels)
    full, half = (test(precision).predictions for precision in ("32-true", "bf16-mixed"))
    difference = np.abs(full.probabilities - half.probabilities).max()
    assert 0 < difference < 0.02


@pytest.fixture
def other_classes(tmp_path):
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (32, 32), (number, 9, 9)).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def test_class_names_in_nfc_and_nfd_are_equal(synthetic_runs, other_classes):
    for split in ("train", "test"):
        (other_classes / split / "dog").rename(other_classes / split / "cha\u0302t")
    predictor = SimpleNamespace(checkpoint=synthetic_runs / "best.ckpt", class_names=["cat", "ch\u00e2t"])
    data = load_data(predictor, ["data=folder", f"data.root={other_classes}", "data.val_size=1"])
    assert len(data.test_labels) == 4


def test_user_errors_are_one_line(command, synthetic_runs, other_classes, tmp_path):
    mlp = synthetic_runs / "model=mlp"
    for arguments, *parts in (
        ([mlp, "data=folder", f"data.root={other_classes}"], "data=folder", "'cat', 'dog'", "'balloon', 'boat', 'car'"),
        ([mlp, "data=svhn"], "data=svhn", "cifar10, cifar100, folder, synthetic"),
        ([mlp, "data.test_size=50"], "'data.test_size=50'", "add data=synthetic"),
        ([mlp, "data=folder"], "data.root"),
        ([mlp, "--images", 5, "data=folder"], "data.root"),  # a positional argument after an option
        ([mlp, "data=[1]"], ""),
        ([mlp, "--certify"], "model=prototype, got MLP"),
        ([mlp, "epochs=3"], "'epochs=3'"),
        ([mlp, "data=synthetic", "data.random_flip=true"], "'data.random_flip=true'"),
        ([mlp, "data=synthetic", "data.test_size=0"], "data.test_size=0"),
        ([mlp, "--cifar10c", tmp_path], "CIFAR-10 has the classes 'airplane'", "'balloon', 'boat', 'car'"),
        ([tmp_path], f"{tmp_path}: not a finished run"),
    ):
        message = command(*arguments)[0]
        assert message.startswith("evaluate.py: ")
        assert "\n" not in message
        assert [part for part in parts if part not in message] == []
    assert command(mlp, "--images", 0)[0] == 2
    assert command(mlp, "data=cifar10", "data.root=")[0].startswith("evaluate.py: data.root='': ")
