"""Tests of `python train.py -m`: jobs, folders, summary, exit status."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from time import sleep

import pytest
import torch

from cifar10.sweeps.jobs import JobLauncher
from cifar10.training import run
from cifar10.training.run_folder import run_name, safe_name

TRAIN = str(Path(__file__).resolve().parents[2] / "train.py")
SMALL = ("data=synthetic", "data.train_size=140", "data.val_size=40", "data.test_size=50", "epochs=2", "batch_size=20")
SMALL += ("trainer.enable_progress_bar=false",)
SIX = ("model=mlp,prototype", "seed=1,2,3", "data.random_flip=true")


def rows(folder):
    (path,) = (folder / "runs/sweeps").glob("*.csv")
    with path.open() as file:
        return list(csv.DictReader(file))


def test_summary_is_sorted_by_validation_with_mean_and_std_over_seeds(sweep, tmp_path, fake_train):
    status, output = sweep("model=mlp,prototype", "seed=1,2", *SMALL)
    assert status == 0
    assert "4 finished" in output
    found = rows(tmp_path)
    assert sorted(row["model"] for row in found) == ["MLP", "Prototype"]
    assert float(found[0]["val_accuracy"]) >= float(found[1]["val_accuracy"])
    for row in found:
        paths = list((tmp_path / f"runs/{row['model'].lower()}").rglob("metrics.json"))
        accuracies = [100 * json.loads(path.read_text())["test"]["accuracy"] for path in paths]
        assert row["n"] == "2"
        assert float(row["test_accuracy"]) == pytest.approx(mean(accuracies), abs=0.005)
        assert float(row["test_accuracy_std"]) == pytest.approx(stdev(accuracies), abs=0.005)


@pytest.mark.fault("a job of a sweep that diverges", "reported and recorded, the others finish")
def test_failed_job_is_reported_and_others_continue(sweep, tmp_path, fake_train):
    status, output = sweep("model=mlp", "model.learning_rate=1e30,0.001", *SMALL)
    assert status.startswith("train.py: 1 of 2 jobs failed: train/loss is nan at step 2, epoch 1")
    assert "1 finished, 1 failed" in output
    assert len(rows(tmp_path)) == 1
    assert sweep("model=mlp", "model.learning_rate=1e30,0.001", *SMALL, "stop_on_divergence=false")[0] == 0


@pytest.mark.fault("a job of a sweep that cannot start", "reported, the others finish")
@pytest.mark.parametrize(
    ("arguments", "obstacle", "key"),
    [
        (["model=mlp", "seed=1,2"], "/train.log/", "train.log"),  # a folder has the name of the log file
        (["model=mlp", "seed=1,2"], "", "seed=1"),  # a file has the name of the run folder
        (["model=mlp", f"seed={10**300},2"], None, "File name too long"),
        (["model=mlp,prototype", "model.batch_norm=true"], None, "unknown setting model.batch_norm"),
        (["model=mlp", "model.learning_rate=0.1,${nothing}"], None, "nothing"),
    ],
)
def test_job_that_cannot_start_fails_and_others_continue(sweep, tmp_path, fake_train, arguments, obstacle, key):
    if obstacle is not None:
        name = run_name({"model": "mlp", "data": "synthetic"}, ["seed=1", *SMALL])
        path = Path(f"{tmp_path}/runs/{name}{obstacle}")
        path.parent.mkdir(parents=True)
        path.mkdir() if obstacle else path.touch()
    status, output = sweep(*arguments, *SMALL)
    assert status.startswith("train.py: 1 of 2 jobs failed: ")
    assert key in status
    assert "1 finished, 1 failed" in output
    assert "Traceback" not in output
    assert [row["n"] for row in rows(tmp_path)] == ["1"]


@pytest.mark.fault("a bug in a job of a sweep", "reported, the others finish")
def test_bug_in_one_job_is_reported_and_others_continue(sweep, tmp_path, monkeypatch, fake_train):
    def train(cfg, folder, **keywords):
        return fake_train(cfg, folder, **keywords) if cfg.model._target_.endswith("Prototype") else 1 / 0

    monkeypatch.setattr(run, "train", train)
    status, output = sweep("model=mlp,prototype", *SMALL)
    assert status.startswith("train.py: 1 of 2 jobs failed")
    assert "failed: ZeroDivisionError: division by zero" in output
    assert "Traceback" in output
    assert [row["model"] for row in rows(tmp_path)] == ["Prototype"]


def test_signal_after_testing_stops_the_sweep(sweep, tmp_path, monkeypatch):
    """SIGINT arrives while the results of the first run are written."""
    from cifar10.training import record

    original = record.make_record
    monkeypatch.setattr(
        record, "make_record", lambda *arguments: [signal.raise_signal(signal.SIGINT), original(*arguments)][1]
    )
    assert sweep("model=mlp", "seed=1,2", *SMALL)[0] == 130
    assert [path.parent.name for path in tmp_path.rglob("metrics.json")] == ["seed=1"]


def test_duplicate_jobs_run_once(sweep, tmp_path, monkeypatch, fake_train):
    launched = []
    launch = JobLauncher.launch
    monkeypatch.setattr(JobLauncher, "launch", lambda self, jobs: launched.append(len(jobs)) or launch(self, jobs))
    assert sweep("model=mlp", "seed=1,1,2,2,3", "hydra.sweeper.max_batch_size=2", *SMALL)[0] == 0
    assert launched == [2, 1]
    assert [row["n"] for row in rows(tmp_path)] == ["3"]


def test_experiment_study_uses_the_run_folders_of_single_runs(sweep, tmp_path, fake_train):
    status, _ = sweep("experiment=study", "model=mlp", "seed=1,2", *SMALL)  # replaces its lists
    assert status == 0
    small = "batch_size=20,data=synthetic,data.test_size=50,data.train_size=140,data.val_size=40,epochs=2"
    assert sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("metrics.json")) == [
        f"runs/mlp/{small}/seed={seed}" for seed in (1, 2)
    ]


def test_tables_and_runs_are_in_the_home_folder(sweep, monkeypatch, tmp_path, fake_train):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert sweep("model=mlp", "runs='~/runs'", *SMALL)[0] == 0
    assert rows(tmp_path / "home")[0]["n"] == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("choice", ["search=mlp", "experiment=study"])
def test_several_runs_need_multirun(choice, monkeypatch, tmp_path, run_script):
    monkeypatch.chdir(tmp_path)
    assert run_script(TRAIN, choice)[0].startswith(f"train.py: {choice} runs many jobs: python train.py -m {choice}; ")
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["model.learning_rate=interval(0,1)"], "a grid needs a list; to search an interval, add search=custom"),
        (["seed=range(3,3)"], "seed=range(3,3): the list is empty"),
        (["hydra.sweeper.max_batch=1"], "unknown setting hydra.sweeper.max_batch; did you mean hydra.sweeper."),
        (["hydra/launcher=slurm"], "invalid hydra/launcher=slurm: expected one of basic"),
        (["hydra.sweeper.max_batch_size=0"], "hydra.sweeper.max_batch_size=0: input should be greater than 0"),
        (["runs=2024"], "runs=2024: input should be a valid string"),
        (["search=mlp,cnn"], "search=mlp,cnn: search= and experiment=study are sweeps"),
        (["model=prototype,mlp", "model.delta=cie76"], "unknown setting model.delta: it exists only with"),
        (["experiment=mlp_fast,study"], "experiment=mlp_fast,study: search= and experiment=study are sweeps"),
    ],
)
def test_user_mistake_is_one_line(sweep, arguments, line):
    status, output = sweep(*arguments)
    assert status.startswith("train.py: ")
    assert line in status
    assert "\n" not in status
    assert "Traceback" not in output


def test_sweep_under_torchrun_is_refused(sweep, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert sweep("model=mlp", "seed=1,2")[0].startswith("train.py: -m was started in 2 processes")


def test_job_changes_to_the_folder_of_the_sweep(sweep, tmp_path, elsewhere, monkeypatch, fake_train):
    folders = []
    monkeypatch.setattr(run, "train", lambda *a, **more: folders.append(Path.cwd()) or fake_train(*a, **more))
    assert sweep("model=mlp", *SMALL)[0] == 0
    assert folders == [tmp_path]
    assert not list(elsewhere.iterdir())
    assert rows(tmp_path)[0]["n"] == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_joblib_job_in_the_main_process_does_not_watch_a_parent(sweep, monkeypatch, fake_train):
    """joblib starts no worker if n_jobs=1. Only workers end with the sweep."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the joblib launcher is not installed")
    monkeypatch.setattr("cifar10.sweeps.jobs.exit_with_parent", lambda: pytest.fail("this is no worker"))
    one = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    assert sweep("model=mlp", "seed=1", *one, *SMALL)[0] == 0


