"""scripts/demo.py as typed: what it opens; what a user may get wrong is one line. Its page is in tests/browser."""

import runpy
import shutil
import socket
from functools import partial
from pathlib import Path

import pytest
import torch

from cifar10.results.saved_run import SavedRun

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/demo.py")
SCRIPT_NAMES = runpy.run_path(SCRIPT)


@pytest.fixture
def command(run_script):
    """Runs it; returns exit status or message, and what it printed."""
    return partial(run_script, SCRIPT)


def test_what_is_no_run_is_one_line(command, tmp_path):
    assert command(tmp_path / "nowhere")[0] == (
        f"demo.py: {tmp_path}/nowhere: no such file or folder; name a finished run's folder or a checkpoint"
    )


def test_models_of_different_classes_are_not_shown_together(command, drawn_runs, tmp_path):
    content = torch.load(drawn_runs / "model=mlp/best.ckpt", weights_only=True)
    content["hyper_parameters"]["class_names"] = list("abcdefghij")
    torch.save(content, tmp_path / "other.ckpt")
    assert command(drawn_runs / "model=mlp", tmp_path / "other.ckpt", "--device", "cpu")[0] == (
        "demo.py: these models have different classes; show those together that were trained on the same"
    )


def test_runs_of_one_title_are_told_apart(drawn_runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(drawn_runs / "model=mlp", other, ignore=shutil.ignore_patterns("seed=2", "tensorboard"))
    opened = SCRIPT_NAMES["opened"]
    models = opened([drawn_runs / "model=mlp", other, drawn_runs / "model=cnn/best.ckpt"], "cpu")
    title = SavedRun(other).title
    assert list(models) == [title, f"{title}, {other}", SavedRun(drawn_runs / "model=cnn").title]
    assert [type(one.model).__name__ for one in models.values()] == ["MLP", "MLP", "CNN"]


def test_test_images_are_of_the_first_run_that_has_some(drawn_runs, tmp_path):
    shutil.copy(drawn_runs / "model=mlp/best.ckpt", tmp_path)
    opened, samples = SCRIPT_NAMES["opened"], SCRIPT_NAMES["samples"]
    assert samples(opened([tmp_path / "best.ckpt"], "cpu")) == (None, [])
    images, names = samples(opened([tmp_path / "best.ckpt", drawn_runs / "model=cnn"], "cpu"))
    data = SavedRun(drawn_runs / "model=cnn").data
    assert torch.equal(images, data.test_images[:20])
    assert names == [data.class_names[label] for label in data.test_labels[:20]]


def test_a_port_that_cannot_be_had_is_one_line(command, drawn_runs, tmp_path):
    shutil.copy(drawn_runs / "model=mlp/best.ckpt", tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = command(tmp_path / "best.ckpt", "--port", port, "--device", "cpu")[0]
    assert message == f"demo.py: port {port} is taken, or not allowed; choose a free one with --port"
    assert command(tmp_path / "best.ckpt", "--port", 99999)[0] == 2
