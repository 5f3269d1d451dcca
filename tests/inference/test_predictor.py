"""Tests cifar10.load and Predictor.predict: images and checkpoints they accept, and those they refuse."""

import os
import pickle
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cifar10
from cifar10.data.image_io import read_image
from cifar10.results.saved_run import SavedRun

ROOT = Path(cifar10.__file__).parent.parent


@pytest.fixture(scope="module")
def model(drawn_runs):
    return cifar10.load(drawn_runs / "model=mlp", "cpu")


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(256, size=(7, 3, 32, 32), dtype=np.uint8)


@pytest.mark.parametrize("name", ["prototype", "mlp", "cnn"])
@pytest.mark.parametrize("file", ["", "best.ckpt"])
def test_predictions_are_those_of_the_run(name, file, drawn_runs):
    run = SavedRun(drawn_runs / f"model={name}")
    predictions = cifar10.load(run.folder / file).predict(run.data.test_images)
    # The CNN's run is in bfloat16, of three digits, where the processor has it; predictions are always in float32.
    off = 1e-6 if run.record["precision"] == "32-true" else 0.02
    np.testing.assert_allclose(predictions.probabilities, run.predictions.probabilities, rtol=1e-4, atol=off)
    second, first = np.sort(run.predictions.probabilities)[:, -2:].T
    same = predictions.labels == run.predictions.predicted
    assert same[first - second > 2 * off].all()
    assert predictions.names == [run.class_names[label] for label in predictions.labels]


