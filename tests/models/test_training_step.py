"""Several optimizer steps in one call of `training_step`: the same result for any number of them."""

import csv

import pytest
import torch
from lightning import Callback
from torch.utils.data import DataLoader, IterableDataset

from cifar10.models import classifier
from cifar10.models.mlp import MLP
from cifar10.training.config import compose_settings
from cifar10.training.run import train

SMALL = ("data=synthetic", "data.train_size=165", "data.val_size=40", "data.test_size=20", "epochs=2", "batch_size=10")
STEPS = list(range(1, 27))  # 125 training images: 12 batches and a rest in each of two epochs


def flat(value, name=""):
    """Yields (name, value) of each leaf of a checkpoint, without times and the run's folder."""
    if isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            if key != "EpochTimer" and "path" not in (key := str(key)) and key not in ("best_k_models", "dirpath"):
                yield from flat(inner, f"{name}/{key}")
    else:
        yield name, value.tolist() if isinstance(value, torch.Tensor) else value


class IterableImages(IterableDataset):
    def __iter__(self):
        return ((torch.rand(3, 32, 32), label) for label in [*range(10), 0, 1])


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Trains for so many seconds per call; returns both checkpoints and the table, and the steps after each call."""

    def run(seconds, *overrides, callbacks=()):
        folder, calls = tmp_path / str(seconds), []
        original = classifier.Classifier.training_step

        def training_step(self, dataloader_iter):
            loss = original(self, dataloader_iter)
            calls.append(self.trainer.global_step)
            return loss

        cfg = compose_settings(*SMALL, "trainer.enable_progress_bar=false", *overrides)
        with monkeypatch.context() as patch:
            patch.setattr(classifier, "SECONDS_PER_CALL", seconds)
            patch.setattr(classifier.Classifier, "training_step", training_step)
            train(cfg, folder, callbacks=callbacks)
        found = {name: dict(flat(torch.load(folder / name, weights_only=True))) for name in ("last.ckpt", "best.ckpt")}
        with (folder / "metrics.csv").open() as file:
            rows = [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(file)]
        return found | {"metrics.csv": dict(flat(rows))}, calls

    return run


@pytest.mark.parametrize(
    ("overrides", "ends"),
    [
        (["experiment=mlp_best", "ema_decay=null"], [13, 26]),
        (["model=mlp", "trainer.gradient_clip_val=0.1"], [13, 26]),
        (["model=mlp", "checkpoint.every_n_steps=5"], [5, 10, 13, 15, 20, 25, 26]),
        (["model=mlp", "trainer.limit_train_batches=9"], [9, 18]),
        (["model=prototype"], [1, 2, 4, 8, 13, 16, 26]),
        (["model=mlp", "ema_decay=0.9"], STEPS),
    ],
)
def test_result_is_independent_of_steps_per_call(overrides, ends, run):
    expected, calls = run(0, *overrides)
    assert calls == STEPS[: ends[-1]]
    found, calls = run(1e9, *overrides)
    assert calls == ends
    for file, values in expected.items():
        assert {name for name in values if values[name] != found[file].get(name)} == set()


class Steps(Callback):
    """Records the step after each call that Lightning counts as a batch."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, *args):
        self.steps.append(trainer.global_step)


def test_callback_that_acts_on_batches_gets_each_step(run):
    callback = Steps()
    run(1e9, "model=mlp", callbacks=[callback])
    assert callback.steps == STEPS


@pytest.mark.parametrize("callbacks", [[], [Steps()]])
def test_loader_without_length_ends_the_epoch(callbacks, quiet_trainer):
    loader = DataLoader(IterableImages(), batch_size=4)
    trainer = quiet_trainer(max_epochs=2, callbacks=callbacks)
    trainer.fit(MLP(), loader)
    progress = trainer.fit_loop.epoch_loop.batch_progress
    assert (trainer.global_step, progress.total.completed, progress.current.completed) == (6, 6, 3)


def test_trainer_with_max_steps_stops_exactly(quiet_trainer):
    trainer = quiet_trainer(max_epochs=9, max_steps=5)
    trainer.fit(MLP(), DataLoader(IterableImages(), batch_size=4))
    assert trainer.global_step == 5


def test_validation_within_an_epoch(quiet_trainer, monkeypatch):
    monkeypatch.setattr(classifier, "SECONDS_PER_CALL", 1e9)
    steps = []
    monkeypatch.setattr(MLP, "on_validation_epoch_end", lambda self: steps.append(self.trainer.global_step))
    loader = DataLoader(list(IterableImages()), batch_size=2)
    quiet_trainer(max_epochs=1, val_check_interval=2, num_sanity_val_steps=0).fit(MLP(), loader, loader)
    assert steps == [2, 4, 6]
