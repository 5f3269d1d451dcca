"""Reads small files in the formats of CIFAR-10-C and CIFAR-10.1, and evaluates a network on them."""

import json
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
import torch
from malicious import Malicious
from miniature import write_miniature

import cifar10
from cifar10.errors import UserError
from cifar10.inference.robustness_sets import EXTRA, STANDARD, mean_corruption_error, read_cifar10c, read_cifar101

ROOT = Path(__file__).resolve().parents[2]
CORRUPTIONS = [
    "brightness", "contrast", "defocus_blur", "elastic_transform", "fog", "frost", "gaussian_blur", "gaussian_noise",
    "glass_blur", "impulse_noise", "jpeg_compression", "motion_blur", "pixelate", "saturate", "shot_noise", "snow",
    "spatter", "speckle_noise", "zoom_blur",
]  # fmt: skip
"""The files of the published archive, in alphabetical order, without `labels.npy`."""
COUNT = 4
"""Images of each severity; 10,000 in the published files."""


@pytest.fixture
def cifar10c(tmp_path) -> Path:
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    for seed, name in enumerate(CORRUPTIONS):
        images = np.random.default_rng(seed).integers(0, 256, (5 * COUNT, 32, 32, 3), dtype=np.uint8)
        np.save(folder / f"{name}.npy", images)
    np.save(folder / "labels.npy", np.tile(np.arange(COUNT), 5))
    return folder


@pytest.fixture
def cifar101(tmp_path) -> Path:
    images = np.random.default_rng(99).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "cifar10.1_v6_data.npy", images)
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.arange(6, dtype=np.int32))
    return tmp_path


def test_corruptions_are_those_of_the_published_archive():
    assert sorted((*STANDARD, *EXTRA)) == CORRUPTIONS
    assert (len(STANDARD), len(EXTRA)) == (15, 4)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_files_hold_the_severities_in_order(severity, cifar10c):
    images, labels = read_cifar10c(cifar10c)["fog"].severity(severity).tensors()
    stored = np.load(cifar10c / "fog.npy")[(severity - 1) * COUNT : severity * COUNT]
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert np.array_equal(images, stored.transpose(0, 3, 1, 2))
    assert labels.tolist() == list(range(COUNT))


def test_cifar101_labels_become_int64(cifar101):
    images, labels = read_cifar101(cifar101).tensors(5)
    assert images.shape == (5, 3, 32, 32)
    assert (labels.dtype, labels.tolist()) == (torch.int64, [0, 1, 2, 3, 4])


def test_mean_corruption_error_leaves_out_the_extra_corruptions():
    """As in AugMix: 100% minus the mean accuracy over the 15 corruptions."""
    accuracy = {name: (index + 1) / 20 for index, name in enumerate(STANDARD)} | dict.fromkeys(EXTRA, 1.0)
    results = {name: [{"accuracy": value, "ece": 0.0}] * 5 for name, value in accuracy.items()}
    assert mean_corruption_error(results) == pytest.approx(1 - 0.4)  # the mean of 1/20 to 15/20 is 8/20


@pytest.mark.parametrize("name", ["snow", "labels"])
@pytest.mark.fault("a malicious pickle instead of a NumPy array", "not opened")
def test_pickled_objects_are_refused(name, cifar10c, tmp_path):
    trace = tmp_path / "trace"
    np.save(cifar10c / f"{name}.npy", np.array([Malicious(trace)], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=rf"^{cifar10c}/{name}.npy: not a NumPy array file"):
        read_cifar10c(cifar10c)
    assert not trace.exists()
    np.load(cifar10c / f"{name}.npy", allow_pickle=True)
    assert trace.exists()  # the payload works


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("snow", Path.unlink, "'snow.npy' not found"),
        ("snow", cut, "snow.npy: not a NumPy array file"),
        ("snow", lambda path: path.write_bytes(b""), "snow.npy: not a NumPy array file"),
        ("snow", lambda path: np.savez(path.open("wb"), a=1), "snow.npy: not a NumPy array file"),
        ("snow", lambda path: np.save(path, np.zeros((20, 3, 32, 32), np.uint8)), r"snow.npy: got uint8 \(20, 3"),
        ("snow", lambda path: np.save(path, np.zeros((20, 32, 32, 3))), "snow.npy: got float64"),
        ("snow", lambda path: np.save(path, np.zeros((15, 32, 32, 3), np.uint8)), r"labels.npy: got int64 \(20,\)"),
        ("labels", lambda path: np.save(path, np.arange(20)), "labels.npy: expected labels from 0 to 9"),
        ("labels", lambda path: np.save(path, np.zeros(20)), "labels.npy: got float64"),
    ],
)
def test_other_files_are_refused_in_one_line(name, damage, reason, cifar10c):
    damage(cifar10c / f"{name}.npy")
    with pytest.raises(UserError, match=reason) as error:
        read_cifar10c(cifar10c)
    assert "\n" not in str(error.value)


def test_number_of_labels_must_be_a_multiple_of_five(cifar10c):
    for path in cifar10c.iterdir():
        np.save(path, np.load(path)[:19])
    with pytest.raises(UserError, match="got 19 labels"):
        read_cifar10c(cifar10c)


def test_evaluate_reports_accuracies_and_mean_corruption_error(cifar10c, cifar101, run_script, monkeypatch, tmp_path):
    write_miniature(tmp_path, monkeypatch)
    monkeypatch.setenv("CIFAR10_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run_script(str(ROOT / "train.py"), "model=mlp", "epochs=1", "data.val_size=4")[0] == 0
    (run,) = Path("runs/mlp").glob("*/seed=1")
    arguments = ["--cifar10c", cifar10c, "--cifar101", cifar101, "--json", "e.json"]
    status, text = run_script(str(ROOT / "scripts/evaluate.py"), run, *arguments)
    found = json.loads(Path("e.json").read_text())
    network = cifar10.load(run, "cpu")

    def accuracy(images, labels) -> float:
        return float(np.mean(network.predict(images, layout="NHWC").labels == labels))

    labels = np.load(cifar10c / "labels.npy")
    images = {name: np.load(cifar10c / f"{name}.npy") for name in CORRUPTIONS}
    severity_5 = {name: accuracy(all_five[-COUNT:], labels[-COUNT:]) for name, all_five in images.items()}
    errors = [1 - accuracy(images[name], labels) for name in STANDARD]
    assert status == 0
    assert {name: values[4]["accuracy"] for name, values in found["cifar10c"].items()} == pytest.approx(severity_5)
    assert found["mean_corruption_error"] == pytest.approx(mean(errors))
    assert f"mean corruption error: {mean(errors):.2%}" in text
    assert found["cifar101"]["test"]["accuracy"] == pytest.approx(
        accuracy(np.load(cifar101 / "cifar10.1_v6_data.npy"), np.arange(6))
    )
    rows = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 1 + 15 + 1 + 4
