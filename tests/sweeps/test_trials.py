"""Trials that are lost, killed or interrupted, and what is begun again."""

import json
import os
import signal
import subprocess
from itertools import product

import optuna
import pytest
from hydra.core.plugins import Plugins

from cifar10.sweeps import search as searching
from cifar10.sweeps import study as studies
from cifar10.sweeps import trials
from cifar10.sweeps.trials import again, outcomes


def hurry(monkeypatch):
    """What is silent for a second is taken for dead."""
    for module, name in product((searching, studies, trials), ("SILENT_SECONDS", "HEARTBEAT_SECONDS")):
        monkeypatch.setattr(module, name, 1)


def test_an_interrupted_trial_is_begun_again(search, tmp_path, monkeypatch, study):
    from cifar10.training.checkpoints import LastCheckpoint

    original = LastCheckpoint.on_train_epoch_end

    def press_ctrl_c(self, *args):
        signal.raise_signal(signal.SIGINT)
        original(self, *args)

    monkeypatch.setattr(LastCheckpoint, "on_train_epoch_end", press_ctrl_c)
    assert search("hydra.sweeper.n_trials=2")[0] == 130
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert search("hydra.sweeper.n_trials=2")[0] == 0
    found = study().trials
    assert [trial.state.name for trial in found] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert found[1].params == found[0].params
    assert len(list(tmp_path.rglob("metrics.json"))) == 2


@pytest.mark.slow
@pytest.mark.fault("SIGKILL of a search", "its trial is begun again and goes on")
def test_a_killed_search_goes_on(search, tmp_path, monkeypatch, study, command):
    arguments = ("epochs=60", "hydra.sweeper.n_trials=1")
    process = subprocess.Popen([*command, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    while "epoch 3:" not in process.stdout.readline():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    hurry(monkeypatch)
    status, said = search(*arguments)
    assert status == 0
    assert "epoch 60:" in said
    assert "epoch 1:" not in said
    found = study().trials
    assert [trial.state.name for trial in found] == ["FAIL", "COMPLETE"]
    assert found[1].params == found[0].params
    (record,) = tmp_path.rglob("metrics.json")
    assert json.loads(record.read_text())["epochs"] == 60


def test_a_trial_that_died_before_its_first_sign_of_life_is_given_up(search, monkeypatch, study):
    hurry(monkeypatch)
    assert search("hydra.sweeper.n_trials=1")[0] == 0
    study().ask()
    status, said = search("hydra.sweeper.n_trials=2")
    assert status == 0
    assert "waiting 1 seconds to see whether its 1 running trials live" in said
    assert [trial.state.name for trial in study().trials] == ["COMPLETE", "FAIL", "COMPLETE"]


def test_a_launcher_that_ends_with_an_error_costs_only_what_had_not_finished(search, tmp_path, monkeypatch, study):
    """As submitit does for a job that ran out of memory: here after the first of two."""
    original = Plugins.instantiate_launcher

    def instantiate(self, **settings):
        launcher = original(self, **settings)
        launch = launcher.launch

        def fail(jobs, initial_job_idx):
            launch(jobs[:1], initial_job_idx)
            raise RuntimeError("a worker was killed")

        launcher.launch = fail
        return launcher

    monkeypatch.setattr(Plugins, "instantiate_launcher", instantiate)
    two = ("hydra.sweeper.n_trials=2", "hydra.sweeper.max_batch_size=2")
    status, said = search(*two)
    assert status == "train.py: 1 of 2 jobs failed: RuntimeError: a worker was killed"
    assert "1 finished, 1 lost" in said
    assert "Traceback" not in said
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    status, said = search(*two)
    assert status == 0
    assert "2 finished" in said
    found = study().trials
    assert [trial.state.name for trial in found] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert found[2].params == found[1].params


def test_a_folder_that_another_process_has_costs_no_trial(search, tmp_path, monkeypatch, study):
    from cifar10.training import lock

    monkeypatch.setattr(lock.FileLock, "acquire", lambda *_, **__: (_ for _ in ()).throw(lock.Timeout("")))
    status, said = search("hydra.sweeper.n_trials=1")
    assert "is in use by another process" in status
    assert "1 lost" in said
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert search("hydra.sweeper.n_trials=1")[0] == 0
    assert [trial.state.name for trial in study().trials] == ["FAIL", "COMPLETE"]


def test_a_trial_that_was_begun_again_elsewhere_is_not_once_more(study):
    opened = study()
    first, second = opened.ask(), opened.ask()
    opened.tell(first, state=optuna.trial.TrialState.FAIL)
    for trial in (first, second):
        again(opened, trial)
    assert [trial.state.name for trial in opened.trials] == ["FAIL", "FAIL", "WAITING"]


def test_a_trial_of_which_no_folder_is_known_is_not_looked_for(study):
    opened = study()
    opened.tell(opened.ask(), 0.5)
    assert outcomes(opened) == []


def test_another_command_s_trials_are_told_too(search, tmp_path, study):
    """The second one has nothing to do, and says what there is, failures included."""
    arguments = ("hydra.sweeper.n_trials=2", "model.learning_rate=choice(1e30,0.001)", "model.batch_norm=false")
    study().enqueue_trial({"model.learning_rate": "1e+30"})
    study().enqueue_trial({"model.learning_rate": "0.001"})
    first, said = search(*arguments)
    assert first.startswith("train.py: 1 of 2 jobs failed: train/loss is nan")
    (table,) = (tmp_path / "runs/sweeps").iterdir()
    kept = table.read_text()
    table.unlink()
    again, said_again = search(*arguments)
    assert again == first
    assert said.splitlines()[-3:] == said_again.splitlines()[-3:]
    assert table.read_text() == kept
