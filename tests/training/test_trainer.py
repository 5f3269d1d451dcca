"""The one Trainer: what a training step does not wait for."""

from lightning import Callback, LightningModule
from test_run import composed

from cifar10.training.trainer import STEP_HOOKS, make_trainer, skip_idle_hooks


class Busy(Callback):
    def __init__(self):
        self.steps = 0

    def on_train_batch_end(self, *args):
        self.steps += 1


def test_only_idle_hooks_are_taken_out():
    busy = Busy()
    skip_idle_hooks(busy, Callback)
    assert [hook for hook in STEP_HOOKS if getattr(busy, hook) is not None] == ["on_train_batch_end"]


def test_a_hook_that_was_set_on_the_object_stays():
    module = LightningModule()
    module.on_before_backward = print
    skip_idle_hooks(module, LightningModule)
    assert [hook for hook in STEP_HOOKS if getattr(module, hook) is not None] == ["on_before_backward"]


def test_lightning_passes_over_hooks_that_are_none(random_data, tmp_path):
    from cifar10.models.mlp import MLP
    from cifar10.training.checkpoints import LastCheckpoint

    calls = []
    model = MLP(["a", "b"])
    cfg = composed("epochs=1", "trainer.accelerator=cpu")
    trainer = make_trainer(cfg, tmp_path, LastCheckpoint(tmp_path / "last.ckpt"), model)
    assert model.on_train_batch_start is None
    busy = Busy()
    skip_idle_hooks(busy, Callback)
    busy.on_after_backward = lambda *args: calls.append(1)
    trainer.callbacks.append(busy)
    trainer.fit(model, random_data([0, 1] * 10, batch_size=4, val_size=4))
    assert busy.steps == len(calls) == 4