def modules_after(code, *arguments):
    """The top-level modules that a new Python has imported after running `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_importing_cifar10_does_not_import_torch():
    assert not modules_after("import cifar10; cifar10.UserError") & {"torch", "numpy"}


def test_predict_py_imports_no_training_library(drawn_runs, pixels, tmp_path):
    Image.fromarray(pixels[0].transpose(1, 2, 0)).save(tmp_path / "one.png")
    code = f"import runpy; runpy.run_path({str(ROOT / 'scripts/predict.py')!r}, run_name='__main__')"
    found = modules_after(code, drawn_runs / "model=mlp", tmp_path / "one.png", "--device", "cpu")
    assert "torch" in found
    unused = {"lightning", "torchmetrics", "torchvision", "hydra", "omegaconf", "matplotlib", "pandas", "kornia"}
    assert not found & unused


def test_the_same_images_in_any_form_have_the_same_predictions(model, pixels):
    expected = model.predict(pixels).probabilities
    assert expected.shape == (7, 10)
    np.testing.assert_allclose(expected.sum(1), 1, rtol=1e-5)
    last = pixels.transpose(0, 2, 3, 1)
    for images, layout in [
        (torch.from_numpy(pixels), "NCHW"),
        (pixels / 255, "NCHW"),  # float64
        (torch.from_numpy(pixels) / 255, "NCHW"),
        (last, "NHWC"),
        (last.astype(np.float32) / 255, "NHWC"),
        (last[:, ::-1][:, ::-1], "NHWC"),
        ((last / 255).astype(">f8"), "NHWC"),
        ([Image.fromarray(image) for image in last], "NCHW"),
    ]:
        np.testing.assert_allclose(model.predict(images, layout).probabilities, expected, rtol=1e-4, atol=1e-6)


def test_the_batch_size_changes_nothing(model, pixels):
    np.testing.assert_allclose(
        model.predict(pixels, batch_size=2).probabilities, model.predict(pixels).probabilities, rtol=1e-4, atol=1e-6
    )
    assert model.predict(pixels[:0]).probabilities.shape == (0, 10)


def test_one_image_is_a_batch_of_one(model, pixels, tmp_path):
    picture = Image.fromarray(pixels[0].transpose(1, 2, 0))
    picture.save(tmp_path / "one.png")
    expected = model.predict(pixels[:1]).probabilities
    for image in (pixels[0], picture, tmp_path / "one.png", str(tmp_path / "one.png")):
        np.testing.assert_allclose(model.predict(image).probabilities, expected, rtol=1e-5)


def test_images_of_any_size_are_brought_to_32_pixels_as_those_of_a_folder_are(model, tmp_path):
    picture = Image.fromarray(np.random.default_rng(1).integers(256, size=(90, 130, 4), dtype=np.uint8), "RGBA")
    picture.save(tmp_path / "large.png")
    expected = model.predict(read_image(tmp_path / "large.png")).probabilities
    np.testing.assert_array_equal(model.predict(picture).probabilities, expected)
    np.testing.assert_array_equal(model.predict([tmp_path / "large.png"]).probabilities, expected)


def test_top_is_in_order(model, pixels):
    predictions = model.predict(pixels)
    for row, name, top in zip(predictions.probabilities, predictions.names, predictions.top(3), strict=True):
        order = sorted(range(10), key=lambda label: -row[label])[:3]
        assert top == [(model.class_names[label], row[label]) for label in order]
        assert name == top[0][0]


def torn_image():
    """Opened by its head; its pixels end too early."""
    content = BytesIO()
    Image.new("RGB", (64, 64)).save(content, "BMP")
    return Image.open(BytesIO(content.getvalue()[:500]))


@pytest.mark.parametrize(
    ("images", "layout", "line"),
    [
        (np.zeros((2, 32, 32, 3), np.uint8), "NCHW", 'set layout="NHWC"'),
        (np.zeros((2, 3, 32, 32), np.uint8), "NHWC", "expected (N, 32, 32, 3)"),
        (np.zeros((300, 451, 3), np.uint8), "NHWC", "as Pillow images or paths"),
        (np.zeros((32, 32), np.uint8), "NCHW", "got shape (32, 32), expected (N, 3, 32, 32)"),
        (np.full((1, 3, 32, 32), 255.0), "NCHW", "[255, 255], expected [0, 1]"),
        (np.full((1, 3, 32, 32), np.nan), "NCHW", "[nan, nan], expected [0, 1]"),
        (np.zeros((1, 3, 32, 32), np.int64), "NCHW", "got dtype int64, expected uint8"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.int32), "NCHW", "got dtype torch.int32, expected uint8"),
        (np.zeros((1, 3, 32, 32), np.uint8), "CHWN", "layout='CHWN': expected NCHW"),
        ([], "NCHW", "got an empty list"),
        ([Image.new("RGB", (8, 8)), torn_image()], "NCHW", "images[1] cannot be read: "),
        (7, "NCHW", "got int"),
        ([np.zeros((3, 32, 32), np.uint8), "cat.png"], "NCHW", "got ndarray, str"),
        ("no/such.png", "NCHW", "1 of 1 files cannot be read as images: 'no/such.png: No such file or directory"),
    ],
)
def test_unsupported_images_are_one_line(images, layout, line, model):
    with pytest.raises(cifar10.UserError) as error:
        model.predict(images, layout)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def _files(folder, run):
    (folder / "text.ckpt").write_text("no checkpoint")
    (folder / "empty.ckpt").write_bytes(b"")
    (folder / "torn.ckpt").write_bytes((run / "best.ckpt").read_bytes()[:5000])
    (folder / "pickle.ckpt").write_bytes(pickle.dumps(Harmful()))
    torch.save({"model": "MLP", "state_dict": Harmful()}, folder / "harmful.ckpt")
    torch.save({"weights": torch.zeros(3)}, folder / "other.ckpt")
    torch.save(torch.zeros(3), folder / "tensor.ckpt")
    for name in ("Resnet", "..os", "Network"):
        network = {"class": name, "arguments": {}}
        torch.save({"model": name, "network": network, "state_dict": {}}, folder / f"{name}.ckpt")
    (folder / "begun").mkdir()
    shutil.copy(run / "config.yaml", folder / "begun")
    shutil.copy(run / "best.ckpt", folder / "begun")
    (folder / "above/run").mkdir(parents=True)
    shutil.copy(run / "metrics.json", folder / "above/run")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("missing", "no such file or folder"),
        *(
            (f"{name}.ckpt", "not a whole checkpoint of this project")
            for name in ("text", "empty", "torn", "other", "tensor")
        ),
        *((f"{name}.ckpt", "could run code and is not opened") for name in ("pickle", "harmful")),
        *((f"{name}.ckpt", "not a network of this version") for name in ("Resnet", "..os", "Network")),
        ("begun", "not finished; repeat its command to resume it, or name its best.ckpt"),
        ("above", "not a finished run; found 'above/run'"),
        ("above/run", "best.ckpt is missing"),
        (".", "not a finished run; found 'above/run'"),
    ],
)
@pytest.mark.fault(
    "what is no checkpoint, or would run code, given to cifar10.load", "refused in one line, nothing ran"
)
def test_other_files_are_refused_in_one_line_and_run_nothing(name, line, drawn_runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _files(tmp_path, drawn_runs / "model=mlp")
    with pytest.raises(cifar10.UserError) as error:
        cifar10.load(name)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "harm").exists()


def test_an_unknown_device_is_one_line(drawn_runs):
    with pytest.raises(cifar10.UserError, match=r"^device warp: "):
        cifar10.load(drawn_runs / "model=mlp", "warp")
