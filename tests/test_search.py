"""Searches by Optuna through `python train.py -m`, on drawn images."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins

from cifar10 import search as searching
from cifar10 import study as studies
from cifar10.pruning import Pruning
from cifar10.study import StudyPlace, Trial

TRAIN = str(Path(__file__).parent.parent / "train.py")
SMALL = (
    "search=mlp",
    "model.warmup=0.3",
    "batch_size=20",
    "data=synthetic",
    "data.train_size=200",
    "data.val_size=100",
    "data.test_size=20",
    "epochs=2",
)
SMALL += ("trainer.enable_progress_bar=false", "hydra.sweeper.study=s", "hydra.sweeper.storage=sqlite:///s.db")


@pytest.fixture
def search(monkeypatch, tmp_path, run_script):
    """Runs a search in an empty folder; returns its exit status or message, and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    return partial(run_script, TRAIN, "-m", *SMALL)


def study(folder):
    return StudyPlace("s", f"sqlite:///{folder}/s.db", None, 1).open("val/accuracy")


def test_a_search_goes_on_until_there_are_so_many_trials(search, tmp_path):
    assert search("hydra.sweeper.n_trials=2")[0] == 0
    status, said = search("hydra.sweeper.n_trials=3")
    assert status == 0
    assert "study s in sqlite:///s.db: 2 of 3 trials done" in said
    trials = study(tmp_path).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    records = [json.loads(path.read_text()) for path in (tmp_path / "runs/search_mlp").rglob("metrics.json")]
    assert sorted(trial.value for trial in trials) == sorted(record["val_accuracy"] for record in records)
    rates = {float(f"{trial.params['model.learning_rate']:.4g}") for trial in trials}
    assert rates == {record["config"]["model"]["learning_rate"] for record in records}
    assert search("hydra.sweeper.n_trials=3")[0] == 0
    assert len(study(tmp_path).trials) == 3


def test_a_trial_that_diverges_has_failed_and_the_search_goes_on(search, tmp_path):
    status, _ = search("hydra.sweeper.n_trials=2", "model.learning_rate=choice(1e30)", "model.batch_norm=false")
    assert status.startswith("train.py: 2 of 2 jobs failed: ")
    assert [trial.state.name for trial in study(tmp_path).trials] == ["FAIL", "FAIL"]
    assert all("learning rate" in trial.user_attrs["error"] for trial in study(tmp_path).trials)


def test_a_poor_trial_is_ended_early(search, tmp_path):
    """Good rates first, then one that can only be poor."""
    settings = ("epochs=3", "hydra.sweeper.startup_trials=1", "hydra.sweeper.pruner=median")
    assert search("hydra.sweeper.n_trials=2", "model.learning_rate=interval(0.001,0.002)", *settings)[0] == 0
    status, said = search("hydra.sweeper.n_trials=3", "model.learning_rate=interval(1e-9,1.1e-9)", *settings)
    assert status == 0
    assert "1 pruned" in said
    last = study(tmp_path).trials[-1]
    assert last.state.name == "PRUNED"
    assert 1 <= len(last.intermediate_values) <= 2
    (stopped,) = tmp_path.rglob("stopped.txt")
    assert stopped.read_text().startswith("pruned: after epoch ")
    assert (stopped.parent / "last.ckpt").exists()
    assert not (stopped.parent / "metrics.json").exists()


def test_an_interrupted_trial_is_begun_again(search, tmp_path, monkeypatch):
    from cifar10.checkpoints import LastCheckpoint

    original = LastCheckpoint.on_train_epoch_end

    def press_ctrl_c(self, *args):
        signal.raise_signal(signal.SIGINT)
        original(self, *args)

    monkeypatch.setattr(LastCheckpoint, "on_train_epoch_end", press_ctrl_c)
    assert search("hydra.sweeper.n_trials=2")[0] == 130
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert search("hydra.sweeper.n_trials=2")[0] == 0
    trials = study(tmp_path).trials
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert trials[1].params == trials[0].params
    assert len(list(tmp_path.rglob("metrics.json"))) == 2


@pytest.mark.slow
@pytest.mark.fault("SIGKILL of a search", "its trial is begun again and goes on")
def test_a_killed_search_goes_on(search, tmp_path, monkeypatch):
    arguments = ("epochs=60", "hydra.sweeper.n_trials=1")
    command = [sys.executable, TRAIN, "-m", *SMALL, *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    while "epoch 3:" not in process.stdout.readline():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    monkeypatch.setattr(studies, "SILENT_SECONDS", 1)
    for module in (searching, studies):
        monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 1)
    assert search(*arguments)[0] == 0
    trials = study(tmp_path).trials
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE"]
    assert trials[1].params == trials[0].params
    (record,) = tmp_path.rglob("metrics.json")
    assert json.loads(record.read_text())["epochs"] == 60


def test_a_trial_that_died_before_its_first_sign_of_life_is_given_up(search, tmp_path, monkeypatch):
    for module in (searching, studies):
        monkeypatch.setattr(module, "SILENT_SECONDS", 1)
    study(tmp_path).ask()
    status, said = search("hydra.sweeper.n_trials=1")
    assert status == 0
    assert "waiting 1 seconds to see whether its 1 running trials live" in said
    assert [trial.state.name for trial in study(tmp_path).trials] == ["FAIL", "COMPLETE"]


