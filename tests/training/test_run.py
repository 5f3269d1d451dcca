"""Tests `train` from composed settings to result files, on synthetic images."""

import csv
import json
import os
import shutil
import signal
from importlib.metadata import version
from math import isnan

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn.functional import dropout

from cifar10.errors import Diverged, Interrupted, UserError
from cifar10.models import classifier
from cifar10.models.mlp import MLP
from cifar10.networks.mlp import MLPNetwork
from cifar10.training import checkpoints
from cifar10.training.checkpoints import LastCheckpoint
from cifar10.training.config import compose_settings
from cifar10.training.record import validation_results
from cifar10.training.run import _call_on_finish, train
from cifar10.training.run_folder import lock_run_folder

DAMAGED_TEST = '{"test": {"loss": 1, "accuracy": null}, "val_loss": 1, "config": {"monitor": "val/loss"}}'
SMALL = ("data=synthetic", "data.train_size=140", "data.val_size=40", "data.test_size=50", "epochs=2")


def composed(*overrides):
    return compose_settings(*SMALL, "trainer.enable_progress_bar=false", *overrides)


def weights(folder, name="last.ckpt"):
    return torch.load(folder / name, weights_only=True)["state_dict"]


def slow(*cases):
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def fail_after_listing(folder, record, loggers):
    (folder / "tensorboard/files").write_text(" ".join(path.name for path in folder.iterdir()))
    raise TypeError("a bug in a figure")


@pytest.fixture(scope="module")
def mlp_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlp")
    train(composed("model=mlp"), folder, overrides=["model=mlp"], on_finish=fail_after_listing)
    return folder


def test_run_writes_its_files(mlp_run):
    assert {path.name for path in mlp_run.iterdir()} - {".lock"} == {  # filelock 3.21 to 3.29 remove the lock file
        "best.ckpt", "last.ckpt", "config.yaml", "metrics.csv", "metrics.json", "predictions.npz", "tensorboard",
    }  # fmt: skip


def test_finished_run_warns_if_the_image_folder_has_changed(tmp_path, caplog):
    root = tmp_path / "images"
    for place in ("train/${x}", "train/b", "test/${x}", "test/b"):
        (root / place).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (32, 32), (40 * index, 0, 0)).save(root / place / f"{index}.png")
    options = ["model=mlp", "epochs=1", "trainer.enable_progress_bar=false"]
    cfg = compose_settings(*options, "data=folder", f"data.root={root}", "data.val_size=2")

    def warnings():
        caplog.clear()
        assert list(train(cfg, tmp_path / "run")["test"]["class_accuracy"]) == ["${x}", "b"]
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    warnings()
    assert warnings() == []
    (root / "train/b/0.png").rename(root / "train/${x}/3.png")
    (message,) = warnings()
    assert "data=folder changed after this run; overwrite=true" in message
    root.rename(tmp_path / "moved")
    (message,) = warnings()
    assert f"cannot be compared with the run's: {root} does not exist" in message


def test_metrics_csv_without_the_best_epoch_is_named(mlp_run, tmp_path):
    shutil.copy(mlp_run / "best.ckpt", tmp_path)
    (tmp_path / "metrics.csv").write_text("epoch,val/loss,val/accuracy\n9,1,1\n")
    with pytest.raises(UserError, match=r"metrics\.csv cannot be read"):
        validation_results(tmp_path)


