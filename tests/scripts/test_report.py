"""scripts/report.py: table, CSV, page, publication."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread
from records import record

from cifar10.results import load
from cifar10.results.table import aggregate, to_markdown, to_summary
from cifar10.training.config import compose_settings
from cifar10.training.run import train

REPORT = str(Path(__file__).resolve().parents[2] / "scripts/report.py")


def write_run(folder, accuracy, seed, model="MLP"):
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(record(accuracy, seed, model)))


@pytest.fixture
def report(monkeypatch):
    def run(*arguments, root=None):
        monkeypatch.setattr(sys, "argv", [REPORT, *map(str, arguments)])
        script = runpy.run_path(REPORT)
        main = script["main"]
        if root:
            main.__globals__["ROOT"] = root
        main()

    return run


def test_table_of_all_runs_in_a_folder(report, tmp_path, capsys):
    write_run(tmp_path / "mlp/seed=1", 0.50, 1)
    write_run(tmp_path / "mlp/seed=2", 0.51, 2)
    report(tmp_path)
    (line,) = capsys.readouterr().out.splitlines()[2:]
    assert line.startswith("| MLP | study | cifar10 | 50.7% | 50.5% ± 0.7 | 2 (1, 2)")


def test_table_is_sorted_by_validation_accuracy(report, tmp_path, capsys):
    for name, accuracy in {"MLP": 0.6, "CNN": 0.5, "Prototype": 0.7}.items():
        write_run(tmp_path / name, accuracy, 1, name)
    report(tmp_path)
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["Prototype", "MLP", "CNN"]


@pytest.fixture(scope="module")
def real_runs(synthetic_runs, tmp_path_factory):
    """Small runs on synthetic images, relabelled as CIFAR-10: one with an override, one as an experiment."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("prototype", "mlp"):
        skipped = shutil.ignore_patterns("tensorboard", "seed=2")
        shutil.copytree(synthetic_runs / f"model={name}", folder / name, ignore=skipped)
    several = ["model=prototype", "model.prototypes_per_class=2"]
    small = ["data=synthetic", "data.train_size=140", "data.test_size=30", "data.val_size=40", "epochs=2"]
    train(compose_settings(*several, *small, "trainer.enable_progress_bar=false"), folder / "several")
    shutil.copytree(folder / "several", folder / "experiment")
    overrides = {"prototype": ["model=prototype"], "several": several, "mlp": ["model=mlp"]}
    for name, settings in {**overrides, "experiment": ["experiment=prototype_best"]}.items():
        file = folder / name / "metrics.json"
        record = json.loads(file.read_text()) | {"data": "cifar10", "overrides": [*settings, "runs=/home/me"]}
        if name == "experiment":
            record["config"]["experiment"] = "prototype_best"
        file.write_text(json.dumps(record))
    return folder


def test_publish_writes_records_tables_and_figures(report, real_runs, tmp_path):
    root = tmp_path / "project"
    (root / "docs").mkdir(parents=True)
    pages = {root / "README.md": to_summary, root / "docs/results.md": to_markdown}
    for page in pages:
        page.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    pictures = {"mlp_first_layer.png", "mlp_confusion.svg", "prototype_confusion.svg", "prototype_evolution.png"}
    pictures |= {"prototype_first_and_last.png", "prototype_nearest_and_farthest.png", "cnn_calibration.png"}
    (root / "docs/pictures.md").write_text("".join(f"![](pictures/{name})\n" for name in sorted(pictures)))
    for _ in range(2):  # publishing twice adds nothing
        report(real_runs, "--publish", root=root)
    rows = aggregate(load(root / "docs/results"))
    for page, render in pages.items():
        assert page.read_text() == f"before\n<!-- results -->\n{render(rows)}\n<!-- /results -->\nafter\n"
    kept = [json.loads(file.read_text()) for file in sorted((root / "docs/results").iterdir())]
    assert [run["model"] for run in kept] == ["MLP", "Prototype", "Prototype", "Prototype"]
    assert not any("root" in run["config"]["data"] or "runs" in run["config"] for run in kept)
    assert all(text.startswith(("model", "experiment")) for run in kept for text in run["overrides"])
    drawn = pictures - {"cnn_calibration.png"} | {"class_accuracy.svg"}  # there is no run of the CNN
    assert {file.name for file in (root / "docs/pictures").iterdir()} == drawn
    figures = {"confusions.svg", "prototypes.png", "prototypes_prototype_best_2.png"}
    assert {file.name for file in (root / "docs").iterdir() if file.is_file()} == {
        *figures,
        "results.md",
        "pictures.md",
    }
    assert list(json.loads((root / "cifar10/weights/weights.json").read_text())) == [
        "prototype",
        "prototype_best",
        "mlp",
    ]
    assert imread(root / "docs/prototypes.png").shape[1] == round(8.6 * 192)


def test_unreadable_runs_are_reported_and_others_are_published(report, real_runs, tmp_path, capsys):
    (tmp_path / "runs/damaged").mkdir(parents=True)
    (tmp_path / "runs/damaged/metrics.json").write_text('{"test": {"accu')
    shutil.copytree(
        real_runs / "prototype", tmp_path / "runs/without_weights", ignore=shutil.ignore_patterns("best.ckpt")
    )
    report(real_runs / "mlp", tmp_path / "runs", "--publish", root=tmp_path)
    damaged, readme, results, without_weights, weights = capsys.readouterr().err.splitlines()
    assert readme == f"skipped: {tmp_path}/README.md: no table between <!-- results --> and <!-- /results -->"
    assert results.startswith(f"skipped: {tmp_path}/docs/results.md: ")
    assert damaged.startswith(f"skipped: {tmp_path / 'runs/damaged/metrics.json'}: not a run's metrics")
    assert weights == "published weights: mlp"
    assert without_weights.startswith(f"skipped: {tmp_path / 'runs/without_weights/best.ckpt'} not found")
    assert len(list((tmp_path / "docs/results").iterdir())) == 2


def test_csv_and_page_are_written_and_skipped_figures_reported(report, tmp_path, capsys):
    write_run(tmp_path / "runs/mlp", 0.50, 1)
    report(tmp_path / "runs", "--csv", tmp_path / "a.csv", "--page", tmp_path / "a.html")
    assert (tmp_path / "a.csv").read_text().splitlines()[1].startswith("MLP,study,cifar10,")
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
    assert "skipped: MLP, study, without" in capsys.readouterr().err


def test_missing_runs_are_reported(report, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"report.py: no finished run found"):
        report(tmp_path)
    assert capsys.readouterr().err == f"skipped: {tmp_path}: no finished run found\n"
