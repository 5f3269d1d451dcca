"""Tests the run folder: name, content and lock."""

import os
import subprocess
import sys
from math import isnan

import pytest
from omegaconf import OmegaConf

from cifar10.errors import UserError
from cifar10.files import write_json
from cifar10.training.config import fill_defaults
from cifar10.training.run_folder import (
    finished_result,
    init_run_folder,
    lock_run_folder,
    log_failure_to_status,
    read_record,
    run_name,
)

CIFAR10 = {"model": "cnn", "data": "cifar10"}
CIFAR100 = {"model": "cnn", "data": "cifar100"}
MLP = {"model": "mlp", "data": "cifar10"}
BIRDS = {"model": "cnn", "data": "folder"}
SYNTHETIC = {"model": "mlp", "data": "synthetic"}


@pytest.mark.parametrize(
    ("choices", "overrides", "name"),
    [
        (CIFAR10, [], "cnn/seed=1"),
        (CIFAR10, ["model=cnn", "data=cifar10", "seed=3"], "cnn/seed=3"),
        (CIFAR10, ["epochs=3", "batch_size=64"], "cnn/batch_size=64,epochs=3/seed=1"),
        (CIFAR10, ["batch_size=64", "epochs=3"], "cnn/batch_size=64,epochs=3/seed=1"),
        (SYNTHETIC, ["model=mlp", "data=synthetic", "seed=2"], "mlp/data=synthetic/seed=2"),
        (CIFAR10, ["overwrite=true", "runs=elsewhere", "trainer.enable_progress_bar=false"], "cnn/seed=1"),
        (CIFAR10, ["data.root=/somewhere"], "cnn/seed=1"),
        (CIFAR100, ["data=cifar100", "data.root=/somewhere"], "cnn/data=cifar100/seed=1"),
        # sha256 of "/a/b/birds" begins with 2d0187c7
        (BIRDS, ["data=folder", "data.root=/a/b/birds/"], "cnn/data=folder,data.root=birds-2d0187c7/seed=1"),
        (CIFAR10, ["seed=1/../../x"], "cnn/seed=1-..-..-x"),
        (CIFAR10, ["hydra.verbose=true"], "cnn/seed=1"),
        (CIFAR10 | {"experiment": "cnn_best"}, ["experiment=cnn_best", "seed=2"], "cnn_best/seed=2"),
        (CIFAR10 | {"experiment": "cnn_best"}, ["experiment=cnn_best", "epochs=3"], "cnn_best/epochs=3/seed=1"),
        (
            SYNTHETIC | {"experiment": "cnn_best"},
            ["experiment=cnn_best", "model=mlp"],
            "cnn_best/data=synthetic,model=mlp/seed=1",
        ),
        (MLP | {"experiment": "study"}, ["experiment=study", "model=mlp", "seed=2"], "mlp/seed=2"),
        (
            MLP | {"search": "custom", "experiment": "mlp_best"},
            ["search=custom", "experiment=mlp_best", "batch_size=7"],
            "search_custom/batch_size=7,experiment=mlp_best/seed=1",
        ),
        (CIFAR10, ["monitor=val/accuracy"], "cnn/monitor=val-accuracy/seed=1"),
    ],
)
def test_run_name(choices, overrides, name):
    assert run_name(choices, overrides) == name


def test_long_names_are_short_and_distinct():
    first, second = (run_name(CIFAR10, [f"+trainer.key{i}={i}{tail}" for i in range(40)]) for tail in ("", "0"))
    assert max(map(len, first.split("/"))) <= 120
    assert first != second


def settings(**changes):
    given = {"epochs": 3, "overwrite": False, "runs": "runs", "data": {"root": "data"}} | changes
    return OmegaConf.create(fill_defaults(given))


def test_new_folder_gets_the_settings(tmp_path):
    assert finished_result(tmp_path / "run", settings()) is None
    init_run_folder(tmp_path / "run", settings())
    assert OmegaConf.load(tmp_path / "run/config.yaml") == settings()


def test_changed_setting_is_named(tmp_path):
    init_run_folder(tmp_path, settings())
    with pytest.raises(UserError, match=r"holds a run with epochs=3, got epochs=4; .*overwrite=true"):
        finished_result(tmp_path, settings(epochs=4))


