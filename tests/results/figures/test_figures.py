"""Figures show the given numbers."""

import gc
import json
import shutil
import sys
import weakref
from base64 import b64decode
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from records import record
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter
from torchmetrics.functional.classification import multiclass_calibration_error

from cifar10.errors import UserError
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.results.figures import log_figures, save_figure
from cifar10.results.figures.confusion import confusion_figure, confusions_figure
from cifar10.results.figures.curves import calibration, class_accuracy_figure, history_figure, reliability_figure
from cifar10.results.figures.explanation import explanation_figure
from cifar10.results.figures.images import (
    animate_prototypes,
    captioned_figure,
    image_rows_figure,
    pair_figure,
    tile,
    weights_figure,
)
from cifar10.results.figures.registry import FIGURES
from cifar10.results.page.svg import svg
from cifar10.results.saved_run import SavedRun
from cifar10.training.config import compose_settings
from cifar10.training.loggers.tensorboard import RunTensorBoardLogger
from cifar10.training.run import train

COUNTS = [[8, 2, 0], [1, 6, 3], [0, 0, 5]]
NAMES = ["cat", "dog", "frog"]


def test_confusion_matrix_colors_rates_and_prints_counts():
    figure = confusion_figure(torch.tensor(COUNTS), NAMES, "run")
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.8, 0.2, 0], [0.1, 0.6, 0.3], [0, 0, 1]], rtol=1e-6)
    assert [text.get_text() for text in axes.texts] == [str(count) for row in COUNTS for count in row]
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES
    assert axes.get_title() == "run"


def test_confusion_errors_have_no_diagonal_and_a_fixed_scale():
    figure = confusions_figure([COUNTS, COUNTS], ["one", "two"], NAMES)
    for axes, title in zip(figure.axes, ["one", "two"], strict=False):
        image = axes.images[0]
        np.testing.assert_allclose(image.get_array(), [[0, 0.2, 0], [0.1, 0, 0.3], [0, 0, 0]], rtol=1e-6)
        assert image.get_clim() == (0, 0.35)
        assert axes.get_title() == title


def test_tile_leaves_transparent_gaps():
    images = torch.randint(256, (2, 3, 3, 4, 5)) / 255
    images[1, 2] = float("nan")  # missing
    tiled = tile(images)
    assert tiled.shape == (2 * 4 + 2, 3 * 5 + 2 * 2, 4)
    expected = (images[1, 1] * 255).round().byte().permute(1, 2, 0)
    np.testing.assert_array_equal(tiled[6:10, 7:12, :3], expected)
    opaque = np.zeros(tiled.shape[:2], bool)
    for row, column in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]:
        opaque[row * 6 : row * 6 + 4, column * 7 : column * 7 + 5] = True
    np.testing.assert_array_equal(tiled[..., 3], 255 * opaque)


def test_row_and_column_titles_are_centered_on_images():
    axes = image_rows_figure(torch.rand(2, 3, 3, 4, 4), ["one", "two"], NAMES).axes[0]
    labels = [(label.get_text(), label.get_position()[0]) for label in axes.get_xticklabels()]
    assert labels == [("cat", 2), ("dog", 8), ("frog", 14)]  # centers of 4 pixels, 6 apart
    assert [(label.get_text(), label.get_position()[1]) for label in axes.get_yticklabels()] == [("one", 2), ("two", 8)]


