"""`python train.py -m ...` as typed: jobs, their folders, the summary, the exit status."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from time import sleep

import pytest
import torch

from cifar10.training.run_folder import run_name, safe_name

TRAIN = str(Path(__file__).resolve().parents[2] / "train.py")
SMALL = ("data=synthetic", "data.train_size=140", "data.val_size=40", "data.test_size=50", "epochs=2", "batch_size=20")
SMALL += ("trainer.enable_progress_bar=false",)
SIX = ("model=mlp,prototype", "seed=1,2,3", "data.random_flip=true")


@pytest.fixture
def sweep(monkeypatch, tmp_path, run_script):
    """Runs train.py -m in an empty folder; returns its exit status or message, and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    return partial(run_script, TRAIN, "-m")


def rows(folder):
    (path,) = (folder / "runs/sweeps").glob("*.csv")
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_best_by_validation_comes_first_with_mean_and_deviation_over_seeds(sweep, tmp_path):
    status, said = sweep("model=mlp,prototype", "seed=1,2", *SMALL)
    assert status == 0
    assert "4 finished" in said
    found = rows(tmp_path)
    assert sorted(row["model"] for row in found) == ["MLP", "Prototype"]
    assert float(found[0]["val_accuracy"]) >= float(found[1]["val_accuracy"])
    for row in found:
        records = [
            json.loads(
                (tmp_path / f"runs/{row['model'].lower()}").glob(f"*/seed={seed}/metrics.json").__next__().read_text()
            )
            for seed in (1, 2)
        ]
        accuracies = torch.tensor([100 * record["test"]["accuracy"] for record in records])
        assert row["n"] == "2"
        assert float(row["test_accuracy"]) == pytest.approx(accuracies.mean().item(), abs=0.005)
        assert float(row["test_accuracy_std"]) == pytest.approx(accuracies.std().item(), abs=0.005)


@pytest.mark.fault("a job of a sweep that diverges", "told and kept, the others finish")
def test_a_failed_job_stops_no_other_and_is_told(sweep, tmp_path):
    status, said = sweep("model=mlp", "model.learning_rate=1e30,0.001", *SMALL)
    assert status.startswith("train.py: 1 of 2 jobs failed: train/loss is nan at step 2, epoch 1, learning rate 1e+30")
    assert "1 finished, 1 failed" in said
    (stopped,) = (tmp_path / "runs").rglob("status.txt")
    assert stopped.read_text().startswith("failed: train/loss is nan at step 2, epoch 1, learning rate 1e+30")
    assert len(rows(tmp_path)) == 1

    status, said = sweep("model=mlp", "model.learning_rate=1e30,0.001", *SMALL, "stop_on_divergence=false")
    assert status == 0
    assert not stopped.exists()
    assert said.count("finished before") == 1


@pytest.mark.fault("a bug in a job of a sweep", "told, the others finish")
def test_a_bug_in_one_job_stops_no_other(sweep, tmp_path, monkeypatch):
    from cifar10.models.mlp import MLP

    monkeypatch.setattr(MLP, "training_step", lambda *_: 1 / 0)
    status, said = sweep("model=mlp,prototype", *SMALL)
    assert status.startswith("train.py: 1 of 2 jobs failed")
    assert "failed: ZeroDivisionError: division by zero" in said
    assert "Traceback" in said
    assert [row["model"] for row in rows(tmp_path)] == ["Prototype"]


def test_deviations_of_what_is_no_number_are_none(sweep, tmp_path):
    status, _ = sweep("model=mlp", "model.learning_rate=1e30", "seed=1,2", *SMALL, "stop_on_divergence=false")
    assert status == 0
    assert [(row["val_loss"], row["val_loss_std"]) for row in rows(tmp_path)] == [("nan", "nan")]


def test_a_stop_after_the_test_ends_the_sweep(sweep, tmp_path, monkeypatch):
    """Ctrl-C while the first run's results are written."""
    import cifar10.training.loggers.tensorboard as board

    original = board.log_hyperparameters
    monkeypatch.setattr(
        board, "log_hyperparameters", lambda *args: [signal.raise_signal(signal.SIGINT), original(*args)]
    )
    assert sweep("model=mlp", "seed=1,2", *SMALL)[0] == 130
    assert [path.parent.name for path in tmp_path.rglob("metrics.json")] == ["seed=1"]