def test_one_batch_per_epoch_differs_from_all_batches(tmp_path):
    init_run_folder(tmp_path, settings(trainer={"limit_train_batches": 1.0}))
    with pytest.raises(UserError, match=r"trainer.limit_train_batches=1.0, got trainer.limit_train_batches=1;"):
        finished_result(tmp_path, settings(trainer={"limit_train_batches": 1}))


def test_setting_newer_than_the_run_has_its_default(tmp_path):
    """A run from before random_flip existed can be resumed without random_flip only."""
    older = {
        "model": {"_target_": "cifar10.models.mlp.MLP"},
        "data": {"_target_": "cifar10.data.synthetic.SyntheticData"},
    }
    write_json(tmp_path / "config.yaml", {"epochs": 3, "overwrite": False, "runs": "runs"} | older)
    newer = OmegaConf.merge(settings(**older), {"data": {"random_flip": False}, "model": {"warmup_fraction": None}})
    assert finished_result(tmp_path, newer) is None
    with pytest.raises(UserError, match=r"holds a run with data.random_flip=False, got data.random_flip=True"):
        finished_result(tmp_path, OmegaConf.merge(newer, {"data": {"random_flip": True}}))


def test_settings_that_are_not_compared_may_change(tmp_path):
    init_run_folder(tmp_path, settings())
    assert finished_result(tmp_path, settings(runs="elsewhere", data={"root": "other"})) is None


def test_record_of_a_finished_run_is_returned(tmp_path):
    init_run_folder(tmp_path, settings())
    record = {"test": {"loss": 2.5}, "val_loss": 2, "config": {"monitor": "val/loss"}}
    write_json(tmp_path / "metrics.json", record)
    assert finished_result(tmp_path, settings()) == record


def test_null_losses_are_read_as_nan(tmp_path):
    write_json(tmp_path / "metrics.json", {"test": {"loss": None, "accuracy": 0.1}, "val_loss": None})
    record = read_record(tmp_path / "metrics.json")
    assert isnan(record["test"]["loss"])
    assert isnan(record["val_loss"])


def test_failure_is_written_to_status(tmp_path):
    with pytest.raises(ValueError, match="wrong"), log_failure_to_status(tmp_path):
        raise ValueError("wrong\nvalue \udcff")
    assert (tmp_path / "status.txt").read_text() == "failed: wrong value ?\n"
    assert [path.name for path in tmp_path.iterdir()] == ["status.txt"]


def test_overwrite_removes_the_previous_run(tmp_path):
    init_run_folder(tmp_path, settings())
    for name in ("metrics.json", "metrics.csv", "last.ckpt", "best.ckpt", "notes.txt"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "tensorboard").mkdir()
    overwriting = settings(overwrite=True, epochs=4)
    assert finished_result(tmp_path, overwriting) is None
    init_run_folder(tmp_path, overwriting)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "notes.txt"]
    assert OmegaConf.load(tmp_path / "config.yaml").epochs == 4


def test_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*run/config.yaml"):
        init_run_folder(tmp_path / "run", settings())


LOCK = """
import os, sys
from pathlib import Path
from cifar10.training.run_folder import lock_run_folder
with lock_run_folder(Path(sys.argv[1])):
    {}
"""


def other_process(folder, ending):
    command = [sys.executable, "-c", LOCK.format(ending), folder]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_lock_error_names_the_holder(tmp_path):
    with lock_run_folder(tmp_path):
        other = other_process(tmp_path, "pass")
    assert other.stderr.splitlines()[-1].startswith(
        f"cifar10.errors.Busy: {tmp_path} is locked by process {os.getpid()} on "
    )


def test_lock_is_released_after_the_block(tmp_path):
    for _ in range(2):
        with lock_run_folder(tmp_path / "new"):
            assert (tmp_path / "new/.holder").exists()
    assert {path.name for path in (tmp_path / "new").iterdir()} <= {".lock"}  # filelock 3.21 to 3.29 remove it


def test_lock_of_a_killed_process_is_released(tmp_path):
    assert other_process(tmp_path, "os._exit(9)").returncode == 9
    assert (tmp_path / ".holder").exists()
    with lock_run_folder(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / ".holder").read_text()


def test_file_in_place_of_the_folder_cannot_be_locked(tmp_path):
    (tmp_path / "run").write_text("")
    with (
        pytest.raises(UserError, match=r"cannot write .*run: File exists; choose another folder with runs=PATH"),
        lock_run_folder(tmp_path / "run"),
    ):
        pass
