"""Compares geometric medians with SciPy's minimiser."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from cifar10.color.geometric_median import GeometricMedians

GROUPS = torch.arange(60) % 3


@pytest.fixture
def colors() -> torch.Tensor:
    """Returns (60, 3, 2, 2), skewed so that medians and means differ."""
    return torch.rand(60, 3, 2, 2, generator=torch.Generator().manual_seed(0)) ** 3 * 100


def mean_distance(median: np.ndarray, points: np.ndarray) -> float:
    return float(np.linalg.norm(points - median, axis=1).mean())


def iterate(colors: torch.Tensor, start: torch.Tensor, passes: int) -> GeometricMedians:
    medians = GeometricMedians(start)
    for _ in range(passes):
        medians.update(colors, GROUPS)
        medians.step()
    medians.update(colors, GROUPS)
    return medians


def minima(colors: torch.Tensor) -> np.ndarray:
    """Returns the minimum of the mean distance at each pixel, (3, 2, 2)."""
    minimum = np.empty((3, 2, 2))
    for group, row, column in np.ndindex(3, 2, 2):
        points = colors[group::3, :, row, column].double().numpy()
        options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 10_000, "maxfev": 10_000}
        minimum[group, row, column] = minimize(
            mean_distance, points.mean(0), (points,), method="Nelder-Mead", options=options
        ).fun
    return minimum


def test_mean_distance_matches_scipy(colors):
    medians = iterate(colors, torch.zeros(3, 3, 2, 2), 60)
    found = (medians.distance / medians.count).view(3, 2, 2)
    np.testing.assert_allclose(found, minima(colors), rtol=1e-5)
    means = colors[::3].mean(0)
    assert (medians.medians[0] - means).norm(dim=0).min() > 2  # the means are not the solution


def test_duality_gap_bounds_error_and_converges_to_zero(colors):
    minimum = minima(colors).mean()
    gaps = []
    for passes in (1, 2, 4, 8, 60):
        medians = iterate(colors, torch.zeros(3, 3, 2, 2), passes)
        excess = (medians.distance / medians.count).mean().item() - minimum
        assert -1e-4 < excess <= medians.duality_gap() + 1e-4
        gaps.append(medians.duality_gap())
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-3
    assert iterate(colors, torch.zeros(3, 3, 2, 2), 0).duality_gap() == float("inf")


def test_every_pass_decreases_the_distance(colors):
    distances = [iterate(colors, torch.zeros(3, 3, 2, 2), passes).distance.sum().item() for passes in range(1, 12)]
    assert all(later <= earlier + 1e-3 for earlier, later in pairwise(distances))


def test_result_is_independent_of_initial_medians(colors):
    first, second = (iterate(colors, start, 5).medians for start in (torch.zeros(3, 3, 2, 2), colors[:3]))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-3)


def test_sums_of_ranks_equal_sums_of_single_process(colors):
    start = colors[:3]
    whole, *halves = (GeometricMedians(start, initialized=True) for _ in range(3))
    whole.update(colors, GROUPS)
    for half, images, groups in zip(halves, colors.split(23), GROUPS.split(23), strict=False):
        half.update(images, groups)
    halves[0].update(colors[46:], GROUPS[46:])
    for one, first, second in zip(whole.sums(), halves[0].sums(), halves[1].sums(), strict=True):
        torch.testing.assert_close(one, first + second, rtol=1e-5, atol=1e-5)


def test_median_of_empty_group_is_unchanged(colors):
    medians = GeometricMedians(colors[:3], initialized=True)
    medians.update(colors, torch.zeros(60, dtype=torch.int64))
    medians.step()
    assert torch.equal(medians.medians[1:], colors[1:3])


def test_colors_equal_to_median():
    medians = iterate(torch.full((60, 3, 2, 2), 7.0), torch.zeros(3, 3, 2, 2), 3)
    torch.testing.assert_close(medians.medians, torch.full((3, 3, 2, 2), 7.0))
    assert medians.duality_gap() == pytest.approx(0, abs=1e-5)