def test_metrics_csv_has_one_row_per_epoch(mlp_run):
    with (mlp_run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row in rows:
        values = {name: float(value) for name, value in row.items()}
        assert values.keys() == {
            "epoch", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr", "seconds", "val_seconds",
        }  # fmt: skip
        assert values["lr"] == pytest.approx(0.001)
        assert 0 <= values["val/accuracy"] <= 1


def test_metrics_json_is_consistent(mlp_run):
    record = json.loads((mlp_run / "metrics.json").read_text())
    confusion = torch.tensor(record["test"]["confusion"])
    assert confusion.sum() == record["images"]["test"] == 50
    assert record["test"]["accuracy"] == pytest.approx(confusion.diag().sum().item() / 50)
    assert list(record["test"]["class_accuracy"].values()) == pytest.approx(
        (confusion.diag() / confusion.sum(1)).tolist()
    )
    assert record["images"] == {"train": 100, "val": 40, "test": 50}
    assert record["parameters"] == 968_560
    assert record["config"]["epochs"] == record["epochs"] == 2
    with (mlp_run / "metrics.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert record["last_epoch"] == {name: float(value) for name, value in last.items()}
    assert record["data"] == "synthetic"
    assert len(record["data_sha256"]) == 64
    assert record["versions"]["torch"] == version("torch")


def test_tensorboard_has_scalars_per_epoch_and_final_metrics(mlp_run):
    events = EventAccumulator(str(mlp_run / "tensorboard"))
    events.Reload()
    curves = ["lr", "train/accuracy", "train/loss", "val/accuracy", "val/loss"]
    assert set(events.Tags()["scalars"]) >= set(curves)
    for tag in curves:
        assert [event.step for event in events.Scalars(tag)] == [1, 2]
    record = json.loads((mlp_run / "metrics.json").read_text())
    assert events.Scalars("results/test_accuracy")[-1].value == pytest.approx(record["test"]["accuracy"])
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert events.Graph().node


def test_prototypes_are_logged_per_epoch(tmp_path):
    train(composed("model=prototype"), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Images("prototypes")] == [1, 2]


def test_repeated_command_returns_the_record_without_training(mlp_run):
    before = {path: path.stat().st_mtime_ns for path in mlp_run.rglob("*")}
    assert train(composed("model=mlp"), mlp_run) == json.loads((mlp_run / "metrics.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in mlp_run.rglob("*")} == before


@pytest.mark.parametrize(
    ("model", "tensor"), [("prototype", "prototypes"), *slow(("mlp", "layers.1.weight")), ("cnn", "layers.0.weight")]
)
def test_same_seed_gives_bit_identical_weights(model, tensor, tmp_path):
    for name, seed in {"first": 1, "second": 1, "other": 2}.items():
        settings = composed(f"model={model}", "epochs=1", "data.train_size=80", "data.test_size=20", f"seed={seed}")
        train(settings, tmp_path / name)
    assert_same_weights(weights(tmp_path / "first"), weights(tmp_path / "second"))
    first, other = (weights(tmp_path / folder)[f"network.{tensor}"] for folder in ("first", "other"))
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("choice", "batch"),
    [
        *[("model=mlp", 4), ("model=prototype", 3), ("experiment=prototype_exact model.prototypes_per_class=2", 6)],
        *slow(("model=mlp", 1), ("model=mlp", 6), ("model=cnn", 2), ("experiment=mlp_best", 5)),
        *slow(("experiment=cnn_best", 6), ("experiment=prototype_exact", 2)),
        *slow(("experiment=prototype_best model.compile=false model.prototypes_per_class=2", 6)),
    ],
)
@pytest.mark.fault("Ctrl-C within an epoch", "saves immediately, the resumed run is bit-identical")
def test_run_resumed_after_sigint_equals_uninterrupted_run(choice, batch, tmp_path, monkeypatch):
    """Interrupts after the given number of batches, of 4 per epoch."""
    assert_resumed_run_is_identical(composed(*choice.split(), "batch_size=25"), batch, tmp_path, monkeypatch)


def test_resumed_run_restores_random_numbers(tmp_path, monkeypatch):
    """With dropout on the pixels, which draws random numbers in each step."""
    monkeypatch.setattr(MLPNetwork, "normalize", lambda self, images: dropout(images / 255, training=self.training))
    assert_resumed_run_is_identical(composed("model=mlp", "batch_size=25"), 6, tmp_path, monkeypatch)


def assert_resumed_run_is_identical(settings, batch, tmp_path, monkeypatch):
    train(settings, tmp_path / "whole")

    weiszfeld = settings.model.get("solver") == "weiszfeld"  # trains on one batch per call
    hook, seen = "on_train_batch_end" if weiszfeld else "needs_step", []
    original, before = getattr(LastCheckpoint, hook), signal.getsignal(signal.SIGINT)

    def raise_sigint(*args):
        seen.append(1)
        if len(seen) == batch:
            signal.raise_signal(signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(LastCheckpoint, hook, raise_sigint)
    with pytest.raises(Interrupted, match=r"saved to .*last.ckpt; the same command, without overwrite"):
        train(settings, tmp_path / "stopped")
    assert not (tmp_path / "stopped/metrics.json").exists()
    assert signal.getsignal(signal.SIGINT) is before
    train(settings, tmp_path / "stopped")

    assert len(seen) == 8
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    assert_same_weights(weights(tmp_path / "whole", "best.ckpt"), weights(tmp_path / "stopped", "best.ckpt"))
    tables = [list(csv.DictReader((tmp_path / name / "metrics.csv").open())) for name in ("whole", "stopped")]
    for rows in tables:
        for row in rows:
            del row["seconds"], row["val_seconds"]
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("setting", "saved"), [("every_n_steps=3", [3, 4, 6, 8]), ("every_n_minutes=1e-9", [*range(1, 9)])]
)
def test_checkpoint_intervals_within_an_epoch(setting, saved, tmp_path, monkeypatch):
    steps, original = [], LastCheckpoint._save

    def save(self, trainer):
        steps.append(trainer.global_step)
        original(self, trainer)

    monkeypatch.setattr(LastCheckpoint, "_save", save)
    monkeypatch.setattr(classifier, "SECONDS_PER_CALL", 0)
    none = [f"checkpoint.{name}=null" for name in ("every_n_minutes", "every_n_steps")]
    train(composed("model=mlp", "batch_size=25", *none, f"checkpoint.{setting}"), tmp_path)
    assert steps == saved


@pytest.mark.fault("a loss or weights that are not finite", "one line with step and rate, last finite checkpoint kept")
def test_weights_that_are_not_finite_are_not_saved(tmp_path, monkeypatch):
    """The gradient of the third step is infinite; its loss, computed before the update, is finite."""

    def set_infinite_gradient(self, optimizer):
        if self.trainer.global_step == 2:
            next(self.parameters()).grad.fill_(torch.inf)

    monkeypatch.setattr(MLP, "on_before_optimizer_step", set_infinite_gradient)
    with pytest.raises(Diverged, match=r"absolute weights is nan at step 3, epoch 1.*last.ckpt holds the last finite"):
        train(composed("model=mlp", "batch_size=25", "checkpoint.every_n_steps=1"), tmp_path)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2


def test_moved_run_folder_can_be_resumed(tmp_path, monkeypatch):
    """Keeps the best epoch, at a learning rate so high that the second epoch is worse than the first."""
    settings = composed("model=mlp", "batch_size=50", "model.learning_rate=0.1", "seed=3")
    train(settings, tmp_path / "whole")
    monkeypatch.setattr(classifier, "SECONDS_PER_CALL", 0)
    monkeypatch.setattr(checkpoints, "any_rank", lambda *args: [True, True])
    for _ in range(2):  # after the first batch, then at the end of the epoch
        with pytest.raises(Interrupted):
            train(settings, tmp_path / "here")
    monkeypatch.undo()
    (tmp_path / "here").rename(tmp_path / "there")
    train(settings, tmp_path / "there")
    assert_same_weights(weights(tmp_path / "whole", "best.ckpt"), weights(tmp_path / "there", "best.ckpt"))


@pytest.mark.fault("SIGTERM", "saves immediately, exit status 75")
def test_sigterm_saves_and_exits_with_status_75(tmp_path, monkeypatch):
    original = LastCheckpoint.needs_step
    before = signal.getsignal(signal.SIGTERM)

    def preempt(self, step):
        signal.raise_signal(signal.SIGTERM)
        return original(self, step)

    monkeypatch.setattr(LastCheckpoint, "needs_step", preempt)
    with pytest.raises(Interrupted, match=r"saved to .*last.ckpt") as stop:
        train(composed("model=mlp"), tmp_path)
    assert stop.value.status == 75  # EX_TEMPFAIL
    assert signal.getsignal(signal.SIGTERM) is before
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        # The first step of Adam moves each weight by the learning rate: the second loss is infinite or NaN.
        (
            ["model.learning_rate=1e30"],
            r"train/loss is (nan|inf) at step 2, epoch 1, learning rate 1e\+30; no checkpoint was",
        ),
        (["model.learning_rate=1e30", "batch_size=100"], r"val/loss is (nan|inf) at step 1, epoch 1"),
    ],
)
@pytest.mark.fault("a loss or weights that are not finite", "one line with step and rate, last finite checkpoint kept")
def test_loss_that_is_not_finite_raises_diverged(overrides, message, tmp_path):
    with pytest.raises(Diverged, match=message):
        train(composed("model=mlp", *overrides), tmp_path)
    assert not list(tmp_path.glob("*.ckpt"))


@pytest.mark.fault("a loss or weights that are not finite", "one line with step and rate, last finite checkpoint kept")
def test_last_finite_checkpoint_is_kept_and_named(tmp_path, monkeypatch):
    """The loss is infinite from the third step of the second epoch on."""
    original = MLP.loss

    def loss(self, logits, labels):
        return original(self, logits, labels) * (torch.inf if self.training and self.trainer.global_step >= 6 else 1)

    monkeypatch.setattr(MLP, "loss", loss)
    settings = composed("model=mlp", "batch_size=25")
    with pytest.raises(Diverged, match=r"train/loss is inf at step 7, epoch 2.*last.ckpt holds the last finite state"):
        train(settings, tmp_path)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 4
    monkeypatch.undo()
    assert train(settings, tmp_path)["epochs"] == 2


def test_stop_on_divergence_false_continues(tmp_path):
    settings = composed("model=mlp", "model.learning_rate=1e30", "stop_on_divergence=false")
    record = train(settings, tmp_path)
    assert record["epochs"] == 2
    assert record["best_epoch"] == torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] + 1
    text = (tmp_path / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["test"]["loss"] is None  # JSON has no NaN
    assert isnan(train(settings, tmp_path)["test"]["loss"])


def test_trial_killed_before_its_status_is_validated_without_training(tmp_path):
    cfg = composed("model=mlp", "epochs=1")
    assert train(cfg, tmp_path, test=False) == {}
    checkpoint = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "status.txt").unlink()
    assert train(cfg, tmp_path, test=False) == {}
    assert (tmp_path / "status.txt").read_text().startswith("validated: not tested")
    assert (tmp_path / "last.ckpt").read_bytes() == checkpoint
    assert train(composed("model=mlp", "epochs=1", "overwrite=true"), tmp_path)["epochs"] == 1
    assert not (tmp_path / "status.txt").exists()


