"""scripts/explain.py: the maps of differences of one test image."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize
from matplotlib.image import imread

from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures.run_figures import why_figure
from cifar10.training.run import train

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/explain.py")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    small = ["data=synthetic", "data.train_size=140", "data.test_size=10", "data.val_size=40", "epochs=1"]
    with initialize(version_base="1.3", config_path="../../conf"):
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
        (["--out", f"{__file__}/why.png"], f"explain.py: cannot write {__file__}/why.png: "),
    ],
)
def test_what_a_user_may_get_wrong_is_one_line(arguments, message, run, monkeypatch):
    with pytest.raises(SystemExit, match=message):
        explain(monkeypatch, run, *arguments)


def test_a_folder_without_a_run_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"explain.py: .*: no finished run here; name the folder"):
        explain(monkeypatch, tmp_path)


def test_a_run_of_a_network_is_one_line(drawn_runs, monkeypatch):
    with pytest.raises(SystemExit, match=r"explain.py: .* is a run of MLP; only model=prototype compares"):
        explain(monkeypatch, drawn_runs / "model=mlp")


def test_torn_weights_are_one_line(run, tmp_path, monkeypatch):
    for name in ("metrics.json", "config.yaml", "best.ckpt"):
        (tmp_path / name).write_bytes((run / name).read_bytes()[: 1000 if name == "best.ckpt" else None])
    with pytest.raises(SystemExit, match=r"explain.py: .*best.ckpt: not a whole checkpoint"):
        explain(monkeypatch, tmp_path)


def test_of_many_classes_the_nearest_are_shown_and_the_answer_is_bold():
    model = PrototypeNetwork([f"class {label}" for label in range(45)])
    image = torch.randint(256, (3, 32, 32), dtype=torch.uint8)
    nearest = model(image[None])[0].argsort(descending=True)[:20]
    axes = why_figure(model, image).axes[1:21]
    assert [part.get_title() for part in axes] == [f"class {label}" for label in sorted(nearest.tolist())]
    bold = [part.get_title() for part in axes if part.title.get_fontweight() == "bold"]
    assert bold == [f"class {int(nearest[0])}"]
