"""Certified radii against float64, random changes and an attack: no change within the radius changes a prediction."""

import pytest
import torch
from torch.nn import functional as F

from cifar10.color.delta_e import mean_difference, to_lab
from cifar10.errors import UserError
from cifar10.inference.attack import attack, minimum_perturbation
from cifar10.networks.prototype import LAB_ROUNDING, PrototypeNetwork

KINDS = {
    "one": {},
    "flip": {"tta_flip": True},
    "several": {"prototypes_per_class": 3, "tta_flip": True},
    "soft": {"discriminative": True, "prototypes_per_class": 3, "tta_flip": True},
    "soft_compiled": {"discriminative": True, "compile": True},
    "weighted": {"discriminative": True, "pixel_weights": True, "tta_flip": True, "tta_shift_px": 1},
}


def smooth(count, generator):
    """Returns random images of large patches, (count, 3, 32, 32) in [0, 1], as different as real images."""
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3)


def make_network(kind):
    generator = torch.Generator().manual_seed(0)
    network = PrototypeNetwork(list("abcd"), **KINDS[kind])
    network.prototypes.data = smooth(len(network.prototypes), generator)
    if network.discriminative:
        network.log_temperature.data.fill_(0.7)
    if network.weight_logits is not None:
        network.weight_logits.data = torch.randn(32, 32, generator=generator) / 4
    network.eval().use_compiled(True)
    prototypes = network.prototypes.detach().repeat_interleave(4, 0)
    images = torch.lerp(prototypes, smooth(len(prototypes), generator), 0.45)
    images[::3] = torch.lerp(prototypes[::3], prototypes.roll(7, 0)[::3], 0.5)  # near a boundary
    return network, images.mul(255).round().byte()


def lab_logits(network, lab):
    """Computes the logits of L*a*b* images in their precision, independently of the network."""
    padded, offsets = lab, [0]
    if network.tta_shift_px:
        padded, offsets = F.pad(lab, (1, 1, 1, 1), mode="reflect"), range(3)
    shifted = [padded[:, :, i : i + 32, j : j + 32] for i in offsets for j in offsets]
    return torch.stack([unshifted_logits(network, part) for part in shifted]).mean(0)


def unshifted_logits(network, lab):
    prototypes = to_lab(network.prototypes.detach().to(lab.dtype))
    weights = 1 if network.weight_logits is None else network.weights().detach()
    augmented = [lab, lab.flip(-1)] if network.tta_flip else [lab]
    differences = [(part[:, None] - prototypes).norm(dim=2) * weights for part in augmented]
    distances = torch.cat([difference.mean((2, 3)) for difference in differences], 1)
    distances = distances.unflatten(1, (len(augmented), 4, -1)).transpose(1, 2).flatten(2)
    return (-distances * network.log_temperature.exp()).logsumexp(2) if network.discriminative else -distances.amin(2)


@pytest.mark.parametrize("kind", KINDS)
def test_radius_is_half_the_margin_in_float64_less_a_small_bound(kind):
    network, images = make_network(kind)
    first, second = lab_logits(network, to_lab(images.double() / 255)).topk(2).values.T
    scale = network.log_temperature.exp() if network.discriminative else 1
    # A shifted pixel near the border counts up to 4/3 times per axis on average, and up to its largest weight.
    slope = 1 if kind != "weighted" else network._slope()
    radius = (first - second) / 2 / scale / slope
    found = network.certified_radius(images)
    assert found.dtype == torch.float32
    assert (found <= radius).all()
    assert (radius - found).max() < 0.02
    assert (found > 0.1).float().mean() > 0.5


def test_rounding_of_lab_is_within_its_bound():
    """The largest error over all 256^3 colors is 7.1e-5; the bound is that of the worst case (docs/models.md)."""
    levels = torch.arange(0, 256, 3, dtype=torch.uint8)
    colors = torch.cartesian_prod(levels, levels, levels).T[:, :, None]
    dark = torch.rand(3, 500, 500, generator=torch.Generator().manual_seed(0)) ** 3
    for single, double in ((colors / 255, colors.double() / 255), (dark, dark.double())):
        assert (to_lab(single) - to_lab(double)).norm(dim=0).max() < LAB_ROUNDING / 10