def test_a_result_that_is_no_number_is_a_failed_trial(search, tmp_path):
    settings = ("model.batch_norm=false", "stop_on_divergence=false", "monitor=val/loss", "hydra.sweeper.study=loss")
    status, _ = search("hydra.sweeper.n_trials=2", "model.learning_rate=interval(1e29,1e30)", *settings)
    assert status.startswith("train.py: 2 of 2 jobs failed: val/loss is nan")
    trials = StudyPlace("loss", f"sqlite:///{tmp_path}/s.db", None, 1).open("val/loss").trials
    assert [(trial.state.name, trial.user_attrs["error"]) for trial in trials] == [("FAIL", "val/loss is nan")] * 2


def test_equal_proposals_of_one_batch_are_one_run(search, tmp_path):
    """Three trials over two values: two of them would share a folder."""
    fixed = [f"model.{name}=0.1" for name in ("learning_rate", "warmup", "weight_decay")]
    fixed += ["model.warmup=0.5", "data.shift_px=0", "data.flip=choice(false,true)"]
    status, said = search("hydra.sweeper.n_trials=3", "hydra.sweeper.max_batch_size=3", *fixed)
    assert status == 0
    trials = study(tmp_path).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    folders = list(tmp_path.rglob("metrics.json"))
    assert len(folders) == len({trial.params["data.flip"] for trial in trials}) < 3
    assert "finished before" not in said


def test_a_launcher_that_ends_with_an_error_costs_only_what_had_not_finished(search, tmp_path, monkeypatch):
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
    status, _ = search("hydra.sweeper.n_trials=2", "hydra.sweeper.max_batch_size=2")
    assert status == "train.py: 1 of 2 jobs failed: RuntimeError: a worker was killed"
    trials = study(tmp_path).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL"]
    assert trials[1].user_attrs["error"] == "RuntimeError: a worker was killed"


def test_a_study_is_of_one_monitor(search):
    assert search("hydra.sweeper.n_trials=1")[0] == 0
    assert search("hydra.sweeper.n_trials=2", "monitor=val/loss")[0].startswith(
        "train.py: study s was begun for monitor=val/accuracy, now it is val/loss; set it back, or begin another"
    )


def test_a_study_is_of_one_space(search):
    assert search("hydra.sweeper.n_trials=1")[0] == 0
    assert search("hydra.sweeper.n_trials=2", "data.flip=choice(true)")[0].startswith(
        "train.py: study s was begun with other values of data.flip; set them back, or begin another"
    )


def test_a_password_is_not_shown():
    shown = [StudyPlace("s", url, None, 1).shown for url in ("postgresql://me:secret@host/db", "sqlite:///a.db")]
    assert shown == ["postgresql://me:***@host/db", "sqlite:///a.db"]


def test_epochs_before_a_resumption_are_reported_too(tmp_path):
    study(tmp_path).ask()
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,val/accuracy\n1,0.25\n2,0.5\n")
    pruning = Pruning(Trial(StudyPlace("s", f"sqlite:///{tmp_path}/s.db", None, 1), 0), table, "val/accuracy")
    assert not pruning._is_poor()
    assert study(tmp_path).trials[0].intermediate_values == {1: 0.25, 2: 0.5}
    assert not pruning._is_poor()


def test_a_name_of_a_study_may_hold_anything():
    study_of = StudyPlace("it's model=a,b", "sqlite:///x.db", None, 1)
    parsed = OverridesParser.create().parse_overrides(study_of.overrides())
    assert [override.value() for override in parsed] == ["it's model=a,b", "sqlite:///x.db"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["hydra.sweeper.n_trial=3"],
            "there is no setting hydra.sweeper.n_trial; did you mean hydra.sweeper.n_trials?",
        ),
        (["hydra.sweeper.pruner=x"], "hydra.sweeper.pruner=x: choose median, quarter, hyperband or null"),
        (["hydra.sweeper.params=null"], "nothing to search: give a space"),
        (["hydra.sweeper.storage=sqlite:////proc/x.db"], "the study in sqlite:////proc/x.db cannot be used: "),
        (["model.learning_rate=interval(1,0)"], "model.learning_rate=interval(1,0): "),
        (["data.shift_px=range(5,5)"], "data.shift_px=range(5,5): "),
        (["hydra.sweeper.max_batch_size=0"], "hydra.sweeper.max_batch_size=0: input should be greater than 0"),
        (["hydra.sweeper.n_trials=abc"], "hydra.sweeper.n_trials=abc: input should be a valid integer"),
        (["hydra.sweeper.seed=null"], "hydra.sweeper.seed=None: input should be a valid integer"),
        (["hydra.sweeper.storage=postgresql+none://a/b"], "the study in postgresql+none://a/b cannot be used: "),
        (["hydra.sweeper.storage=abc"], "the study in abc cannot be used: "),
        (["model.learning_rat=interval(0,1)"], "there is no setting model.learning_rat; did you mean"),
    ],
)
def test_a_mistake_is_one_line(search, arguments, line):
    status, _ = search(*arguments)
    assert status.startswith(f"train.py: {line}")
    assert "\n" not in status


def test_a_file_that_is_no_study(search, tmp_path):
    (tmp_path / "s.db").write_text("no database " * 100)
    assert search()[0].startswith("train.py: the study in sqlite:///s.db cannot be used: file is not a database")


def test_a_locked_study(search, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "LOCK_SECONDS", 0.1)
    study(tmp_path)
    with sqlite3.connect(tmp_path / "s.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert search()[0].startswith("train.py: the study in sqlite:///s.db cannot be used: database is locked")