def test_animation_has_a_frame_per_snapshot(tmp_path):
    frames = torch.randint(256, (3, 2, 10, 3, 32, 32)) / 255
    animate_prototypes(dict(enumerate(frames)), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert (picture.n_frames, picture.size) == (3, (3 * (5 * 34 - 2), 3 * 66))
        for frame in range(3):
            picture.seek(frame)
            assert picture.info["duration"] == (3000 if frame == 2 else 500)
            pixels = np.array(picture.convert("RGB"))[::3, ::3]
            expected = (frames[frame, 0, 6] * 255).round().byte().permute(1, 2, 0)  # second row, second column
            np.testing.assert_array_equal(pixels[34:66, 34:66], expected)


def test_captions_are_below_their_images():
    axes = captioned_figure(torch.rand(5, 3, 32, 32), list("abcde"), columns=3).axes[0]
    assert axes.images[0].get_array().shape == (32 + 13 + 32, 3 * 34 - 2, 4)
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places == {"a": (16, 32), "b": (50, 32), "c": (84, 32), "d": (16, 77), "e": (50, 77)}


def test_pair_figure_has_the_layout_of_a_confusion_matrix():
    panels = [[torch.full((3, 3, 8, 8), 0.2 * (2 * true + predicted)) for predicted in (0, 1)] for true in (0, 1)]
    axes = pair_figure(panels, torch.tensor([[600, 130], [90, 700]]), ["cat", "dog"]).axes
    assert [part.get_title() for part in axes] == [
        "cat, correct: 600",
        "cat, predicted as dog: 130",
        "dog, predicted as cat: 90",
        "dog, correct: 700",
    ]
    assert [part.images[0].get_array()[0, 0, 0] for part in axes] == [0, 51, 102, 153]
    assert [int(part.images[0].get_array()[..., 3].sum()) for part in axes] == [255 * 3 * 64] * 4


def test_weights_are_gray_at_zero_and_saturated_at_the_maximum():
    weights = torch.zeros(2, 3, 8, 8)
    weights[0, 0, 0, 0], weights[1, 1, 0, 0], weights[1, 2, 1, 0] = 0.02, -3.0, 1.5
    pixels = weights_figure(weights, columns=2).axes[0].images[0].get_array()
    assert pixels[0, 0].tolist() == [255, 128, 128, 255]
    assert pixels[0, 10].tolist() == [128, 0, 128, 255]
    assert pixels[1, 10].tolist() == [128, 128, 191, 255]


def test_history_shows_losses_accuracies_and_best_epoch():
    history = {
        "epoch": [1, 2, 3],
        "train/loss": [2.0, 1.5, 1.0],
        "val/loss": [1.9, 1.4, 1.6],
        "val/accuracy": [0.3, 0.5, 0.45],
        "lr": [0.1, 0.05, 0],
    }
    loss, accuracy, rate = history_figure(history, best_epoch=2).axes
    best, train, val = loss.lines
    assert list(best.get_xdata()) == [2, 2]
    assert [list(line.get_ydata()) for line in (train, val)] == [[2.0, 1.5, 1.0], [1.9, 1.4, 1.6]]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]
    assert list(accuracy.lines[1].get_ydata()) == [0.3, 0.5, 0.45]  # the weiszfeld solver has no training accuracy
    assert list(rate.lines[1].get_ydata()) == [0.1, 0.05, 0]


def test_class_accuracy_has_a_point_per_run_sorted_by_mean():
    axes = class_accuracy_figure({"mlp": [0.3, 0.4, 0.7], "cnn": [0.5, 0.7, 0.8]}, ["cat", "dog", "ship"]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "ship"]
    assert {line.get_label(): list(line.get_xdata()) for line in axes.lines} == {
        "mlp": [0.3, 0.4, 0.7],
        "cnn": [0.5, 0.7, 0.8],
    }


@pytest.fixture
def probabilities():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(500, 4, generator=generator).mul(3).softmax(1), torch.randint(4, (500,), generator=generator)


def test_calibration_error_equals_torchmetrics(probabilities):
    result = calibration(*(values.numpy() for values in probabilities))
    expected = multiclass_calibration_error(*probabilities, num_classes=4, n_bins=15, norm="l1")
    assert result.ece == pytest.approx(expected.item(), abs=1e-6)
    assert result.fraction.sum() == pytest.approx(1)


def test_reliability_diagram_shows_accuracy_by_confidence():
    probabilities = np.array([[0.95, 0.05]] * 8 + [[0.3, 0.7]] * 2)
    result = calibration(probabilities, np.array([0] * 6 + [1] * 2 + [1, 0]), bins=10)
    upper, lower = reliability_figure(result).axes
    assert [(bar.get_x(), bar.get_height()) for bar in upper.patches] == [(0.6, 0.5), (0.9, 0.75)]
    np.testing.assert_allclose(upper.lines[1].get_xydata(), [(0.7, 0.5), (0.95, 0.75)])
    assert [round(bar.get_height(), 2) for bar in lower.patches] == [0, 0, 0, 0, 0, 0, 0.2, 0, 0, 0.8]
    assert upper.get_title() == "ECE 20.0%"  # 0.8 * 0.2 + 0.2 * 0.2