def test_what_is_listed_twice_runs_once(sweep, tmp_path):
    status, said = sweep("model=mlp", "seed=1,1", *SMALL)
    assert (status, said.count("finished before")) == (0, 0)
    assert [row["n"] for row in rows(tmp_path)] == ["1"]


def test_the_study_is_the_runs_of_its_models(sweep, tmp_path):
    status, _ = sweep("experiment=study", "model=mlp", "seed=1,2", *SMALL)  # lists that replace its own
    assert status == 0
    small = "batch_size=20,data=synthetic,data.test_size=50,data.train_size=140,data.val_size=40,epochs=2"
    assert sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("metrics.json")) == [
        f"runs/mlp/{small}/seed={seed}" for seed in (1, 2)
    ]


@pytest.mark.parametrize("choice", ["search=mlp", "experiment=study"])
def test_what_lists_many_runs_is_no_single_one(choice, monkeypatch, tmp_path, run_script):
    monkeypatch.chdir(tmp_path)
    assert run_script(TRAIN, choice)[0] == f"train.py: {choice} is of many runs: python train.py -m {choice}"
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_trial_of_an_experiment_has_its_name():
    choices = {"model": "mlp", "data": "cifar10", "search": "custom", "experiment": "mlp_best"}
    assert run_name(choices, ["search=custom", "experiment=mlp_best", "batch_size=7"]) == (
        "search_custom/batch_size=7,experiment=mlp_best/seed=1"
    )


def test_a_study_s_run_has_the_folder_of_its_model():
    choices = {"model": "mlp", "data": "cifar10"}
    assert run_name(choices | {"experiment": "study"}, ["experiment=study", "model=mlp", "seed=2"]) == "mlp/seed=2"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["model.learning_rate=interval(0,1)"], "a grid needs a list; to search in it add search=custom"),
        (
            ["hydra.sweeper.max_batch=1"],
            "there is no setting hydra.sweeper.max_batch; did you mean hydra.sweeper.max_b",
        ),
        (["hydra/launcher=slurm"], "there is no hydra/launcher=slurm; choose from basic"),
        (["hydra.sweeper.max_batch_size=0"], "hydra.sweeper.max_batch_size=0: input should be greater than 0"),
        (["runs=2024"], "runs=2024: input should be a valid string"),
        (["search=mlp,cnn"], "search=mlp,cnn: a search and experiment=study are many runs; start each by itself"),
        (["experiment=mlp_fast,study"], "experiment=mlp_fast,study: a search and experiment=study are many runs"),
        (["model=prototype,mlp", "model.delta=cie76"], "no setting model.delta here, only with another model=, data="),
    ],
)
def test_a_mistake_is_one_line(sweep, arguments, line):
    status, said = sweep(*arguments)
    assert status.startswith("train.py: ")
    assert line in status
    assert "\n" not in status
    assert "Traceback" not in said


def test_jobs_are_not_run_by_each_of_several_processes(sweep, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert sweep("model=mlp", "seed=1,2")[0].startswith(
        "train.py: 2 processes were started, and each would run all jobs of -m: start one, whose jobs start theirs"
    )


def test_a_job_that_begins_in_another_folder_runs_where_the_sweep_does(sweep, tmp_path, elsewhere):
    assert sweep("model=mlp", "seed=1", *SMALL)[0] == 0
    assert not list(elsewhere.iterdir())
    assert rows(tmp_path)[0]["n"] == "1"


def test_a_job_within_the_sweep_s_own_process_is_not_watched_as_a_worker(sweep, monkeypatch):
    """joblib starts no worker for one job at a time; only its workers end with the sweep that they belong to."""
    from cifar10.training import distributed

    monkeypatch.setattr(distributed, "end_with_parent", lambda: pytest.fail("this is no worker"))
    one = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    assert sweep("model=mlp", "seed=1", *one, *SMALL)[0] == 0


@pytest.mark.parametrize(
    ("text", "name"), [("model=mlp seed=1,2", "model=mlp_seed=1,2"), ("a='b/../c'", "a=_b_.._c_"), ("", "")]
)
def test_a_file_s_name_for_a_command(text, name):
    assert safe_name(text) == name


def run_in_process(folder, *arguments, **more):
    command = [sys.executable, TRAIN, "-m", *arguments, *SMALL]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


def run_to_the_end(folder, *arguments, **more):
    """Its exit status, and what it said of errors."""
    command = [sys.executable, TRAIN, "-m", *arguments, *SMALL]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **more)
    return done.returncode, done.stderr


