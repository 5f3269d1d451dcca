"""Typical images against scikit-image's color difference and a median found without gradients."""

from itertools import product

import numpy as np
import pytest
import torch
from lightning import Callback
from reference import geometric_median, reference_distances
from skimage.color import deltaE_cie76, rgb2lab
from sklearn.cluster import KMeans
from torch.utils.data import DataLoader

from cifar10.errors import UserError
from cifar10.models.prototype import Prototype
from cifar10.networks.base import to_unit


def constant_images(colors: list[tuple[int, int, int]]) -> torch.Tensor:
    return torch.tensor(colors, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, 32, 32)


def repeated(count: int, images: torch.Tensor, labels: torch.Tensor) -> DataLoader:
    """A loader of the same batch again and again."""
    return DataLoader([(images, labels)] * count, batch_size=None)


@pytest.fixture
def model() -> Prototype:
    torch.manual_seed(0)
    return Prototype(class_names=["a", "b", "c"])


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_logits_are_negative_mean_distances_to_each_prototype(model, images):
    expected = -reference_distances(images, model.network.prototypes)
    np.testing.assert_allclose(model(images).detach(), expected, rtol=0, atol=1e-4)


def test_loss_is_the_mean_distance_to_the_own_class(model, images):
    labels = torch.tensor([2, 0, 1, 2])
    expected = reference_distances(images, model.network.prototypes)[range(4), labels].mean()
    assert model.loss(model(images), labels).item() == pytest.approx(expected, abs=1e-4)


def test_prototypes_begin_as_uniform_noise(model):
    noise = model.network.prototypes.detach()  # 9,216 values: the mean's standard error is 0.003
    assert noise.min() >= 0
    assert noise.max() < 1
    counts = torch.histc(noise, bins=4, min=0, max=1) / noise.numel()
    np.testing.assert_allclose(counts, [0.25] * 4, atol=0.02)
    assert noise.mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("seed", "same"), [(0, True), (1, False)])
def test_initial_prototypes_depend_on_the_seed_only(model, seed, same):
    torch.manual_seed(seed)
    assert torch.equal(Prototype(class_names=["a", "b", "c"]).network.prototypes, model.network.prototypes) is same


def test_uint8_and_float_images_give_equal_logits(model, images):
    assert torch.equal(model(images), model(images / 255))


def test_gradient_descent_ends_at_the_geometric_median_of_each_class(quiet_trainer):
    """The mean in L*a*b* is another color, 8 to 10 Delta E away."""
    colors = [
        [(200, 60, 50), (170, 120, 80), (230, 150, 60), (180, 60, 120), (90, 140, 160)],
        [(40, 90, 160), (110, 120, 110), (50, 150, 150), (120, 90, 180), (200, 180, 120)],
    ]
    images, labels = constant_images(colors[0] + colors[1]), torch.arange(2).repeat_interleave(5)
    torch.manual_seed(0)
    model = Prototype(class_names=["a", "b"], learning_rate=3)
    quiet_trainer().fit(model, repeated(150, images, labels))
    prototypes = rgb2lab(model.network.prototypes.detach().double().numpy(), channel_axis=1)
    for prototype, points in zip(prototypes, rgb2lab(np.array(colors) / 255), strict=True):
        median = geometric_median(points)
        assert 8 < np.linalg.norm(median - points.mean(0)) < 10
        assert np.linalg.norm(prototype - median[:, None, None], axis=0).max() < 0.01


def test_prototypes_stay_in_range(quiet_trainer):
    class Record(Callback):
        def on_train_batch_end(self, trainer, model, *args):
            ranges.append((model.network.prototypes.min().item(), model.network.prototypes.max().item()))

    ranges = []
    model = Prototype(class_names=["black", "white"], learning_rate=1000)  # far beyond both ends of the range
    images = constant_images([(0, 0, 0), (255, 255, 255)])
    quiet_trainer(callbacks=[Record()]).fit(model, repeated(3, images, torch.arange(2)))
    assert ranges == [(0.0, 1.0)] * 3


