"""Aggregation over seeds and its renderings."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from records import record

from cifar10.results import load
from cifar10.results.table import aggregate, best_first, best_of, study_of, to_csv, to_markdown, to_summary, to_text

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rows(tmp_path):
    def make(*records):
        for number, run in enumerate(records):
            (tmp_path / f"{number}.json").write_text(json.dumps(run))
        runs = load(tmp_path)
        assert runs.attrs["skipped"] == []
        return aggregate(runs)

    return make


def test_mean_and_standard_deviation_over_seeds(rows):
    found = rows(record(0.53, 3), record(0.50, 1), record(0.51, 2))
    # numpy.std([50, 51, 53], ddof=1) == 1.5275
    assert to_markdown(found).splitlines()[2:] == [
        "| MLP | study | cifar10 | 50.7% | 51.3% ± 1.5 | 3 (1, 2, 3) | 2.0 | 1,000 | CPU, 32-true |"
    ]
    (row,) = csv.DictReader(io.StringIO(to_csv(found)))
    assert (row["test_accuracy"], row["test_accuracy_std"]) == ("51.33", "1.53")
    assert (row["n"], row["seeds"], row["val_loss"], row["val_loss_std"]) == ("3", "1 2 3", "1.0000", "0.0000")


def test_row_name_depends_on_its_own_overrides_only(rows):
    found = rows(record(0.5, 1), record(0.6, 1, epochs=30), record(0.7, 1, "CNN"))
    assert list(found["name"]) == ["study, epochs=30", "study", "study"]
    assert list(rows(record(0.6, 1, epochs=30))["name"][:1]) == ["study, epochs=30"]


def test_override_equal_to_the_default_is_not_a_change(rows):
    found = rows(record(0.5, 1), record(0.6, 2, overrides=["epochs=20"]))
    assert list(found["name"]) == ["study"]


def test_runs_on_several_devices_share_a_row(rows):
    gpu = record(0.6, 2) | {"device": "GPU", "precision": "bf16-mixed", "seconds": {"train": 30.0}}
    found = rows(record(0.5, 1), gpu)
    assert found["hardware"].tolist() == [{"CPU, 32-true": 2.0, "GPU, bf16-mixed": 0.5}]
    assert to_markdown(found).endswith("| 2 (1, 2) | 2.0; 0.5 | 1,000 | CPU, 32-true; GPU, bf16-mixed |")


def test_other_data_come_last_without_study_accuracy(rows):
    found = rows(record(0.9, 1, data="synthetic"), record(0.9, 1, "ResNet"), record(0.5, 1), record(0.4, 1, "CNN"))
    cells = [line.strip("| ").split(" | ")[:4] for line in to_markdown(found).splitlines()[2:]]
    assert [(model, data, study.strip()) for model, _, data, study in cells] == [
        ("MLP", "cifar10", "50.7%"),
        ("CNN", "cifar10", "75.9%"),
        ("ResNet", "cifar10", ""),
        ("MLP", "synthetic", ""),
    ]


def test_best_first_sorts_by_validation_accuracy_then_loss(rows):
    runs = [record(0.5, 1, epochs=epochs) | {"val_loss": loss} for epochs, loss in ((1, 1.2), (2, 1.1), (3, 1.3))]
    for run, accuracy in zip(runs, (0.1, 0.3, 0.2), strict=True):
        run["test"]["accuracy"] = accuracy
    best = record(0.6, 1, "CNN")
    best["test"]["accuracy"] = 0.05
    assert list(best_first(rows(*runs, best))["val_loss"]) == [1.0, 1.1, 1.2, 1.3]


def test_study_and_best_rows(rows):
    fast = record(0.7, 1)
    fast["config"]["experiment"] = "mlp_fast"
    found = rows(record(0.6, 1, epochs=30), record(0.5, 1), fast)
    assert list(study_of(found)["name"]) == ["study"]
    assert list(best_of(found)["name"]) == ["mlp_fast"]


def test_nan_loss_and_single_run(rows):
    found = rows(record(0.5, 1) | {"val_loss": float("nan")}, record(0.5, 2), record(0.5, 1, "CNN"))
    mlp, cnn = csv.DictReader(io.StringIO(to_csv(found)))
    assert (mlp["val_loss"], mlp["val_loss_std"], cnn["val_loss_std"]) == ("nan", "nan", "")


def test_text_excludes_empty_columns(rows):
    header, line = to_text(rows(record(0.5, 1))).splitlines()
    assert "settings" not in header
    assert "val_accuracy_std" not in header
    assert line.split()[:4] == ["MLP", "study", "cifar10", "1"]


def test_summary_has_the_study_and_the_best_experiment_of_each_model(rows):
    best = record(0.642, 1)
    best["config"]["experiment"] = "mlp_best"
    faster = record(0.52, 2) | {"device": "GPU", "seconds": {"train": 60.0}}
    runs = [record(0.5, 1), faster, best, record(0.3, 1, "Prototype"), record(0.9, 1, epochs=30)]
    found = rows(*runs, record(0.9, 1, "CNN", data="synthetic"))
    assert to_summary(found).splitlines()[2:] == [
        "| prototype | 1,000 | 30.0% (n=1) | 28.8% | 2.0 min, CPU, 32-true | `python train.py model=prototype` |",
        "| MLP | 1,000 | 51.0% ± 1.4 (n=2) | 50.7% | 1.0 min, GPU, 32-true | `python train.py model=mlp` |",
        "| MLP best | 1,000 | 64.2% (n=1) |  | 2.0 min, CPU, 32-true | `python train.py experiment=mlp_best` |",
    ]


@pytest.mark.parametrize(("page", "render"), [("README.md", to_summary), ("docs/results.md", to_markdown)])
def test_pages_show_the_published_runs(page, render):
    runs = load(ROOT / "docs/results")
    assert runs.attrs["skipped"] == []
    table = re.search(r"<!-- results -->\n(.*?)\n<!-- /results -->", (ROOT / page).read_text(), re.DOTALL)
    assert table[1] == render(aggregate(runs))
