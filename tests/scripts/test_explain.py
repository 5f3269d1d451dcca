"""scripts/explain.py: explanations of the predictions of one image."""

import re
from pathlib import Path

import pytest
from matplotlib.image import imread, imsave

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/explain.py")


@pytest.fixture(scope="module")
def run(synthetic_runs):
    return synthetic_runs / "model=prototype"


def test_color_differences_to_all_classes_need_no_extra(run, tmp_path, command, monkeypatch):
    monkeypatch.setattr("cifar10.errors.find_spec", lambda name: None)
    out = tmp_path / "why.png"
    status, output = command(run, "--classes", "--image", 3, "--out", out)
    assert status == 0
    assert imread(out).shape[1] > 500
    assert output.startswith(f"{out}: test image 3: ")
    assert "pip install -e '.[explain]'" in command(run, "--out", out)[0]


def test_figure_of_three_models(synthetic_runs, tmp_path, command):
    pytest.importorskip("captum", reason="needs Captum: pip install -e '.[explain]'")
    imsave(tmp_path / "photo.png", imread(Path(__file__).parents[2] / "docs/why.png")[:40, :50])
    models, out = [synthetic_runs / f"model={name}" for name in ("prototype", "mlp", "cnn")], tmp_path / "why.svg"
    for image, title in ((3, "test image 3: "), (tmp_path / "photo.png", "photo.png")):
        status, output = command(*models, "--image", image, "--out", out)
        assert status == 0
        assert re.match(rf"{out}: {title}.*; Prototype: \w+ \d+%, MLP: \w+ \d+%, CNN: \w+ \d+%$", output)
        assert "Grad-CAM" in out.read_text()


def test_published_weights_are_explained(published, tmp_path, run_script):
    status, output = run_script(SCRIPT, "prototype", "--classes", "--image", 3, "--out", tmp_path / "why.png")
    assert status == 0
    assert output.startswith(f"{tmp_path / 'why.png'}: test image 3: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", 100], "explain.py: --image 100: expected 0 to 99"),
        (["--image", "nowhere.png"], "explain.py: .*nowhere.png"),
        (["--out", f"{__file__}/why.png"], f"explain.py: cannot write {__file__}/why.png: "),
    ],
)
def test_invalid_arguments_are_reported(arguments, message, run, command):
    assert re.match(message, command(run, "--classes", *arguments)[0])


def test_unsupported_figure_format_is_a_usage_error(run, command):
    assert command(run, "--classes", "--out", "why.txt")[0] == 2


def test_other_models_and_folders_are_reported(run, synthetic_runs, tmp_path, command):
    mlp = synthetic_runs / "model=mlp"
    assert "model=prototype" in command(mlp, "--classes")[0]
    assert "model=prototype" in command(run, run, "--classes")[0]
    assert "not a finished run" in command(tmp_path, "--classes")[0]
    (tmp_path / "best.ckpt").write_bytes((run / "best.ckpt").read_bytes()[:1000])
    assert re.match(r"explain.py: .*best.ckpt: ", command(tmp_path / "best.ckpt", "--classes")[0])
