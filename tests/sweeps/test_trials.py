"""Tests of requeueing: lost, killed and interrupted trials."""

import json
import os
import shlex
import signal
import subprocess
from pathlib import Path
from time import sleep

import pytest
from hydra.core.plugins import Plugins

from cifar10.errors import Busy, Interrupted
from cifar10.sweeps.jobs import JobResult
from cifar10.training import run

optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
searches = pytest.importorskip("cifar10.sweeps.search")
studies = pytest.importorskip("cifar10.sweeps.study")
trials = pytest.importorskip("cifar10.sweeps.trials")

TRAIN = str(Path(__file__).resolve().parents[2] / "train.py")
SPACE = {"x": optuna.distributions.FloatDistribution(0, 1)}


@pytest.fixture
def short_grace(monkeypatch):
    """Shortens the grace period to one second."""
    for module in (searches, studies):
        monkeypatch.setattr(module, "GRACE_SECONDS", 1)
    for module in (searches, studies, trials):
        monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 1)


def test_interrupted_trial_is_requeued(search, tmp_path, monkeypatch, study, fake_train):
    def interrupt(cfg, folder, **_):
        raise Interrupted("stopped")

    monkeypatch.setattr(run, "train", interrupt)
    assert search("hydra.sweeper.n_trials=1")[0] == 130
    monkeypatch.setattr(run, "train", fake_train)
    assert search("hydra.sweeper.n_trials=1")[0] == 0
    found = study().trials
    assert [trial.state.name for trial in found] == ["FAIL", "COMPLETE"]
    assert found[1].params == found[0].params
    assert len(list(tmp_path.rglob("metrics.csv"))) == 1


def test_trial_is_tested_once_by_its_own_command(search, run_script, tmp_path):
    status, output = search("hydra.sweeper.n_trials=1", "epochs=1", "overwrite=true")
    assert status == 0
    (folder,) = (path.parent for path in tmp_path.rglob("best.ckpt"))
    assert (folder / "status.txt").read_text().startswith("validated: not tested")
    assert not {"metrics.json", "predictions.npz"} & {path.name for path in folder.iterdir()}
    command = shlex.split(output.splitlines()[-1].partition("python train.py ")[2])
    status, output = run_script(TRAIN, *command)
    assert status == 0
    assert "epoch 1:" not in output
    assert json.loads((folder / "metrics.json").read_text())["test"]["accuracy"] >= 0
    assert not (folder / "status.txt").exists()
    assert "already finished" in run_script(TRAIN, *command)[1]