def results(folder):
    """Run -> its weights and its record without times."""
    found = {}
    for path in sorted(folder.rglob("metrics.json")):
        record = json.loads(path.read_text())
        for name in ("seconds", "images_per_second", "last_epoch", "commit"):
            del record[name]
        weights = torch.load(path.with_name("last.ckpt"), weights_only=True)["state_dict"]
        found[str(path.parent.relative_to(folder))] = weights, record
    return found


def assert_equal_results(first, second):
    assert first.keys() == second.keys()
    for run, (weights, record) in first.items():
        assert record == second[run][1]
        for name in weights:
            assert torch.equal(weights[name], second[run][0][name]), (run, name)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert run_to_the_end(folder, *SIX)[0] == 0
    return results(folder)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
@pytest.mark.fault("SIGKILL of a sweep of six jobs, twice", "each job finished once, same bits")
def test_a_sweep_that_is_killed_and_begun_again_ends_as_if_it_had_not_been(number, uninterrupted, tmp_path):
    """Killed at a random moment after its first and after its third finished run; then the same command to its end."""
    random_moment, finished = random.Random(number), {}
    for count in (1, 3):
        process = run_in_process(tmp_path, *SIX, start_new_session=True)
        while len(finished_at(tmp_path)) < count:
            assert process.poll() is None
            sleep(0.02)
        sleep(random_moment.uniform(0, 1))
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert finished.items() <= finished_at(tmp_path).items()
        finished = finished_at(tmp_path)
    assert run_to_the_end(tmp_path, *SIX)[0] == 0
    assert finished.items() <= finished_at(tmp_path).items()
    assert len(uninterrupted) == 6
    assert_equal_results(results(tmp_path), uninterrupted)


def finished_at(folder):
    """Result of a run -> when it was written: one that is trained again has another time."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.json")}


def four_jobs(folder, launcher):
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    status, said = run_to_the_end(folder, "model=mlp", "seed=1,2,3,4", f"hydra/launcher={launcher}", env=one_thread)
    assert status == 0, said
    return results(folder)


@pytest.fixture(scope="module")
def one_after_the_other(tmp_path_factory):
    return four_jobs(tmp_path_factory.mktemp("basic"), "basic")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_each_launcher_s_jobs_are_those_of_the_basic_one(launcher, one_after_the_other, tmp_path):
    assert len(one_after_the_other) == 4
    assert_equal_results(four_jobs(tmp_path, launcher), one_after_the_other)


@pytest.mark.slow
@pytest.mark.fault("SIGKILL of a sweep whose jobs run in joblib's processes", "they end too")
def test_joblib_s_processes_end_with_their_sweep(tmp_path):
    settings = ("model=mlp", "seed=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    command = [sys.executable, TRAIN, "-m", *settings, *SMALL, "epochs=10000"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while len(list(tmp_path.rglob("metrics.csv"))) < 2:
        assert process.poll() is None
        sleep(0.1)
    workers = {int(holder.read_text().split()[1]) for holder in tmp_path.rglob(".holder")}
    assert len(workers - {process.pid}) == 2
    process.kill()
    _, said = process.communicate(timeout=60)  # to the end of what they say too
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_two_processes_a_job(launcher, tmp_path):
    """Every image once an epoch, one folder a job, none beside them."""
    two = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", f"hydra/launcher={launcher}")
    status, said = run_to_the_end(tmp_path, "model=mlp", "seed=1,2", *two)
    assert status == 0, said
    found = results(tmp_path)
    assert [run[-6:] for run in found] == ["seed=1", "seed=2"]
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"mlp", "sweeps"}
    assert len(list((tmp_path / "runs/mlp").iterdir())) == 1
