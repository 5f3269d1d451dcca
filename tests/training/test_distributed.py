"""Compares a run of two processes (DDP on the CPU) with one process on the same batches; tests launching."""

import csv
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only
from test_run import weights

from cifar10.errors import UserError
from cifar10.training import distributed
from cifar10.training.config import compose_settings
from cifar10.training.distributed import ranks_to_start
from cifar10.training.run import train

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
SMALL = ("data=synthetic", "data.train_size=140", "data.val_size=40", "data.test_size=51", "epochs=2", "batch_size=25")
SMALL += ("precision=32-true",)
TWO = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")


def composed(*overrides):
    return compose_settings(*SMALL, "trainer.enable_progress_bar=false", *overrides)


@pytest.mark.slow
@pytest.mark.parametrize(
    "choice",
    [
        "model=mlp data.random_flip=true data.random_shift_px=2",
        "model=cnn model.optimizer=sgd",  # Adam divides rounding errors of small gradients by the gradients
        "model=prototype",
        "model=prototype model.objective=discriminative model.prototypes_per_class=2 model.tta_flip=true",
        "experiment=prototype_exact model.prototypes_per_class=2",
    ],
)
def test_two_processes_equal_one(choice, tmp_path):
    """Neither batches of 25 nor 51 test images split evenly over two processes."""
    one, two = (
        train(composed(*choice.split(), "batch_size=30", *more), tmp_path / name)
        for name, more in (("one", ()), ("two", TWO))
    )
    assert two["device"].startswith("2 x ")
    found, expected = ({path.name for path in (tmp_path / name).iterdir()} for name in ("two", "one"))
    assert found == expected
    assert len(list((tmp_path / "two/tensorboard").iterdir())) == len(list((tmp_path / "one/tensorboard").iterdir()))

    assert two["test"]["confusion"] == one["test"]["confusion"]
    assert sum(map(sum, two["test"]["confusion"])) == two["images"]["test"] == 51
    tables = [list(csv.DictReader((tmp_path / name / "metrics.csv").open())) for name in ("one", "two")]
    assert len(tables[0]) == len(tables[1]) == 2
    for row, other in zip(*tables, strict=True):
        for name, value in row.items():
            if "accuracy" in name:
                assert float(other[name]) == float(value), name
            elif "seconds" not in name:
                assert float(other[name]) == pytest.approx(float(value), abs=1e-5, rel=1e-5), name
    for name, tensor in weights(tmp_path / "one").items():
        # A step of Adam moves a weight by up to 1e-3, even for a gradient that is only a rounding error.
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, rtol=1e-4, atol=3e-5)


@pytest.mark.slow
def test_gradient_equals_that_of_the_whole_batch(tmp_path):
    """The first step with Nesterov momentum 0.9 is 1.9 times the gradient. The ranks have 13 and 12 images."""
    settings = (
        "model=mlp",
        "model.optimizer=sgd",
        "model.learning_rate=1",
        "epochs=1",
        "trainer.limit_train_batches=1",
    )
    for name, more in (("none", ["model.learning_rate=1e-30"]), ("one", []), ("two", TWO)):
        train(composed(*settings, *more), tmp_path / name)
    start, one, two = (weights(tmp_path / name) for name in ("none", "one", "two"))
    for name in start:
        gradient = start[name] - one[name]
        torch.testing.assert_close(
            start[name] - two[name], gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max())
        )