@pytest.mark.slow
@pytest.mark.fault("SIGKILL of a search", "its trial is requeued and resumes")
def test_killed_search_resumes(search, tmp_path, study, command, short_grace):
    arguments = ("epochs=60", "hydra.sweeper.n_trials=1")
    process = subprocess.Popen([*command, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    while "epoch 3:" not in process.stdout.readline():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    status, output = search(*arguments)
    assert status == 0
    assert "epoch 60:" in output
    assert "epoch 1:" not in output
    found = study().trials
    assert [trial.state.name for trial in found] == ["FAIL", "COMPLETE"]
    assert found[1].params == found[0].params
    (table,) = tmp_path.rglob("metrics.csv")
    assert len(table.read_text().splitlines()) == 1 + 60


def test_trial_of_a_dead_process_is_requeued_before_new_ones(search, location, study, short_grace, fake_train):
    assert search("hydra.sweeper.n_trials=1")[0] == 0
    space = study().trials[0].distributions
    trials.TrialQueue(location, "val/accuracy").ask(space, seed=5, n_startup_trials=9)
    assert search("hydra.sweeper.n_trials=2")[0] == 0
    found = study().trials
    assert [trial.state.name for trial in found] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert found[2].params == found[1].params


def test_trial_that_died_before_its_first_heartbeat_is_requeued(location, short_grace):
    queue = trials.TrialQueue(location, "val/accuracy")
    dead = queue.study.ask(SPACE)
    queue.fail_stale_trials()
    sleep(2.5)
    queue.fail_stale_trials()
    assert [trial.state.name for trial in queue.study.trials] == ["FAIL", "WAITING"]
    assert queue.ask(SPACE, seed=2, n_startup_trials=9).params == dead.params


def test_interrupted_search_proposes_the_same_trials(location):
    """Interrupts the second trial, which is random, and the fourth, which TPE proposes."""

    def proposals(study, interrupt_at):
        queue = trials.TrialQueue(location._replace(study=study), "val/accuracy")
        for number in range(4 + len(interrupt_at)):
            trial = queue.ask(SPACE, seed=1, n_startup_trials=2)
            if number in interrupt_at:
                queue.requeue_unfinished(trial)
                queue = trials.TrialQueue(location._replace(study=study), "val/accuracy")
            else:
                queue.tell(trial, JobResult("a", "finished", value=trial.params["x"]))
        return [trial.params for trial in queue.ended()]

    whole = proposals("whole", ())
    assert len(whole) == 4
    assert proposals("s", (1, 4)) == whole


def test_trial_with_heartbeats_is_not_stale(location, study, short_grace, monkeypatch):
    queue = trials.TrialQueue(location, "val/accuracy")
    trial = queue.ask(SPACE, seed=1, n_startup_trials=2)
    monkeypatch.setattr(trials, "HEARTBEAT_SECONDS", 0.2)
    with queue.heartbeat([trial]):
        sleep(2.5)
        optuna.storages.fail_stale_trials(queue.study)
    assert [trial.state.name for trial in study().trials] == ["RUNNING"]


def test_failed_launcher_loses_only_unfinished_jobs(search, monkeypatch, study, fake_train):
    """Raises an error after the first of two jobs, as submitit does for a job that ran out of memory."""
    original = Plugins.instantiate_launcher

    def instantiate(self, **settings):
        launcher = original(self, **settings)
        launch = launcher.launch

        def fail(jobs, initial_job_idx):
            launch(jobs[:1], initial_job_idx)
            raise RuntimeError("a worker was killed")

        launcher.launch = fail
        return launcher

    two = ("hydra.sweeper.n_trials=2", "hydra.sweeper.max_batch_size=2")
    with monkeypatch.context() as patch:
        patch.setattr(Plugins, "instantiate_launcher", instantiate)
        status, output = search(*two)
    assert status == "train.py: 1 of 2 jobs failed: the launcher failed: RuntimeError: a worker was killed"
    assert "1 finished, 1 lost" in output
    assert "Traceback" not in output
    status, output = search(*two)
    assert status == 0
    assert "2 finished" in output
    found = study().trials
    assert [trial.state.name for trial in found] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert found[2].params == found[1].params


def test_trial_whose_folder_is_in_use_is_requeued(search, monkeypatch, study, fake_train):
    def fail(cfg, folder, **_):
        raise Busy(f"{folder} is locked by another process")

    monkeypatch.setattr(run, "train", fail)
    status, output = search("hydra.sweeper.n_trials=1")
    assert "is locked by another process" in status
    assert "1 lost" in output
    monkeypatch.setattr(run, "train", fake_train)
    assert search("hydra.sweeper.n_trials=1")[0] == 0
    assert [trial.state.name for trial in study().trials] == ["FAIL", "COMPLETE"]


def test_stale_trial_is_requeued_once(location):
    queue = trials.TrialQueue(location, "val/accuracy")
    opened = queue.study
    first, second = opened.ask(), opened.ask()
    opened.tell(first, state=optuna.trial.TrialState.FAIL)
    for trial in (first, second):
        queue.requeue_unfinished(trial)
    assert [trial.state.name for trial in opened.trials] == ["FAIL", "FAIL", "WAITING"]


def test_results_of_another_process_are_reported(search, tmp_path, study, fake_train):
    """The second process has no trial to run and reports all results, including failures."""
    arguments = ("hydra.sweeper.n_trials=2", "model.learning_rate=choice(1e30,0.001)")
    study().enqueue_trial({"model.learning_rate": "1e+30"})
    study().enqueue_trial({"model.learning_rate": "0.001"})
    first, output = search(*arguments)
    assert first.startswith("train.py: 1 of 2 jobs failed: train/loss is nan")
    (table,) = (tmp_path / "runs/sweeps").iterdir()
    text = table.read_text()
    table.unlink()
    second, second_output = search(*arguments)
    assert second == first
    assert output.splitlines()[-3:] == second_output.splitlines()[-3:]
    assert table.read_text() == text