def test_locked_folder_is_refused(tmp_path):
    with lock_run_folder(tmp_path), pytest.raises(UserError, match=rf"locked by process {os.getpid()} on .*runs=PATH"):
        train(composed("model=mlp"), tmp_path)
    assert not (tmp_path / "config.yaml").exists()


def test_checkpoint_of_another_model_is_named(mlp_run, tmp_path):
    (tmp_path / "last.ckpt").write_bytes((mlp_run / "last.ckpt").read_bytes())
    with pytest.raises(UserError, match=r"got a checkpoint of MLP, expected one of Prototype"):
        train(composed("model=prototype"), tmp_path)


def test_checkpoint_of_other_images_is_refused(mlp_run, tmp_path):
    (tmp_path / "last.ckpt").write_bytes((mlp_run / "last.ckpt").read_bytes())
    with pytest.raises(UserError, match=r"data=synthetic .* overwrite=true"):
        train(composed("model=mlp", "data.data_seed=1"), tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.accelerator=abacus", r"trainer: accelerator=abacus"),
        ("trainer.devices=nine", r"trainer: .*devices=nine"),
        ("trainer.limit_train_batches=0.01", r"trainer: .*limit_train_batches"),
        ("model.warmup_fraction=0.1", r"model.warmup_fraction=0.1 of 8 steps: expected more than one step"),
        ("data.val_size=200", r"data.val_size=200 leaves 0 of 140"),
    ],
)
def test_error_of_trainer_model_or_data_is_one_line(override, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        train(composed("model=mlp", override), tmp_path)
    assert "\n" not in str(error.value)


def test_checkpoint_of_two_processes_is_refused_by_one(mlp_run, tmp_path):
    checkpoint = torch.load(mlp_run / "last.ckpt", weights_only=True)
    torch.save(checkpoint | {"random_states": checkpoint["random_states"] * 2}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"saved with world_size=2, .* has world_size=1; set trainer.devices=2, or"):
        train(composed("model=mlp"), tmp_path)


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"test": {}}', DAMAGED_TEST])
def test_damaged_metrics_json_is_named(content, mlp_run, tmp_path):
    (tmp_path / "config.yaml").write_bytes((mlp_run / "config.yaml").read_bytes())
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(UserError, match=r"metrics.json cannot be read; start over with overwrite=true"):
        train(composed("model=mlp"), tmp_path)
    assert (tmp_path / "metrics.json").read_text() == content


def test_on_finish_runs_before_the_record_is_written(mlp_run):
    seen = (mlp_run / "tensorboard/files").read_text().split()
    assert {"predictions.npz", "metrics.csv", "best.ckpt"} <= set(seen)
    assert "metrics.json" not in seen
    assert json.loads((mlp_run / "metrics.json").read_text())["overrides"] == ["model=mlp"]


def test_failure_of_on_finish_is_logged(tmp_path, caplog):
    (tmp_path / "tensorboard").mkdir()
    _call_on_finish(fail_after_listing, tmp_path, {}, [])
    assert "fail_after_listing failed: TypeError: a bug in a figure" in caplog.text