def test_explanation_draws_the_nearest_classes_on_one_scale():
    model = PrototypeNetwork([f"class {label}" for label in range(45)])
    image = torch.randint(256, (3, 32, 32), dtype=torch.uint8)
    logits = model(image[None])[0].detach()
    nearest = logits.argsort(descending=True)[:20]
    drawn = sorted(nearest.tolist())
    axes = explanation_figure(model, image).axes
    upper, lower = axes[1:21], axes[22:42]
    assert [part.get_title() for part in upper] == [f"class {label}" for label in drawn]
    bold = [part.get_title() for part in upper if part.title.get_fontweight() == "bold"]
    assert bold == [f"class {int(nearest[0])}"]
    maps = model.difference_maps(image[None])[0][0, drawn]
    np.testing.assert_allclose([float(part.get_title()) for part in lower], -logits[drawn], atol=0.06)
    for part, expected in zip(lower, maps.detach(), strict=True):
        np.testing.assert_array_equal(part.images[0].get_array(), expected)
        assert part.images[0].get_clim() == (0, float(maps.max()))


def test_label_of_training_curves(synthetic_runs):
    run = SavedRun(synthetic_runs / "model=cnn")
    run.record |= {"best_epoch": 2}
    run.history = {"epoch": [1, 2, 3], "val/loss": [2.5, 1.25, 1.0], "val/accuracy": [0.1, 0.75, 0.5]}
    label = FIGURES["training_curves"](run).get_label()
    assert label.startswith("best epoch 2 of 3")
    assert label.endswith("loss 2.5, 1.25, 1, validation accuracy 10.0%, 75.0%, 50.0%")


def test_training_curves_of_a_truncated_table_are_refused(synthetic_runs):
    run = SavedRun(synthetic_runs / "model=mlp")
    run.record |= {"best_epoch": 3}
    for name in ("val/loss", "lr"):  # epoch 3 is missing, then the column
        run.history = {"epoch": [1, 2] if name == "val/loss" else [2, 3], name: [2.5, 1.25]}
        with pytest.raises(UserError, match=r"metrics\.csv: expected val/loss"):
            FIGURES["training_curves"](run)


@pytest.mark.parametrize(("counts", "errors"), [([[3, 2], [0, 5]], "cat as dog (40%)"), ([[5, 0], [0, 5]], "none")])
def test_label_of_confusion_errors_has_no_absent_errors(counts, errors, tmp_path):
    run = record(0.8, 1)
    run["test"]["confusion"] = counts
    label = FIGURES["confusion_errors"](SavedRun(tmp_path, run)).get_label()
    assert label == f"80.0% correct; most frequent errors: {errors}"


def test_label_of_prototypes(synthetic_runs):
    run = SavedRun(synthetic_runs / "model=prototype")
    counts = np.zeros((10, 10), int)
    counts[:, 2], counts[:, 7], counts[:, 0] = 5, 3, 2
    run.record["test"]["confusion"] = counts.tolist()
    names = run.class_names
    assert FIGURES["prototypes"](run).get_label().endswith(f": {names[2]} (50%) and {names[7]} (30%)")


def test_tensorboard_figures_are_logged_and_freed(synthetic_runs, tmp_path, monkeypatch):
    shutil.copytree(
        synthetic_runs / "model=mlp", tmp_path / "run", ignore=shutil.ignore_patterns("tensorboard", "seed=2")
    )
    record = json.loads((tmp_path / "run/metrics.json").read_text())
    (tmp_path / "run/metrics.json").unlink()  # train writes it last
    figures, original = [], SummaryWriter.add_figure

    def add_figure(self, name, figure, step):
        figures.append(weakref.ref(figure))
        original(self, name, figure, step)

    monkeypatch.setattr(SummaryWriter, "add_figure", add_figure)
    log_figures(tmp_path / "run", record, [RunTensorBoardLogger(tmp_path / "run")])
    events = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    tags = {f"figures/{name}" for name in ("confusion", "calibration", "first_layer")}
    assert set(events.Tags()["images"]) == tags
    assert {event.step for tag in tags for event in events.Images(tag)} == {record["epochs"]}
    gc.collect()
    assert [figure() for figure in figures] == [None] * len(tags)  # pyplot would keep them alive
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_prototype_runs_have_all_figures_except_first_layer(synthetic_runs):
    run = SavedRun(synthetic_runs / "model=prototype")
    drawn = {name for name, draw in FIGURES.items() if (figure := draw(run)) is not None and figure.get_label()}
    assert drawn == FIGURES.keys() - {"first_layer", "pixel_weights"}


