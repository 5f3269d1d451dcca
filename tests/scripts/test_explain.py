"""scripts/explain.py: difference maps of one test image."""

import runpy
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/explain.py")


@pytest.fixture(scope="module")
def run(drawn_runs):
    return drawn_runs / "model=prototype"


def explain(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, arguments)])
    runpy.run_path(SCRIPT, run_name="__main__")


def test_picture_and_predicted_class(run, tmp_path, monkeypatch, capsys):
    explain(monkeypatch, run, "--image", 3, "--out", tmp_path / "why.png")
    assert imread(tmp_path / "why.png").shape[1] > 500
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'why.png'}: test image 3: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", 100], "explain.py: --image 100: there are 100 test images, counted from 0"),
        (["--out", "why.txt"], "explain.py: --out why.txt: choose a name that ends in .png, .svg or .pdf"),
        (["--out", f"{__file__}/why.png"], f"explain.py: cannot write {__file__}/why.png: "),
    ],
)
def test_invalid_arguments_are_one_line(arguments, message, run, monkeypatch):
    with pytest.raises(SystemExit, match=message):
        explain(monkeypatch, run, *arguments)


def test_a_folder_without_a_run_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"explain.py: .*: no finished run here"):
        explain(monkeypatch, tmp_path)


def test_a_run_of_a_network_is_one_line(drawn_runs, monkeypatch):
    with pytest.raises(SystemExit, match=r"explain.py: .* is a run of MLP; expected model=prototype"):
        explain(monkeypatch, drawn_runs / "model=mlp")


def test_torn_weights_are_one_line(run, tmp_path, monkeypatch):
    for name in ("metrics.json", "config.yaml", "best.ckpt"):
        (tmp_path / name).write_bytes((run / name).read_bytes()[: 1000 if name == "best.ckpt" else None])
    with pytest.raises(SystemExit, match=r"explain.py: .*best.ckpt: "):
        explain(monkeypatch, tmp_path)
