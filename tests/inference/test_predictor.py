"""Tests cifar10.load and Predictor.predict: accepted and refused images and checkpoints."""

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
from malicious import Malicious
from PIL import Image

import cifar10
from cifar10.data.image_io import read_image
from cifar10.results.saved_run import SavedRun

ROOT = Path(cifar10.__file__).parent.parent


@pytest.fixture(scope="module")
def model(synthetic_runs):
    return cifar10.load(synthetic_runs / "model=mlp", "cpu")


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(256, size=(7, 3, 32, 32), dtype=np.uint8)


@pytest.mark.parametrize("name", ["prototype", "mlp", "cnn"])
@pytest.mark.parametrize("file", ["", "best.ckpt"])
def test_predictions_match_the_run(name, file, synthetic_runs):
    run = SavedRun(synthetic_runs / f"model={name}")
    predictions = cifar10.load(run.folder / file).predict(run.data.test_images)
    # The run may be in bfloat16, which has three digits; predictions are always in float32.
    tolerance = 1e-6 if run.record["precision"] == "32-true" else 0.02
    np.testing.assert_allclose(predictions.probabilities, run.predictions.probabilities, rtol=1e-4, atol=tolerance)
    second, first = np.sort(run.predictions.probabilities)[:, -2:].T
    same = predictions.labels == run.predictions.predicted
    assert same[first - second > 2 * tolerance].all()
    assert predictions.names == [run.class_names[label] for label in predictions.labels]


def modules_after(code, *arguments):
    """Returns the top-level modules imported by a new Python process that runs `code`."""
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


def test_predict_py_takes_a_published_name_without_training_libraries(published, pixels, tmp_path):
    Image.fromarray(pixels[0].transpose(1, 2, 0)).save(tmp_path / "one.png")
    code = "from pathlib import Path; import runpy; import cifar10.networks.weights as weights\n"
    code += f"weights.FOLDER = Path({str(published)!r})\n"
    code += f"runpy.run_path({str(ROOT / 'scripts/predict.py')!r}, run_name='__main__')"
    found = modules_after(code, "cnn", tmp_path / "one.png", "--device", "cpu")
    unused = {"lightning", "torchmetrics", "torchvision", "hydra", "omegaconf", "matplotlib", "pandas", "kornia"}
    assert "torch" in found
    assert not found & unused


def test_list_weights_does_not_import_torch():
    assert not modules_after("import cifar10; cifar10.list_weights()") & {"torch", "lightning"}


def test_same_images_in_any_form_have_same_predictions(model, pixels):
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


def test_batch_size_does_not_change_predictions(model, pixels):
    np.testing.assert_allclose(
        model.predict(pixels, batch_size=2).probabilities, model.predict(pixels).probabilities, rtol=1e-4, atol=1e-6
    )
    assert model.predict(pixels[:0]).probabilities.shape == (0, 10)


def test_single_image_is_a_batch_of_one(model, pixels, tmp_path):
    picture = Image.fromarray(pixels[0].transpose(1, 2, 0))
    picture.save(tmp_path / "one.png")
    expected = model.predict(pixels[:1]).probabilities
    for image in (pixels[0], picture, tmp_path / "one.png", str(tmp_path / "one.png")):
        np.testing.assert_allclose(model.predict(image).probabilities, expected, rtol=1e-5)


def test_images_of_any_size_are_resized_as_in_data_folder(model, tmp_path):
    picture = Image.fromarray(np.random.default_rng(1).integers(256, size=(90, 130, 4), dtype=np.uint8), "RGBA")
    picture.save(tmp_path / "large.png")
    expected = model.predict(read_image(tmp_path / "large.png")).probabilities
    np.testing.assert_array_equal(model.predict(picture).probabilities, expected)
    np.testing.assert_array_equal(model.predict([tmp_path / "large.png"]).probabilities, expected)


def test_top_is_sorted_by_probability(model, pixels):
    predictions = model.predict(pixels)
    for row, name, top in zip(predictions.probabilities, predictions.names, predictions.top(3), strict=True):
        order = sorted(range(10), key=lambda label: -row[label])[:3]
        assert top == [(model.class_names[label], row[label]) for label in order]
        assert name == top[0][0]


def truncated_image():
    """Returns an opened image whose pixel data is truncated."""
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
        ([Image.new("RGB", (8, 8)), truncated_image()], "NCHW", "images[1] cannot be read: "),
        (7, "NCHW", "got int"),
        ([np.zeros((3, 32, 32), np.uint8), "cat.png"], "NCHW", "got ndarray, str"),
        ("no/such.png", "NCHW", "1 of 1 files cannot be read as images: 'no/such.png: No such file or directory"),
    ],
)
def test_unsupported_images_raise_one_line(images, layout, line, model):
    with pytest.raises(cifar10.UserError) as error:
        model.predict(images, layout)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def write_files(folder, run):
    (folder / "text.ckpt").write_text("no checkpoint")
    (folder / "empty.ckpt").write_bytes(b"")
    (folder / "truncated.ckpt").write_bytes((run / "best.ckpt").read_bytes()[:5000])
    (folder / "pickle.ckpt").write_bytes(pickle.dumps(Malicious(Path("harm"))))
    torch.save({"model": "MLP", "state_dict": Malicious(Path("harm"))}, folder / "harmful.ckpt")
    torch.save({"weights": torch.zeros(3)}, folder / "other.ckpt")
    torch.save(torch.zeros(3), folder / "tensor.ckpt")
    for name in ("Resnet", "..os", "Network"):
        network = {"class": name, "arguments": {}}
        torch.save({"model": name, "network": network, "state_dict": {}}, folder / f"{name}.ckpt")
    (folder / "unfinished").mkdir()
    shutil.copy(run / "config.yaml", folder / "unfinished")
    shutil.copy(run / "best.ckpt", folder / "unfinished")
    (folder / "parent/run").mkdir(parents=True)
    shutil.copy(run / "metrics.json", folder / "parent/run")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("missing", "missing not found"),
        *(
            (f"{name}.ckpt", "not a checkpoint of this project")
            for name in ("text", "empty", "truncated", "other", "tensor")
        ),
        *((f"{name}.ckpt", "could run code and is not opened") for name in ("pickle", "harmful")),
        *((f"{name}.ckpt", "does not support the network") for name in ("Resnet", "..os", "Network")),
        ("unfinished", "not finished; repeat its command to resume it, or pass its best.ckpt"),
        ("parent", "not a finished run; it contains 'parent/run'"),
        ("parent/run", "best.ckpt not found"),
        (".", "not a finished run; it contains 'parent/run'"),
    ],
)
@pytest.mark.fault(
    "a file that is not a checkpoint, or would run code, passed to cifar10.load", "refused in one line, no code ran"
)
def test_other_files_are_refused_in_one_line_without_running_code(name, line, synthetic_runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path, synthetic_runs / "model=mlp")
    with pytest.raises(cifar10.UserError) as error:
        cifar10.load(name)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "harm").exists()


def test_unknown_device_raises_one_line(synthetic_runs):
    with pytest.raises(cifar10.UserError, match=r"^device warp: "):
        cifar10.load(synthetic_runs / "model=mlp", "warp")