def test_learning_rate_decays_to_zero(quiet_trainer, images):
    class Record(Callback):
        def on_train_batch_start(self, trainer, *args):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    rates = []
    trainer = quiet_trainer(max_epochs=2, callbacks=[Record()])
    trainer.fit(Prototype(class_names=["a", "b"], learning_rate=8), repeated(2, images, torch.tensor([0, 1, 1, 0])))
    np.testing.assert_allclose(rates, [8 * (1 + np.cos(np.pi * step / 4)) / 2 for step in range(4)], rtol=1e-6)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0


def test_several_prototypes_are_initialized_as_images_of_their_class(random_data, quiet_trainer):
    data = random_data([0, 1, 1, 0] * 4, batch_size=4, val_size=4)
    data.setup()
    model = Prototype(data.class_names, prototypes_per_class=3, learning_rate=1e-30)
    quiet_trainer().fit(model, data)
    for place, prototype in enumerate(model.network.prototypes.detach()):
        same = (data.train_images / 255 - prototype).abs().amax((1, 2, 3)) < 1e-6
        assert data.train_labels[same].tolist() == [place // 3]


def test_one_prototype_is_initialized_as_the_mean_of_its_class(random_data, quiet_trainer):
    data = random_data([0, 1, 1, 0] * 4, batch_size=4, val_size=4)
    data.setup()
    model = Prototype(data.class_names, init="means", learning_rate=1e-30)
    quiet_trainer().fit(model, data)
    expected = [data.train_images[data.train_labels == label].double().mean(0) / 255 for label in (0, 1)]
    torch.testing.assert_close(model.network.prototypes.detach().double(), torch.stack(expected), rtol=0, atol=1e-6)


def test_several_prototypes_are_initialized_by_k_means(random_data, quiet_trainer):
    """Reference: scikit-learn's k-means from the same images. Three groups of colors per class, with noise."""
    data = random_data([0, 1, 1, 0] * 15, batch_size=4, val_size=4)
    data.setup()
    colors = torch.tensor([30, 128, 220], dtype=torch.uint8)[torch.arange(56) % 3, None, None, None]
    data.train_images = colors + data.train_images // 20
    model = Prototype(data.class_names, prototypes_per_class=3, init="means", learning_rate=1e-30)
    first = []
    chosen = model._random_images
    model._random_images = lambda: first.append(chosen()) or first[0]
    quiet_trainer().fit(model, data)
    for label, found in enumerate(model.network.prototypes.detach().flatten(1).split(3)):
        images = (data.train_images[data.train_labels == label].flatten(1) / 255).double().numpy()
        start = first[0][3 * label : 3 * label + 3].flatten(1).double().numpy() / 255
        expected = KMeans(3, init=start, n_init=1, max_iter=20, tol=0).fit(images).cluster_centers_
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_pixel_weights_multiply_the_differences(images):
    torch.manual_seed(0)
    model = Prototype(["a", "b"], objective="discriminative", pixel_weights=True, tta_flip=True)
    assert torch.equal(model.network.weights(), torch.ones(32, 32))
    model.network.weight_logits.data.normal_()
    weights = model.network.weights().detach()
    assert weights.mean().item() == pytest.approx(1, abs=1e-6)
    prototypes = model.network.prototypes.detach().double().numpy()
    sums = np.zeros((4, 2))
    for view in (images, images.flip(-1)):
        for (i, image), (c, prototype) in product(enumerate(view.numpy()), enumerate(prototypes)):
            pair = rgb2lab(image, channel_axis=0), rgb2lab(prototype, channel_axis=0)
            sums[i, c] += np.exp(-(deltaE_cie76(*pair, channel_axis=0) * weights.numpy()).mean())
    np.testing.assert_allclose(model(images).detach(), np.log(sums), rtol=0, atol=1e-4)
    maps, flipped = model.network.difference_maps(images)
    distances = model.network.embed(images).view(4, 2, 2)  # of the image and its flip
    torch.testing.assert_close(maps.mean((2, 3)), distances.amin(2).detach(), rtol=1e-5, atol=1e-4)
    assert torch.equal(flipped, distances.argmin(2) == 1)


def test_pixel_weights_are_learned_and_need_the_discriminative_objective(random_data, quiet_trainer):
    data = random_data([0, 1, 1, 0] * 4, batch_size=4, val_size=4)
    data.setup()
    model = Prototype(data.class_names, objective="discriminative", pixel_weights=True, learning_rate=0.01)
    quiet_trainer().fit(model, data)
    assert model.network.weights().std() > 0.01
    with pytest.raises(UserError, match="pixel_weights"):
        Prototype(data.class_names, pixel_weights=True)


def test_inverse_temperature_is_fixed_and_needs_the_discriminative_objective(random_data, quiet_trainer):
    data = random_data([0, 1, 1, 0] * 4, batch_size=4, val_size=4)
    data.setup()
    model = Prototype(data.class_names, objective="discriminative", inverse_temperature=0.5, learning_rate=0.01)
    before = model.network.prototypes.detach().clone()
    quiet_trainer().fit(model, data)
    assert model.network.log_temperature.exp().item() == pytest.approx(0.5)
    assert not torch.equal(model.network.prototypes, before)
    with pytest.raises(UserError, match="inverse_temperature"):
        Prototype(data.class_names, inverse_temperature=0.5)


def test_logits_are_averaged_over_shifts_in_evaluation_mode(images):
    torch.manual_seed(0)
    model = Prototype(["a", "b"], tta_shift_px=1)
    padded = np.pad(images.numpy(), [(0, 0), (0, 0), (1, 1), (1, 1)], "reflect")
    shifts = [torch.from_numpy(padded[:, :, i : i + 32, j : j + 32]) for i in range(3) for j in range(3)]
    expected = np.mean([-reference_distances(shifted, model.network.prototypes) for shifted in shifts], 0)
    np.testing.assert_allclose(model.eval()(images).detach(), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        model.train()(images).detach(), -reference_distances(images, model.network.prototypes), rtol=0, atol=1e-4
    )


def test_more_prototypes_than_images_raise(random_data, quiet_trainer):
    data = random_data([0, 1] * 8, batch_size=4, val_size=4)
    data.setup()
    with pytest.raises(UserError, match="prototypes_per_class=7: class class 0 has only 6 training images"):
        quiet_trainer().fit(Prototype(data.class_names, prototypes_per_class=7), data)


def test_logits_of_typical_prototypes_are_those_of_the_nearest(images):
    torch.manual_seed(0)
    model = Prototype(["a", "b"], prototypes_per_class=3, tta_flip=True)
    distances = [reference_distances(view, model.network.prototypes) for view in (images, images.flip(-1))]
    expected = -np.minimum(*distances).reshape(4, 2, 3).min(2)
    np.testing.assert_allclose(model(images).detach(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("flipped", [False, True])
def test_discriminative_logits_sum_over_a_class_s_prototypes(images, flipped):
    torch.manual_seed(0)
    model = Prototype(["a", "b"], prototypes_per_class=3, objective="discriminative", tta_flip=flipped)
    model.network.log_temperature.data.fill_(0.7)
    views = (images, images.flip(-1)) if flipped else (images,)
    sums = sum(np.exp(-np.exp(0.7) * reference_distances(view, model.network.prototypes)) for view in views)
    expected = np.log(sums.reshape(4, 2, 3).sum(2))
    np.testing.assert_allclose(model(images).detach(), expected, rtol=0, atol=1e-3)


def test_discriminative_prototypes_learn_temperature_and_stay_colors(random_data, quiet_trainer):
    data = random_data([0, 1] * 20, batch_size=10, val_size=4)
    data.setup()
    torch.manual_seed(0)
    model = Prototype(data.class_names, objective="discriminative", learning_rate=0.1)
    quiet_trainer(max_epochs=10).fit(model, data)
    assert (model(data.train_images).argmax(1) == data.train_labels).all()
    assert model.network.log_temperature.item() != 0
    assert model.network.prototypes.min() >= 0
    assert model.network.prototypes.max() <= 1


def test_ciede2000_is_not_compiled():
    with pytest.raises(UserError, match=r"model.compile=true.*ciede2000"):
        Prototype(delta="ciede2000", compile=True)


def test_without_a_compiler_training_warns_and_goes_on(random_data, quiet_trainer, monkeypatch, caplog):
    calls = []

    def kernels(delta):
        calls.append(delta)
        raise RuntimeError("C++ compile error\n\nfatal error: Python.h: No such file\n\nSet TORCHDYNAMO_VERBOSE=1")

    monkeypatch.setattr("cifar10.color.kernels._kernels", kernels)
    data = random_data([0, 1] * 8, batch_size=4, val_size=4)
    data.setup()
    model = Prototype(data.class_names, compile=True)
    quiet_trainer(max_epochs=2).fit(model, data)
    warnings = [record.getMessage() for record in caplog.records if record.name == "cifar10.color.kernels"]
    assert len(warnings) == 1
    assert "fatal error: Python.h" in warnings[0]
    assert model.trainer.global_step == 6
    assert len(calls) == 1  # not tried anew in each batch


def test_auto_compiles_long_runs_only_and_keeps_the_choice(random_data, quiet_trainer, monkeypatch, tmp_path):
    """16 images, 2 prototypes: 64 pairs in two epochs."""
    made = []
    monkeypatch.setattr("cifar10.networks.prototype.can_compile", lambda *args: bool(made.append(1)))
    data = random_data([0, 1] * 10, batch_size=4, val_size=4)
    data.setup()
    for pairs, compiled in ((65, False), (64, True)):
        monkeypatch.setattr("cifar10.models.prototype.PAIRS_TO_COMPILE", pairs)
        trainer, made[:] = quiet_trainer(max_epochs=2), []
        trainer.fit(model := Prototype(data.class_names), data)
        assert bool(made) is compiled
    model.network.arguments["compile"] = True  # as if kernels had been made
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    monkeypatch.setattr("cifar10.models.prototype.PAIRS_TO_COMPILE", 1000)
    made.clear()
    quiet_trainer(max_epochs=3).fit(Prototype(data.class_names), data, ckpt_path=tmp_path / "run.ckpt")
    assert made == [1]


@pytest.mark.slow  # tests/color/test_kernels.py compares them outside of training
def test_compiled_kernels_train_and_test_as_the_plain_functions_do(random_data, quiet_trainer, compiler):
    """Batches of 20 and 16 images, the validation's without gradients, the test's in inference mode."""
    found = []
    for compile in (False, True):
        data = random_data([0, 1] * 22, batch_size=20, val_size=8)
        data.setup()
        torch.manual_seed(0)
        model = Prototype(data.class_names, objective="discriminative", learning_rate=0.01, compile=compile)
        trainer = quiet_trainer(max_epochs=3)
        trainer.fit(model, data)
        loss = trainer.callback_metrics["val/loss"].item()
        trainer.test(model, data, verbose=False)
        found.append((model.network.prototypes.detach(), loss, model.test_results["loss"]))
    for plain, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-3)


def test_difference_maps_are_the_reference_at_each_pixel(model, images):
    maps, turned = model.network.difference_maps(images)
    assert maps.shape == (4, 3, 32, 32)
    assert not turned.any()
    lab = [
        rgb2lab(colors, channel_axis=1)
        for colors in (images.numpy(), model.network.prototypes.detach().double().numpy())
    ]
    expected = deltaE_cie76(lab[0][:, None], lab[1][None], channel_axis=2)
    np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-3)
    np.testing.assert_allclose(maps.mean((2, 3)), -model(images).detach(), rtol=1e-5)


def test_difference_maps_are_of_the_flipped_prototype_where_it_is_nearer(images):
    model = Prototype(["a", "b"], tta_flip=True)
    with torch.no_grad():
        model.network.prototypes.copy_(to_unit(torch.stack([images[0].flip(-1), images[1]])))
    maps, turned = model.network.difference_maps(images)
    assert turned[:2].tolist() == [[True, turned[0, 1]], [turned[1, 0], False]]
    torch.testing.assert_close(maps[0, 0], torch.zeros(32, 32), rtol=0, atol=1e-3)
    torch.testing.assert_close(-maps.mean((2, 3)), model(images).detach())


def test_embedding_is_the_distances(model, images):
    torch.testing.assert_close(model.network.embed(images), -model(images))


def test_several_prototypes_need_all_images_not_a_loader(images, quiet_trainer):
    with pytest.raises(UserError, match=r"needs all training images: call fit with datamodule="):
        quiet_trainer().fit(Prototype(["a", "b"], prototypes_per_class=2), repeated(2, images, torch.zeros(4).long()))
