"""scripts/explain.py: difference maps of one test image."""

import re
from pathlib import Path

import pytest
from matplotlib.image import imread

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/explain.py")


@pytest.fixture(scope="module")
def run(synthetic_runs):
    return synthetic_runs / "model=prototype"


def test_figure_and_predicted_class(run, tmp_path, run_script):
    status, output = run_script(SCRIPT, run, "--image", 3, "--out", tmp_path / "why.png")
    assert status == 0
    assert imread(tmp_path / "why.png").shape[1] > 500
    assert output.startswith(f"{tmp_path / 'why.png'}: test image 3: ")


def test_published_weights_are_explained(published, tmp_path, run_script):
    status, output = run_script(SCRIPT, "prototype", "--image", 3, "--out", tmp_path / "why.png")
    assert status == 0
    assert output.startswith(f"{tmp_path / 'why.png'}: test image 3: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", 100], "explain.py: --image 100: expected 0 to 99"),
        (["--out", "why.txt"], "explain.py: --out why.txt: expected .*.png, .svg or .pdf"),
        (["--out", f"{__file__}/why.png"], f"explain.py: cannot write {__file__}/why.png: "),
    ],
)
def test_invalid_arguments_are_reported(arguments, message, run, run_script):
    assert re.match(message, run_script(SCRIPT, run, *arguments)[0])


def test_other_folders_are_reported(run, synthetic_runs, tmp_path, run_script):
    assert "not a finished run" in run_script(SCRIPT, tmp_path)[0]
    assert "expected model=prototype, got MLP" in run_script(SCRIPT, synthetic_runs / "model=mlp")[0]
    for name in ("metrics.json", "config.yaml", "best.ckpt"):
        (tmp_path / name).write_bytes((run / name).read_bytes()[: 1000 if name == "best.ckpt" else None])
    assert re.match(r"explain.py: .*best.ckpt: ", run_script(SCRIPT, tmp_path)[0])
