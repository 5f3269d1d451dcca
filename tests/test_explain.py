"""scripts/explain.py: the maps of differences of one test image."""

import runpy
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize
from matplotlib.image import imread

from train import train

SCRIPT = str(Path(__file__).parent.parent / "scripts/explain.py")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    small = ["data=synthetic", "data.train_size=140", "data.test_size=10", "data.val_size=40", "epochs=1"]
    with initialize(version_base="1.3", config_path="../conf"):
        cfg = compose("train", ["experiment=prototype_exact", "model.prototypes_per_class=2", *small])
    cfg.trainer.enable_progress_bar = False
    train(cfg, folder)
    return folder


def explain(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, arguments)])
    runpy.run_path(SCRIPT, run_name="__main__")


def test_a_picture_and_what_it_was_taken_for(run, tmp_path, monkeypatch, capsys):
    explain(monkeypatch, run, "--image", 3, "--out", tmp_path / "why.png")
    assert imread(tmp_path / "why.png").shape[1] > 500
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'why.png'}: test image 3: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", 10], "explain.py: --image 10: there are 10 test images, counted from 0"),
        (["--out", "why.txt"], "explain.py: --out why.txt: choose a name that ends in .png, .svg or .pdf"),
    ],
)
def test_what_a_user_may_get_wrong_is_one_line(arguments, message, run, monkeypatch):
    with pytest.raises(SystemExit, match=message):
        explain(monkeypatch, run, *arguments)


def test_a_folder_without_a_run_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"explain.py: .* holds no trained run; name the folder"):
        explain(monkeypatch, tmp_path)