def test_nearest_and_farthest_images_of_each_class(synthetic_runs):
    run = SavedRun(synthetic_runs / "model=prototype")
    images, labels = run.data.test_images, run.data.test_labels
    distances = -run.network(images).detach().gather(1, labels[:, None])[:, 0]
    columns = []
    for label in range(10):
        order = sorted((i for i in range(len(labels)) if labels[i] == label), key=lambda i: float(distances[i]))
        columns.append(torch.cat([run.prototypes[label], images[order[:3] + order[:-4:-1]] / 255]))
    figure = FIGURES["nearest_and_farthest"](run)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), tile(torch.stack(columns, 1)))
    assert f": {distances.min():.3g} to {distances.max():.3g}, mean {distances.mean():.3g}" in figure.get_label()


@pytest.mark.parametrize(
    ("counts", "drawn"), [([0, 1, 2], [[0, 0], [1, 0], [1, 1]]), ([5, 6, 30], [[3, 2], [3, 3], [3, 3]])]
)
def test_nearest_and_farthest_images_of_small_classes(counts, drawn, synthetic_runs):
    run = SavedRun(synthetic_runs / "model=prototype")
    run.class_names, run.network = NAMES, PrototypeNetwork(NAMES, prototypes_per_class=2, tta_flip=True)
    labels = torch.arange(3).repeat_interleave(torch.tensor(counts))
    images = torch.randint(256, (len(labels), 3, 32, 32), dtype=torch.uint8)
    run.data = SimpleNamespace(test_images=images, test_labels=labels)
    pixels = FIGURES["nearest_and_farthest"](run).axes[0].images[0].get_array()
    shown = pixels[::34, ::34, 3] == 255
    assert [[int(shown[:3, label].sum()), int(shown[3:, label].sum())] for label in range(3)] == drawn


def test_pixel_weights_are_drawn_as_they_are(synthetic_runs):
    run = SavedRun(synthetic_runs / "model=prototype")
    run.network = PrototypeNetwork(discriminative=True, pixel_weights=True)
    with torch.no_grad():
        run.network.weight_logits[8:24, 8:24] = np.log(3)
    figure = FIGURES["pixel_weights"](run)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), run.network.weights().detach())
    assert figure.get_label().startswith("50% of the weight is in the middle quarter")


@pytest.mark.parametrize(("name", "shown"), [("a$$b", "a$$b"), ("$5", "$5"), ("caf\udce9", "caf?")])
def test_class_names_are_drawn_literally(name, shown, synthetic_runs):
    run = SavedRun(synthetic_runs / "model=prototype")
    accuracies = list(run.record["test"]["class_accuracy"].values())
    names = [name, "$10", *"cdefghij"]
    test = run.record["test"] | {"class_accuracy": dict(zip(names, accuracies, strict=True))}
    run = SavedRun(run.folder, run.record | {"test": test})
    for draw in FIGURES.values():
        if (figure := draw(run)) is not None:
            svg(figure, "")
    text = b64decode(str(svg(FIGURES["explanation"](run), "")).partition("base64,")[2].partition('"')[0]).decode()
    assert f">{shown}</text>" in text
    assert ">$10</text>" in text


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_equal_figures_give_equal_files(kind, tmp_path):
    for name in ("a", "b"):
        save_figure(confusions_figure([[[3, 1], [0, 4]]], ["MLP"], ["cat", "dog"]), tmp_path / f"{name}.{kind}")
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_tensorboard_failure_does_not_stop_a_run(tmp_path, monkeypatch, caplog):
    def fail(*args):
        raise ValueError("two\nlines")

    monkeypatch.setattr("cifar10.training.loggers.run_logger.log_results", fail)
    small = ["data=synthetic", "data.train_size=50", "data.test_size=10", "data.val_size=10", "epochs=1"]
    cfg = compose_settings("model=mlp", *small, "trainer.enable_progress_bar=false")
    record = train(cfg, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["test"] == record["test"]
    assert "fail failed: ValueError: two lines" in caplog.text