@pytest.mark.parametrize(
    ("text", "name"), [("model=mlp seed=1,2", "model=mlp_seed=1,2"), ("a='b/../c'", "a=_b_.._c_"), ("", "")]
)
def test_file_name_for_a_command(text, name):
    assert safe_name(text) == name


def run_in_process(folder, *arguments, **more):
    command = [sys.executable, TRAIN, "-m", *arguments, *SMALL]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


def run_to_completion(folder, *arguments, **more):
    """Returns the exit status and stderr."""
    command = [sys.executable, TRAIN, "-m", *arguments, *SMALL]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **more)
    return done.returncode, done.stderr


def results(folder):
    """Returns run -> weights and record, without times."""
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
    for name, (weights, record) in first.items():
        assert record == second[name][1]
        for key in weights:
            assert torch.equal(weights[key], second[name][0][key]), (name, key)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert run_to_completion(folder, *SIX)[0] == 0
    return results(folder)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
@pytest.mark.fault("SIGKILL of a sweep of six jobs, twice", "each job finished once, bit-identical")
def test_killed_sweep_resumes_bit_identical(number, uninterrupted, tmp_path):
    """Kills the sweep at a random moment after its first and third finished run, then repeats the command."""
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
    assert run_to_completion(tmp_path, *SIX)[0] == 0
    assert finished.items() <= finished_at(tmp_path).items()
    assert len(uninterrupted) == 6
    assert_equal_results(results(tmp_path), uninterrupted)


