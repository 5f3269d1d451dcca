"""Table of runs: columns, skipped files, commands."""

import json
import os
import shlex
from math import isnan
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from records import record

import cifar10.results
from cifar10.results.records import command, distinguishing_overrides, settings, settings_key
from cifar10.training.config import compose_settings, fill_defaults

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = sorted((ROOT / "docs/results").glob("*.json"))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def skipped_files(runs):
    return [line.partition(":")[0] for line in runs.attrs["skipped"]]


def test_columns(tmp_path):
    run = record(0.5, 3, epochs=5) | {"commit": "abc"}
    path = write(tmp_path / "metrics.json", run)
    row = cifar10.results.load(str(tmp_path)).iloc[0].to_dict()
    assert row.pop("settings") == {"epochs": 5}  # without runs, overwrite and data.root
    assert row == {
        "model": "MLP",
        "experiment": "study",
        "data": "cifar10",
        "data_sha256": "cifar10",
        "seed": 3,
        "changes": "epochs=5",
        "accuracy": 0.5,
        "loss": 1.0,
        "val_accuracy": 0.5,
        "val_loss": 1.0,
        "seconds": 120.0,
        "device": "CPU",
        "precision": "32-true",
        "commit": "abc",
        "path": path,
        "record": run,
    }


def test_other_files_are_skipped(tmp_path):
    write(tmp_path / "good/metrics.json", record(0.5, 1))
    write(tmp_path / "other.json", '{"a": 1}')
    write(tmp_path / "list.json", "[1]")
    write(tmp_path / "torn.json", '{"test": {"accu')
    write(tmp_path / "good/export/card.json", {"model": "MLP"})
    (tmp_path / "empty").mkdir()
    runs = cifar10.results.load([tmp_path, tmp_path / "empty"])
    assert list(runs["path"]) == [tmp_path / "good/metrics.json"]
    names = ("list.json", "other.json", "torn.json", "empty")
    assert skipped_files(runs) == [str(tmp_path / name) for name in names]
    assert all("\n" not in line for line in runs.attrs["skipped"])


@pytest.mark.parametrize("key", ["data_sha256", "seconds", "device", "seed", "test", "config", "best_epoch"])
def test_missing_field_or_wrong_type_is_skipped(key, tmp_path):
    run = record(0.5, 1)
    write(tmp_path / "0.json", {name: run[name] for name in run if name != key})
    write(tmp_path / "1.json", run | {key: 1.5})
    runs = cifar10.results.load(tmp_path)
    assert runs.empty
    assert [f"{key}:" in line for line in runs.attrs["skipped"]] == [True, True]


def test_confusion_matrix_of_wrong_size_is_skipped(tmp_path):
    run = record(0.5, 1)
    run["test"]["confusion"] = [[1]]
    write(tmp_path / "metrics.json", run)
    assert "test: " in cifar10.results.load(tmp_path).attrs["skipped"][0]


def test_unfinished_runs_are_skipped_with_their_status(tmp_path):
    for name in ("done", "killed", "failed"):
        write(tmp_path / name / "config.yaml", "seed: 1\n")
    write(tmp_path / "done/metrics.json", record(0.5, 1))
    write(tmp_path / "failed/status.txt", "failed: train/loss is nan\n")
    runs = cifar10.results.load([tmp_path, tmp_path / "done"])
    assert len(runs) == 1  # both paths contain it
    assert runs.attrs["skipped"] == [
        f"{tmp_path / 'failed'}: failed: train/loss is nan",
        f"{tmp_path / 'killed'}: not finished; repeat its command to resume it",
    ]


def test_duplicates_are_counted_once(tmp_path):
    copy = write(tmp_path / "copies/mlp.json", record(0.5, 1))
    assert len(cifar10.results.load(write(tmp_path / "copies/mlp.txt", record(0.5, 1)))) == 1  # any name, if given
    first = write(tmp_path / "runs/a/metrics.json", record(0.5, 1))
    second = write(tmp_path / "runs/b/metrics.json", record(0.6, 1))
    runs = cifar10.results.load([first.parent, copy.parent])
    assert (list(runs["path"]), runs.attrs["skipped"]) == ([first], [])
    runs = cifar10.results.load(tmp_path)
    assert list(runs["path"]) == [second]
    assert runs.attrs["skipped"] == [f"{first}: superseded by {second}, which has the same settings and seed"]


