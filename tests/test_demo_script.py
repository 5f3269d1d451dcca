"""scripts/demo.py as typed: what a user may get wrong is one line. Its page is in tests/browser."""

import shutil
import socket
from functools import partial
from pathlib import Path

import pytest
import torch

SCRIPT = str(Path(__file__).parent.parent / "scripts/demo.py")


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


def test_a_port_that_cannot_be_had_is_one_line(command, drawn_runs, tmp_path):
    shutil.copy(drawn_runs / "model=mlp/best.ckpt", tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = command(tmp_path / "best.ckpt", "--port", port, "--device", "cpu")[0]
    assert message == f"demo.py: port {port} is taken; choose a free one with --port"
    assert command(tmp_path / "best.ckpt", "--port", 99999)[0] == 2
