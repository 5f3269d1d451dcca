"""Tests scripts/robustness.py: accuracy under attack by mean Delta E, and the certified accuracy."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from cifar10.inference.attack import minimum_perturbation
from cifar10.results.figures.robustness import accuracy_table, robustness_figure
from cifar10.results.saved_run import SavedRun

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/robustness.py")


def test_table_and_figure_of_two_networks(command, synthetic_runs, tmp_path):
    folders = [synthetic_runs / "model=prototype", synthetic_runs / "model=mlp"]
    out = tmp_path / "robustness.png"
    code, text = command(*folders, "--images", 20, "--steps", 3, "--out", out, "--device", "cpu")
    assert code == 0
    assert imread(out).shape[1] > 1000
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert [row[0].rpartition(", ")[2] for row in rows[2:]] == ["attacked", "attacked", "certified"]
    run = SavedRun(folders[1])
    found = minimum_perturbation(run.network, run.data.test_images[:20], run.data.test_labels[:20], steps=3)
    assert rows[3][1:] == [f"{(found > size).double().mean():.1%}" for size in (0, 0.1, 0.25, 0.5, 1, 2)]
    (line,) = (line for line in text.splitlines() if "certified radius" in line)
    assert float(line.split("perturbations of ")[1].split()[0]) >= 1
    assert all(float(low[:-1]) <= float(high[:-1]) for low, high in zip(rows[4][1:], rows[2][1:], strict=True))


def test_table_counts_images_by_size_of_the_perturbation():
    assert (
        accuracy_table({"a": np.array([0, 0.3, 0.6, np.inf])}).splitlines()[2]
        == "| a | 75.0% | 50.0% | 25.0% | 25.0% |"
    )


def test_figure_draws_the_share_of_images_above_each_size():
    values = np.array([0, 0.5, 1, 3, np.inf])
    attacked, certified = robustness_figure({"a": values}, {"a": values / 2}).axes[0].lines
    for line, limits in ((attacked, values), (certified, values / 2)):
        expected = [(limits > size).mean() for size in line.get_xdata()]
        np.testing.assert_allclose(line.get_ydata(), expected)
    assert attacked.get_xdata()[-1] == pytest.approx(np.quantile(values[:4], 0.95))
    assert attacked.get_color() == certified.get_color()


def test_figure_of_failed_attacks_is_drawn():
    (line,) = robustness_figure({"a": np.array([np.inf, np.inf])}, {}).axes[0].lines
    assert set(line.get_ydata()) == {1}


def test_published_weights_are_attacked_by_name(command, published, tmp_path):
    code, text = command("mlp", "--images", 2, "--steps", 1, "--out", tmp_path / "a.png", "--device", "cpu")
    assert (code, text.splitlines()[2].split(" | ")[0]) == (0, "| mlp, attacked")


def test_invalid_arguments_are_reported(command, synthetic_runs, tmp_path):
    assert command(tmp_path)[0].startswith(f"robustness.py: {tmp_path}: not a finished run")
    assert command(synthetic_runs / "model=mlp", "--out", "why.txt")[0] == 2
    assert command(synthetic_runs / "model=mlp", "--images", "0")[0] == 2
