"""Exact typical images under a Trainer, against a plain loop of Weiszfeld's iteration on scikit-image's L*a*b*."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Callback
from reference import geometric_median, reference_distances
from skimage.color import rgb2lab
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from cifar10.color.geometric_median import GeometricMedians
from cifar10.data.synthetic import SyntheticData
from cifar10.errors import UserError
from cifar10.models import weiszfeld
from cifar10.models.weiszfeld import Weiszfeld, nearest, restored


def trained_exactly(random_data, quiet_trainer, seed: int, **settings) -> tuple[Weiszfeld, object]:
    data = random_data([0, 1, 2] * 16, batch_size=10, val_size=3, seed=seed)
    data.setup()
    torch.manual_seed(seed)
    model = Weiszfeld(data.class_names, tolerance=1e-2, **settings)
    quiet_trainer(max_epochs=60).fit(model, data)
    return model, data


@pytest.fixture(scope="module")
def exact(random_data, quiet_trainer):
    """Returns the trained model and its data for (seed, prototypes per class); each is trained once."""

    @cache
    def train(seed: int, per_class: int = 1) -> tuple[Weiszfeld, object]:
        return trained_exactly(random_data, quiet_trainer, seed, prototypes_per_class=per_class)

    return train


def test_prototypes_are_the_geometric_medians_at_each_pixel(exact):
    model, data = exact(0)
    assert model.trainer.current_epoch < 40  # it stopped by itself
    assert model.medians.gap <= 1e-2
    found = rgb2lab(model.network.prototypes.detach().double().numpy(), channel_axis=1)
    for label, row, column in [(0, 0, 0), (1, 5, 31), (2, 31, 7)]:
        pixels = data.train_images[data.train_labels == label][:, :, row, column]
        median = geometric_median(rgb2lab(pixels.numpy()))
        np.testing.assert_allclose(found[label, :, row, column], median, rtol=0, atol=0.1)


def test_prototypes_do_not_depend_on_the_seed(exact):
    first, second = (exact(seed)[0] for seed in (0, 1))
    torch.testing.assert_close(first.network.prototypes, second.network.prototypes, rtol=0, atol=1e-5)


def test_each_of_several_prototypes_is_the_median_of_its_nearest_images(exact):
    model, data = exact(0, 2)
    images = data.train_images[data.train_labels == 1]
    own = reference_distances(images, model.network.prototypes[2:4]).argmin(1)
    for number in (0, 1):
        pixels = rgb2lab(images[own == number][:, :, 3, 3].numpy())
        found = rgb2lab(model.network.prototypes[2 + number].detach().double().numpy(), channel_axis=0)[:, 3, 3]
        np.testing.assert_allclose(found, geometric_median(pixels), rtol=0, atol=0.3)


@pytest.mark.parametrize(
    "settings", [{"objective": "discriminative"}, {"delta": "ciede2000"}, {"tta_flip": True}], ids=str
)
def test_other_differences_and_objectives_are_refused(settings):
    with pytest.raises(UserError, match=r"model\.solver=weiszfeld"):
        Weiszfeld(**settings)


def warnings_in(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "cifar10.models.weiszfeld"]


def test_warning_if_training_ended_before_convergence(random_data, quiet_trainer, caplog):
    data = random_data([0, 1, 2] * 16, batch_size=10, val_size=3)
    data.setup()
    model = Weiszfeld(data.class_names)
    quiet_trainer(max_epochs=2).fit(model, data)
    (message,) = warnings_in(caplog)
    assert message.startswith("model.solver=weiszfeld has not converged in 2 epochs: the gap is ")
    assert message.endswith(", tolerance=0.001; set epochs=4 or more")
    caplog.clear()
    trained_exactly(random_data, quiet_trainer, 0)
    assert not warnings_in(caplog)


def test_no_convergence_while_images_change_their_prototype(quiet_trainer, caplog):
    """The gap meets this tolerance from the second pass on, while images still change their median."""
    data = SyntheticData(train_size=400, val_size=40, test_size=20, batch_size=100)
    data.setup()
    torch.manual_seed(0)
    model = Weiszfeld(data.class_names, tolerance=1e9, prototypes_per_class=2)
    quiet_trainer(max_epochs=2).fit(model, data)
    (message,) = warnings_in(caplog)
    assert message.endswith(" and images still change their prototype; set epochs=4 or more")
    quiet_trainer(max_epochs=60).fit(model, data)
    assert model.trainer.current_epoch < 60
    distances = reference_distances(data.train_images, model.network.prototypes)
    distances[torch.arange(20) // 2 != data.train_labels[:, None]] = np.inf
    assert np.bincount(distances.argmin(1)).tolist() == model.medians.previous[0].flatten().tolist()


def test_changed_assignments_are_detected_and_another_order_is_not():
    colors = torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 100
    groups = torch.arange(40) % 2
    medians = GeometricMedians(colors[:2], initialized=True)

    def settled_after(colors: torch.Tensor, groups: torch.Tensor) -> bool:
        medians.update(colors, groups)
        settled = medians.assignments_unchanged()
        medians.step()
        return settled

    assert not settled_after(colors, groups)
    assert settled_after(colors, groups)
    assert settled_after(colors.flip(0), groups.flip(0))
    groups[:2] = torch.tensor([1, 0])  # as many in each as before
    assert not settled_after(colors, groups)
    assert settled_after(colors, groups)


def test_autocast_changes_nothing(random_data, quiet_trainer):
    found = []
    for precision in ("32-true", "bf16-mixed"):
        data = random_data([0, 1, 2] * 16, batch_size=10, val_size=3)
        data.setup()
        torch.manual_seed(0)
        model = Weiszfeld(data.class_names, prototypes_per_class=2)
        quiet_trainer(max_epochs=4, precision=precision).fit(model, data)
        found.append(model.network.prototypes)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("augmentation", "trainer", "clip"),
    [({"random_flip": True}, {}, None), ({}, {}, 1.0), ({}, {"limit_train_batches": 1}, None)],
)
def test_settings_that_void_the_proof_are_refused(augmentation, trainer, clip, random_data, quiet_trainer):
    data = random_data([0, 1] * 8, batch_size=4, val_size=4, **augmentation)
    data.setup()
    model = Weiszfeld(data.class_names)
    model.gradient_clip_val = clip
    with pytest.raises(UserError, match=r"random_flip.*gradient_clip_val"):
        quiet_trainer(**trainer).fit(model, data)


def test_a_loader_is_not_enough(quiet_trainer):
    loader = DataLoader([(torch.rand(4, 3, 32, 32), torch.arange(4) % 2)], batch_size=None)
    with pytest.raises(UserError, match=r"needs all training images: call fit with datamodule="):
        quiet_trainer().fit(Weiszfeld(["a", "b"]), loader)


@pytest.mark.parametrize("per_class", [1, 2])
def test_a_resumed_run_that_had_converged_trains_no_batch(per_class, exact, quiet_trainer, tmp_path):
    class Count(Callback):
        batches = 0

        def on_train_batch_start(self, *args):
            self.batches += 1

    model, data = exact(0, per_class)
    model.trainer.save_checkpoint(tmp_path / "last.ckpt")
    again, count = Weiszfeld(**model.hparams), Count()
    trainer = quiet_trainer(max_epochs=60, callbacks=[count])
    trainer.fit(again, data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert count.batches == 0
    assert torch.equal(again.network.prototypes, model.network.prototypes)


def test_state_is_restored_on_the_trainer_s_device():
    """The model moves there later. `meta` replaces a GPU."""
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")), global_rank=0)
    medians = restored([vars(GeometricMedians(torch.rand(2, 3, 4, 4)))], trainer)
    tensors = [medians.medians, *medians.previous, *medians.sums()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


@pytest.mark.parametrize("images_at_once", [1, 3, 100])
def test_blocks_bound_the_memory_and_change_no_assignment(images_at_once, monkeypatch):
    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            self.elements = max(self.elements, result.numel() if isinstance(result, torch.Tensor) else 0)
            return result

    monkeypatch.setattr(weiszfeld, "PAIRS", images_at_once * 5 * 16)
    colors = torch.rand(50, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 100
    labels = torch.arange(50) % 2
    with Largest() as largest:
        found = nearest(colors[:10], colors, labels, 5)
    assert largest.elements <= max(3 * images_at_once * 5 * 16, colors.numel())
    distances = (colors[:, None] - colors[:10]).norm(dim=2).mean((2, 3))
    distances[labels == 0, 5:] = distances[labels == 1, :5] = torch.inf
    assert torch.equal(found, distances.argmin(1))


@pytest.mark.slow
def test_two_ranks_find_what_one_finds(quiet_trainer, monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)  # of a run before: new processes would be seeded with it
    found = []
    for processes in ({}, {"strategy": "ddp_spawn", "devices": 2}):
        data = SyntheticData(train_size=140, val_size=40, test_size=20, batch_size=25)
        data.setup()
        torch.manual_seed(0)
        model = Weiszfeld(data.class_names, prototypes_per_class=2)
        trainer = quiet_trainer(max_epochs=4, **processes)
        trainer.fit(model, data)
        found.append(
            (
                model.network.prototypes.detach(),
                *(trainer.callback_metrics[f"train/{name}"] for name in ("loss", "gap")),
            )
        )
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)
