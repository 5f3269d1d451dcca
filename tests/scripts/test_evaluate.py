"""Tests scripts/evaluate.py: the run's own numbers again, other data, corruptions."""

import json
import shutil
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from PIL import Image

from cifar10.data.augment import flip_and_shift
from cifar10.inference.corruptions import STRENGTHS, corruption
from cifar10.inference.evaluate import evaluate
from cifar10.models.build import load_model
from cifar10.results.figures.curves import calibration
from cifar10.results.saved_run import SavedRun

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/evaluate.py")


@pytest.fixture
def command(run_script):
    """Runs it; returns exit status or message, and what it printed."""
    return partial(run_script, SCRIPT)


@pytest.mark.parametrize("name", ["prototype", "mlp", "cnn"])
def test_results_are_bit_identical_to_the_run_s(name, command, drawn_runs, tmp_path):
    run = SavedRun(drawn_runs / f"model={name}")
    code, text = command(run.folder, "--json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert code == 0
    assert found["test"] == run.record["test"]
    assert found["ece"] == calibration(run.predictions.probabilities, run.predictions.labels).ece
    assert "the same accuracy and confusion matrix" in text


def test_a_checkpoint_alone_is_tested_on_the_chosen_data(command, drawn_runs, tmp_path):
    run = SavedRun(drawn_runs / "model=mlp")
    shutil.copy(run.folder / "best.ckpt", tmp_path / "mine.ckpt")
    settings = ["data=synthetic", "data.train_size=140", "data.test_size=100", "data.val_size=40"]
    code, text = command(tmp_path / "mine.ckpt", *settings, "--json", tmp_path / "found.json")
    assert code == 0
    assert json.loads((tmp_path / "found.json").read_text())["test"]["confusion"] == run.record["test"]["confusion"]
    assert "metrics.json" not in text


def test_other_results_of_the_run_are_reported(command, drawn_runs, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(drawn_runs / "model=mlp", folder, ignore=shutil.ignore_patterns("seed=2", "tensorboard"))
    record = json.loads((folder / "metrics.json").read_text())
    record["test"]["accuracy"] = 0.999
    (folder / "metrics.json").write_text(json.dumps(record))
    assert f"99.90% on {record['device']} in 32-true: not the same" in command(folder)[1]


def test_corruptions_are_tested_at_five_strengths_each(command, drawn_runs, tmp_path):
    code, text = command(drawn_runs / "model=mlp", "--corruptions", "--json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())["corruptions"]
    assert code == 0
    assert list(found) == list(STRENGTHS)
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("|")}
    for kind, strengths in found.items():
        assert [f"{one['accuracy']:.1%}" for one in strengths] == rows[kind].split(" | ")[1:6]
        assert f"{mean(one['accuracy'] for one in strengths):.1%}" == rows[kind].split(" | ")[6]
    run = SavedRun(drawn_runs / "model=mlp")
    guesses = run.network(corruption("JPEG", 3)(run.data.test_images)).argmax(1)
    assert found["JPEG"][2]["accuracy"] == pytest.approx((guesses == run.data.test_labels).double().mean().item())


def test_tta_flip_averages_over_mirror_images(command, drawn_runs, tmp_path):
    run = SavedRun(drawn_runs / "model=mlp")
    command(run.folder, "--tta-flip", "--images", 30, "--json", tmp_path / "found.json")
    images = run.data.test_images[:30]
    mirrored = flip_and_shift(images, images.new_ones(30), images.new_zeros(30, 2).long())
    logits = (run.network(images) + run.network(mirrored)) / 2
    hits = (logits.argmax(1) == run.data.test_labels[:30]).double().mean().item()
    assert json.loads((tmp_path / "found.json").read_text())["test"]["accuracy"] == pytest.approx(hits)


def test_bfloat16_is_computed_as_such(drawn_runs):
    run = SavedRun(drawn_runs / "model=mlp")
    model = load_model(run.folder / "best.ckpt")
    exact, half = (evaluate(model, run.data, precision).predictions for precision in ("32-true", "bf16-mixed"))
    off = np.abs(exact.probabilities - half.probabilities).max()
    assert 0 < off < 0.02


@pytest.fixture
def other_classes(tmp_path):
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (32, 32), (number, 9, 9)).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def test_user_errors_are_one_line(command, drawn_runs, other_classes, tmp_path):
    mlp = drawn_runs / "model=mlp"
    assert command(mlp, "data=folder", f"data.root={other_classes}")[0] == (
        f"evaluate.py: {mlp}/best.ckpt has the classes 'balloon', 'boat', 'car' and 7 more, data=folder has 'cat', "
        "'dog'; choose data of the network's classes"
    )
    assert command(mlp, "data=cifar100")[0] == (
        "evaluate.py: invalid data=cifar100: expected one of cifar10, folder, synthetic"
    )
    assert command(mlp, "data.test_size=50")[0] == (
        "evaluate.py: 'data.test_size=50': of which data set? add data=synthetic, as of this run"
    )
    assert command(mlp, "data=folder")[0] == "evaluate.py: data.root is not set; add it as NAME=VALUE"
    assert command(mlp, "epochs=3")[0].startswith("evaluate.py: 'epochs=3': only data=NAME and data.SETTING=VALUE can")
    assert command(mlp, "data=synthetic", "data.random_flip=true")[0] == (
        "evaluate.py: 'data.random_flip=true': used in training only, without effect on a test; leave it out"
    )
    assert command(mlp, "data=synthetic", "data.test_size=0")[0].startswith("evaluate.py: data.test_size=0: input")
    assert command(tmp_path)[0].startswith(f"evaluate.py: {tmp_path}: not a finished run")
    assert command(mlp, "--images", 0)[0] == 2
