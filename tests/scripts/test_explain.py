"""scripts/explain.py: difference maps of one test image."""

import runpy
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/explain.py")


@pytest.fixture(scope="module")
def run(synthetic_runs):
    return synthetic_runs / "model=prototype"


def explain(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, arguments)])
    runpy.run_path(SCRIPT, run_name="__main__")


def test_figure_and_predicted_class(run, tmp_path, monkeypatch, capsys):
    explain(monkeypatch, run, "--image", 3, "--out", tmp_path / "why.png")
    assert imread(tmp_path / "why.png").shape[1] > 500
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'why.png'}: test image 3: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", 100], "explain.py: --image 100: expected 0 to 99"),
        (["--out", "why.txt"], "explain.py: --out why.txt: expected .*.png, .svg or .pdf"),
        (["--out", f"{__file__}/why.png"], f"explain.py: cannot write {__file__}/why.png: "),
    ],
)
def test_invalid_arguments_are_reported(arguments, message, run, monkeypatch):
    with pytest.raises(SystemExit, match=message):
        explain(monkeypatch, run, *arguments)


def test_folder_without_a_run_is_reported(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"explain.py: .*: no finished run"):
        explain(monkeypatch, tmp_path)


def test_run_of_another_model_is_reported(synthetic_runs, monkeypatch):
    with pytest.raises(SystemExit, match=r"explain.py: .*: expected a run of model=prototype, got MLP"):
        explain(monkeypatch, synthetic_runs / "model=mlp")


def test_damaged_weights_are_reported(run, tmp_path, monkeypatch):
    for name in ("metrics.json", "config.yaml", "best.ckpt"):
        (tmp_path / name).write_bytes((run / name).read_bytes()[: 1000 if name == "best.ckpt" else None])
    with pytest.raises(SystemExit, match=r"explain.py: .*best.ckpt: "):
        explain(monkeypatch, tmp_path)