def finished_at(folder):
    """Returns result file -> time of modification, which changes if a run is trained again."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.json")}


def skip_without_launcher(name):
    if (package := name.partition("_")[0]) != "basic":
        pytest.importorskip(
            f"hydra_plugins.hydra_{package}_launcher", reason=f"the {package} launcher is not installed"
        )


def four_jobs(folder, launcher):
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    status, errors = run_to_completion(
        folder, "model=mlp", "seed=1,2,3,4", f"hydra/launcher={launcher}", env=one_thread
    )
    assert status == 0, errors
    return results(folder)


@pytest.fixture(scope="module")
def basic_results(tmp_path_factory):
    return four_jobs(tmp_path_factory.mktemp("basic"), "basic")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_launchers_give_the_results_of_the_basic_launcher(launcher, basic_results, tmp_path):
    skip_without_launcher(launcher)
    assert len(basic_results) == 4
    assert_equal_results(four_jobs(tmp_path, launcher), basic_results)


@pytest.mark.slow
@pytest.mark.fault("SIGKILL of a sweep whose jobs run in joblib workers", "the workers end too")
def test_joblib_workers_end_with_their_sweep(tmp_path):
    skip_without_launcher("joblib")
    settings = ("model=mlp", "seed=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    command = [sys.executable, TRAIN, "-m", *settings, *SMALL, "epochs=10000"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while len(list(tmp_path.rglob("metrics.csv"))) < 2:
        assert process.poll() is None
        sleep(0.1)
    workers = {int(holder.read_text().split()[1]) for holder in tmp_path.rglob(".holder")}
    assert len(workers - {process.pid}) == 2
    process.kill()
    _, errors = process.communicate(timeout=60)  # waits until the workers close stderr
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_two_ranks_per_job(launcher, tmp_path):
    """Checks that two ranks share one run folder per job and write nothing elsewhere."""
    skip_without_launcher(launcher)
    two = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", f"hydra/launcher={launcher}")
    status, errors = run_to_completion(tmp_path, "model=mlp", "seed=1,2", *two)
    assert status == 0, errors
    found = results(tmp_path)
    assert [run[-6:] for run in found] == ["seed=1", "seed=2"]
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"mlp", "sweeps"}
    assert len(list((tmp_path / "runs/mlp").iterdir())) == 1