def test_rounding_of_logits_is_within_its_bound():
    """float32 logits differ from float64 ones by less than what the radius subtracts for them."""
    network, images = make_network("soft")
    exact = lab_logits(network, to_lab(images.double() / 255))
    scale = network.log_temperature.exp().item()
    margin = exact.topk(2).values
    subtracted = (margin[:, 0] - margin[:, 1]) / 2 / scale - network.certified_radius(images)
    certified = network.certified_radius(images) > 0
    assert ((network(images) - exact).abs().amax(1) / scale)[certified].max() < subtracted[certified].min() / 2


@pytest.mark.parametrize("kind", KINDS)
def test_random_changes_within_the_radius_keep_the_prediction(kind):
    network, images = make_network(kind)
    radius, predicted = network.certified_radius(images), network(images).argmax(1)
    lab, generator = to_lab(images / 255), torch.Generator().manual_seed(1)
    for share in (1, 0.1, 0.01):  # of the pixels
        change = torch.randn(lab.shape, generator=generator)
        change *= torch.rand(len(lab), 1, 32, 32, generator=generator) <= share
        change *= (radius / change.norm(dim=1).mean((1, 2)).clamp(min=1e-9))[:, None, None, None]
        assert (lab_logits(network, lab + change).argmax(1) == predicted)[radius > 0].all()


@pytest.mark.parametrize("kind", ["one", "several", "soft", "weighted"])
def test_attack_succeeds_only_outside_the_radius(kind):
    network, images = make_network(kind)
    images = images[::5]
    radius, predicted = network.certified_radius(images), network(images).argmax(1)
    in_gamut = minimum_perturbation(network, images, predicted, steps=15, restarts=2)
    anywhere = attack(lambda lab: lab_logits(network, lab), to_lab(images / 255), predicted, steps=15, restarts=2)
    for found in (in_gamut, anywhere):
        assert (found >= radius).all()
        ratio = (found / radius)[radius > 0.1]
        assert ratio.median() < 2


def test_radius_is_reached_on_the_line_between_two_prototypes():
    """Of an image of lightness 40 between prototypes of 20 and 70, the boundary is 5 away, at 45."""
    lightness = torch.tensor([20.0, 70.0])
    network = PrototypeNetwork(["dark", "light"])
    gray = ((lightness + 16) / 116) ** 3
    gray = 1.055 * gray ** (1 / 2.4) - 0.055
    network.prototypes.data = gray[:, None, None, None].expand(2, 3, 32, 32).clone()
    image = 1.055 * torch.tensor(56 / 116) ** (3 / 2.4) - 0.055
    image = image.expand(1, 3, 32, 32)
    radius = network.certified_radius(image)
    assert radius.item() == pytest.approx(5, abs=0.02)
    assert 1 <= minimum_perturbation(network, image, torch.tensor([0])) / radius < 1.02


def test_flipped_prototypes_equal_flipped_images():
    """The distance of a flipped image is that to a flipped prototype, so a flip adds prototypes and no slope."""
    network, images = make_network("one")
    lab, prototypes = to_lab(images / 255), to_lab(network.prototypes.detach())
    expected = mean_difference(lab, prototypes.flip(-1), "cie76")
    torch.testing.assert_close(mean_difference(lab.flip(-1), prototypes, "cie76"), expected)


def test_slope_is_the_largest_mean_weight_of_a_pixel():
    network = PrototypeNetwork(["a", "b"], tta_shift_px=1)
    assert network._slope() == pytest.approx((4 / 3) ** 2)  # of the second pixel from two borders, by reflection
    network = PrototypeNetwork(["a", "b"], discriminative=True, pixel_weights=True, tta_flip=True)
    network.weight_logits.data.normal_()
    assert network._slope() == pytest.approx(network.weights().max().item())


@pytest.mark.parametrize("delta", ["cie94", "ciede2000", "redmean"])
def test_other_differences_have_no_radius(delta):
    with pytest.raises(UserError, match=f"cie76, got {delta}"):
        PrototypeNetwork(delta=delta).certified_radius(torch.zeros(1, 3, 32, 32))
