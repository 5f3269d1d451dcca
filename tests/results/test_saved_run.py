"""SavedRun: loads the files of a finished run."""

import json
import shutil

import numpy as np
import pytest
import torch
from miniature import write_miniature

from cifar10.data.cifar10 import CIFAR10Data
from cifar10.errors import UserError
from cifar10.results.saved_run import SavedRun
from cifar10.training.config import compose_settings
from cifar10.training.run import train


@pytest.fixture
def mlp(synthetic_runs, tmp_path):
    folder = tmp_path / "mlp"
    shutil.copytree(synthetic_runs / "model=mlp", folder, ignore=shutil.ignore_patterns("seed=2", "tensorboard"))
    return folder


def test_network_reproduces_stored_predictions(mlp):
    run = SavedRun(mlp)
    with torch.inference_mode():
        probabilities = run.network(run.data.test_images).softmax(1)
    np.testing.assert_allclose(run.predictions.probabilities, probabilities, rtol=1e-4, atol=1e-6)
    assert run.predictions.confusion(10).tolist() == run.record["test"]["confusion"]


@pytest.mark.parametrize("damaged", [None, b"", b"PK\x03\x04 truncated"])
def test_missing_or_damaged_predictions_are_recomputed_and_not_stored(damaged, mlp):
    stored = SavedRun(mlp).predictions
    file = mlp / "predictions.npz"
    file.unlink() if damaged is None else file.write_bytes(damaged)
    recomputed = SavedRun(mlp).predictions
    np.testing.assert_allclose(recomputed.probabilities, stored.probabilities, rtol=1e-4, atol=1e-6)
    assert (file.read_bytes() if file.exists() else None) == damaged


def test_recomputed_predictions_have_the_precision_of_the_run(tmp_path):
    small = ["data=synthetic", "data.train_size=200", "data.val_size=40", "data.test_size=500", "epochs=2"]
    cfg = compose_settings("model=mlp", *small, "precision=bf16-mixed", "trainer.enable_progress_bar=false")
    record = train(cfg, tmp_path)
    (tmp_path / "predictions.npz").unlink()
    assert SavedRun(tmp_path).predictions.confusion(10).tolist() == record["test"]["confusion"]


def test_snapshots_from_initial_to_final_prototypes(synthetic_runs):
    run = SavedRun(synthetic_runs / "model=prototype")
    steps = list(run.snapshots)
    assert steps == [0, 1, 2, 4, 8, 10]  # two epochs of five batches
    assert run.snapshots[0].shape == (1, 10, 3, 32, 32)
    torch.testing.assert_close(run.snapshots[10][0], run.prototypes[:, 0], rtol=0, atol=0.5 / 255 + 1e-6)
    assert SavedRun(synthetic_runs / "model=mlp").snapshots == {}


def test_cifar10_is_also_found_in_cifar10_root(mlp, tmp_path, monkeypatch):
    write_miniature(tmp_path, monkeypatch)
    monkeypatch.chdir(mlp)
    monkeypatch.delenv("CIFAR10_ROOT", raising=False)
    data = CIFAR10Data(str(tmp_path), val_size=2)
    data.setup()
    config = {"data": {"_target_": "cifar10.data.cifar10.CIFAR10Data", "root": "data", "val_size": 2}}
    run = SavedRun(mlp, SavedRun(mlp).record | {"data_sha256": data.checksum, "config": config})
    with pytest.raises(UserError, match="CIFAR10_ROOT"):
        _ = run.data
    monkeypatch.setenv("CIFAR10_ROOT", str(tmp_path))
    assert torch.equal(run.data.test_images, data.test_images)


SYNTHETIC = "cifar10.data.synthetic.SyntheticData"


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"_target_": SYNTHETIC, "removed": 3}, "removed"),
        ({"_target_": "cifar10.data.removed.Data"}, "removed"),
        ({"_target_": "os.mkdir", "path": "harm"}, "mkdir"),
        ({"_target_": "cifar10.results.saved_run.SavedRun"}, "SavedRun"),
        ({"_target_": SYNTHETIC, "data_seed": {"_target_": "os.mkdir", "path": "harm"}}, "data_seed"),
        ("text", "metrics.json"),
        (None, "data=synthetic"),  # other images
        ({}, "_target_"),
    ],
)
def test_changed_images_and_incompatible_or_malicious_settings_are_refused(data, named, mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = SavedRun(mlp).record | {"data_sha256": "0" * 64}
    record["config"] |= {"data": data} if data is not None else {}
    with pytest.raises(UserError) as error:
        _ = SavedRun(mlp, record).data
    assert named in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "harm").exists()


def test_checkpoint_of_unknown_network_is_refused(mlp):
    checkpoint = torch.load(mlp / "best.ckpt", weights_only=True)
    torch.save(checkpoint | {"network": {"class": "RemovedNetwork", "arguments": {}}}, mlp / "best.ckpt")
    with pytest.raises(UserError, match=r"best\.ckpt: "):
        _ = SavedRun(mlp).network


@pytest.mark.parametrize("content", [None, "", "[1]", '{"test": {}}'])
def test_missing_or_damaged_record_is_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(UserError, match=str(tmp_path)):
        SavedRun(tmp_path)


def test_reading_a_run_writes_nothing(mlp):
    before = {path: path.stat().st_mtime_ns for path in mlp.rglob("*")}
    run = SavedRun(mlp, json.loads((mlp / "metrics.json").read_text()))
    _ = run.history, run.network, run.data, run.predictions, run.snapshots
    assert {path: path.stat().st_mtime_ns for path in mlp.rglob("*")} == before


def test_history_keeps_nan_and_excludes_columns_with_empty_cells(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,val/loss,train/accuracy\n1,0.5,\n2,nan,\n")
    history = SavedRun(tmp_path, {"test": {"class_accuracy": {}}}).history
    assert list(history) == ["epoch", "val/loss"]
    np.testing.assert_equal(history["val/loss"], [0.5, np.nan])