@pytest.mark.slow
def test_error_of_a_rank_is_raised(tmp_path):
    with pytest.raises(UserError, match=r"data.val_size=200 leaves 0"):
        train(composed("model=mlp", "data.val_size=200", *TWO), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.fault("SIGKILL of one of two processes of a run", "the other process exits too, one line")
def test_killed_rank_stops_the_others(rank, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    started = []

    def then_kill(context_process):
        def start(self):
            context_process(self)
            started.append(self)
            if len(started) == 2:
                started[rank].kill()

        return start

    spawned = distributed.get_context("spawn").Process
    monkeypatch.setattr(spawned, "start", then_kill(spawned.start))
    with pytest.raises(UserError, match=rf"rank {rank} of 2 exited with status -9, and the others"):
        train(composed("model=mlp", *TWO), tmp_path)
    assert not any(process.is_alive() for process in started)
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    ("override", "count"), [("trainer.devices=1", 1), ("trainer.devices=2", 2), ("trainer.devices=auto", 1)]
)
def test_one_rank_per_device(override, count, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert ranks_to_start(composed("trainer=ddp", "trainer.accelerator=cpu", override)) == count


def test_launched_rank_starts_no_ranks(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(LightningEnvironment, "global_rank", lambda self: 1)
    assert ranks_to_start(composed("model=mlp", *TWO)) == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.devices=3"], r"trainer.devices=3: expected at most 2, the cores of this machine"),
        (["trainer.num_nodes=2"], r"trainer.num_nodes=2: launch the command on each node with torchrun or srun"),
        (["trainer.accelerator=gpu", "trainer.devices=99"], r"trainer: .*"),
    ],
)
def test_missing_devices_are_named(overrides, message, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(UserError, match=message) as error:
        train(composed("model=mlp", *TWO, *overrides), tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_launched_processes_do_not_each_train_alone(name, monkeypatch, tmp_path):
    monkeypatch.setenv(name, "2")
    with pytest.raises(UserError, match=r"2 processes were launched, but trainer.devices=1: .* set trainer=ddp"):
        train(composed("model=mlp"), tmp_path)


def test_mismatch_with_slurm_is_one_line(monkeypatch, tmp_path):
    slurm = {"SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1", "SLURM_JOB_NAME": "job", "SLURM_JOB_ID": "1"}
    slurm |= {
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "a",
    }
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"trainer: .*devices=2.*; docs/scale.md lists matching numbers") as error:
        train(composed("model=mlp", *TWO), tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_batch_too_small_for_batch_norm_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"a batch has 3 images, expected at least 4 for 2 processes"):
        train(composed("model=mlp", "model.batch_norm=true", "batch_size=3", "data.train_size=49", *TWO), tmp_path)


@pytest.mark.slow
def test_torchrun_trains_one_run(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29531", str(TRAIN)]
    settings = ["model=mlp", *SMALL, *TWO, f"runs={tmp_path}", "trainer.enable_progress_bar=false"]
    for text in ("test accuracy", "already finished"):
        done = subprocess.run([*command, *settings], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(text) == 1
    (record,) = tmp_path.rglob("metrics.json")
    assert json.loads(record.read_text())["device"].startswith("2 x ")


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, False),
        ({"RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, False),  # in an srun shell
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4"}, False),
        *(({name: "3"}, True) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID")),  # stale
        ({"RANK": "3", "WORLD_SIZE": "1"}, True),
        ({"RANK": "3", "WORLD_SIZE": ""}, True),
        ({"RANK": "", "WORLD_SIZE": "many"}, True),
    ],
)
def test_rank_counts_only_with_the_world_size_of_its_launcher(environment, first, monkeypatch):
    for name in distributed.RANK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    distributed.unset_stale_rank_variables()
    assert (distributed.launched_rank()[0] == 0) is first
    assert ("RANK" in os.environ) == (distributed.launched_rank()[1] > 1 and "RANK" in environment)


def test_run_with_stale_rank_variables_writes_its_files(monkeypatch, tmp_path):
    stale = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "job"}
    for name, value in stale.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 3)  # as set by the import of Lightning
    assert train(composed("model=mlp", "epochs=1", "data.train_size=60"), tmp_path)["epochs"] == 1
    assert (tmp_path / "metrics.csv").exists()
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize(("value", "threads"), [("8", "4"), ("6,2", "3"), ("", "2"), ("all", "2")])
def test_threads_per_rank(value, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert distributed._environment(2)["OMP_NUM_THREADS"] == threads


def test_rank_exits_if_its_parent_ended_during_the_imports(monkeypatch):
    exited = threading.Event()
    monkeypatch.setattr(distributed, "parent_process", lambda: SimpleNamespace(pid=os.getppid() + 1))
    monkeypatch.setattr(os, "_exit", lambda status: exited.set())
    monkeypatch.setattr(distributed, "sleep", lambda seconds: pytest.fail("the parent is not running"))
    distributed.exit_with_parent()
    assert exited.wait(10)
