"""A finished run, opened again."""

import json
import shutil

import numpy as np
import pytest
import torch

from cifar10.errors import UserError
from cifar10.results.saved_run import FinishedRun


@pytest.fixture
def mlp(drawn_runs, tmp_path):
    folder = tmp_path / "mlp"
    shutil.copytree(drawn_runs / "model=mlp", folder, ignore=shutil.ignore_patterns("seed=2", "tensorboard"))
    return folder


def test_its_model_says_of_its_data_what_it_said_then(mlp):
    run = FinishedRun(mlp)
    with torch.inference_mode():
        probabilities = run.model(run.data.test_images).softmax(1)
    np.testing.assert_allclose(run.predictions.probabilities, probabilities, rtol=1e-4, atol=1e-6)
    assert run.predictions.confusion(10).tolist() == run.record["test"]["confusion"]


@pytest.mark.parametrize("torn", [None, b"", b"PK\x03\x04 and no more"])
def test_predictions_that_are_missing_or_torn_are_made_again(torn, mlp):
    whole = FinishedRun(mlp).predictions
    file = mlp / "predictions.npz"
    file.unlink() if torn is None else file.write_bytes(torn)
    again = FinishedRun(mlp).predictions
    np.testing.assert_allclose(again.probabilities, whole.probabilities, rtol=1e-4, atol=1e-6)
    assert file.stat().st_size > 1000


def test_the_history_has_a_value_for_each_epoch_and_leaves_out_empty_columns(mlp):
    (mlp / "metrics.csv").write_text("epoch,train/loss,train/gap\n1,2.5,\n2,2.25,0.1\n")
    assert FinishedRun(mlp).history == {"epoch": [1, 2], "train/loss": [2.5, 2.25]}


def test_the_evolution_goes_from_the_beginning_to_the_tested_prototypes(drawn_runs):
    run = FinishedRun(drawn_runs / "model=prototype")
    steps = list(run.evolution)
    assert steps == [0, 1, 2, 4, 8, 10]  # two epochs of five batches
    assert run.evolution[0].shape == (1, 10, 3, 32, 32)
    torch.testing.assert_close(run.evolution[10][0], run.model.prototype_images(), rtol=0, atol=0.5 / 255 + 1e-6)
    assert FinishedRun(drawn_runs / "model=mlp").evolution == {}


def test_other_images_than_those_of_the_run_are_refused(mlp):
    record = json.loads((mlp / "metrics.json").read_text())
    (mlp / "metrics.json").write_text(json.dumps(record | {"data_sha256": "0" * 64}))
    with pytest.raises(UserError, match=r"the images of data=synthetic are not those that this run was tested on"):
        _ = FinishedRun(mlp).data


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("data: {_target_: cifar10.data.synthetic.SyntheticData, of_old: 3}", "of_old"),
        ("data: {_target_: cifar10.data.forgotten.Data}", "forgotten"),
        ("data: {_target_: os.mkdir, path: harm}", "mkdir"),
        ("data: {_target_: cifar10.training.lock.Lock}", "torn, or a run of another version"),
        (
            "data: {_target_: cifar10.data.synthetic.SyntheticData, seed: {_target_: os.mkdir, path: harm}}",
            "are not those",
        ),
        ("data: [", "parsing"),
        ("seed: 1", "data"),
    ],
)
def test_settings_of_another_version_and_torn_or_harmful_ones_are_one_line(text, told, mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (mlp / "config.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        _ = FinishedRun(mlp).data
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "harm").exists()


def test_a_model_that_is_no_more_is_one_line(mlp):
    checkpoint = torch.load(mlp / "best.ckpt", weights_only=True)
    forgotten = checkpoint["network"] | {"class": "ForgottenNetwork"}
    torch.save(checkpoint | {"network": forgotten}, mlp / "best.ckpt")
    with pytest.raises(UserError, match=r"best.ckpt: not a network of this version"):
        _ = FinishedRun(mlp).model