def test_changes_exclude_other_columns_and_settings_that_are_not_compared():
    run = record(0.5, 1, overrides=["data=cifar10", "runs=elsewhere", "+trainer.gradient_clip_val=1", "overwrite=true"])
    assert distinguishing_overrides(run) == ["+trainer.gradient_clip_val=1"]
    own_images = record(0.5, 1, data="folder", overrides=["data=folder", "data.root=cats", "batch_size=8"])
    assert distinguishing_overrides(own_images) == ["batch_size=8", "data.root=cats"]
    assert distinguishing_overrides(run | {"overrides": None}) == []


def test_command_is_quoted_and_includes_the_seed():
    run = record(0.5, 3) | {"overrides": ["model=mlp", "trainer.devices=[0,1]", "data.root='my cats'"]}
    text = command(run)
    assert shlex.split(text) == ["python", "train.py", *run["overrides"], "seed=3"]
    assert shlex.split(command(run | {"overrides": ["seed=3"]})) == ["python", "train.py", "seed=3"]
    assert command(run | {"overrides": None}) is None


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_record_is_consistent_with_its_command(path):
    published = json.loads(path.read_text())
    confusion = published["test"]["confusion"]
    hits = sum(row[label] for label, row in enumerate(confusion))
    assert hits / sum(map(sum, confusion)) == pytest.approx(published["test"]["accuracy"])
    assert "root" not in published["config"]["data"]
    assert "/" not in published["commit"]
    assert not published["commit"].endswith("+"), "published from files that no commit holds"
    python, script, *overrides = shlex.split(command(published))
    config = fill_defaults(OmegaConf.to_container(compose_settings(*overrides)))
    assert (python, script, config["seed"]) == ("python", "train.py", published["seed"])
    assert settings_key(published | {"config": config}) == settings_key(published)


def test_settings_are_those_of_the_record_whatever_the_defaults():
    config = fill_defaults(OmegaConf.to_container(compose_settings("model=mlp")))
    run = record(0.5, 1) | {"config": config}
    assert settings_key(run) == settings_key(run | {"config": config | {"seed": 9, "epochs": float(config["epochs"])}})
    without = {name: value for name, value in config["model"].items() if name != "optimizer"}
    assert "model.optimizer" not in settings(run | {"config": config | {"model": without}})


def test_one_batch_per_epoch_differs_from_all_batches():
    one, all_batches = (record(0.5, 1) | {"config": {"trainer": {"limit_train_batches": limit}}} for limit in (1, 1.0))
    assert settings_key(one) != settings_key(all_batches)


def test_symbolic_links_are_followed_once(tmp_path):
    write(tmp_path / "disk/mlp/metrics.json", record(0.5, 1))
    write(tmp_path / "disk/cnn/metrics.json", record(0.7, 1, "CNN"))
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "mlp").symlink_to(tmp_path / "disk/mlp")
    (runs / "mlp/loop").symlink_to(runs)
    (runs / "cnn.json").symlink_to(tmp_path / "disk/cnn/metrics.json")
    (runs / "gone").symlink_to(tmp_path / "nowhere")
    table = cifar10.results.load(runs)
    assert sorted(table["model"]) == ["CNN", "MLP"]
    assert table.attrs["skipped"] == [
        f"{runs / 'gone'}: broken symbolic link",
        f"{runs / 'mlp/loop'}: links to {runs}, which is read already",
    ]


def test_unreadable_folder_is_reported(tmp_path, monkeypatch):
    write(tmp_path / "mlp/metrics.json", record(0.5, 1))
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    table = cifar10.results.load(tmp_path)
    assert (len(table), table.attrs["skipped"]) == (1, [f"{tmp_path / 'locked'}: Permission denied"])


def test_null_loss_is_not_a_number(tmp_path):
    run = record(0.5, 1) | {"val_loss": None}
    write(tmp_path / "metrics.json", run | {"test": run["test"] | {"loss": None}})
    (row,) = cifar10.results.load(tmp_path).itertuples()
    assert isnan(row.loss)
    assert isnan(row.val_loss)
