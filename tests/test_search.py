"""Searches by Optuna through `python train.py -m`, on drawn images."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins

from cifar10 import search as searching
from cifar10 import study as studies
from cifar10.errors import UserError
from cifar10.pruning import Pruning
from cifar10.study import StudyPlace, Trial
from cifar10.sweep import Outcome

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
    "weight_averaging=null",  # of so few steps it would be that of the initial weights
)
TWO = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
SMALL += (
    "hydra.sweeper.pruner=null",
    "trainer.enable_progress_bar=false",
    "hydra.sweeper.study=s",
    "hydra.sweeper.storage=sqlite:///s.db",
)


@pytest.fixture
def search(monkeypatch, tmp_path, run_script):
    """Runs a search in an empty folder; returns its exit status or message, and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    return partial(run_script, TRAIN, "-m", *SMALL)


def study(folder):
    return StudyPlace("s", f"sqlite:///{folder}/s.db", None).open("val/accuracy")


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


@pytest.mark.parametrize(
    ("pruner", "processes"),
    [("halving", ()), ("median", ()), pytest.param("halving", TWO, marks=pytest.mark.slow)],
    ids=["halving", "median", "two processes"],
)
def test_a_poor_trial_is_ended_early(pruner, processes, search, tmp_path):
    """Good rates first, then one that can only be poor."""
    settings = ("epochs=3", "hydra.sweeper.n_trials=3", "model.learning_rate=interval(1e-9,0.002)", *processes)
    for rate in (0.002, 0.001, 1e-9):
        study(tmp_path).enqueue_trial({"model.learning_rate": rate})
    status, said = search(*settings, f"hydra.sweeper.pruner={pruner}")
    assert status == 0
    first, *_, last = study(tmp_path).trials
    assert (first.state.name, last.state.name) == ("COMPLETE", "PRUNED")
    assert 1 <= len(last.intermediate_values) <= 2
    folder = tmp_path / last.user_attrs["folder"]
    assert (folder / "stopped.txt").read_text().startswith("pruned: after epoch ")
    assert (folder / "last.ckpt").exists()
    assert not (folder / "metrics.json").exists()
    assert " pruned" in said


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
    status, said = search(*arguments)
    assert status == 0
    assert "epoch 60:" in said
    assert "epoch 1:" not in said
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
    trials = StudyPlace("loss", f"sqlite:///{tmp_path}/s.db", None).open("val/loss").trials
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
    trials = study(tmp_path).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert trials[2].params == trials[1].params


def test_a_folder_that_another_process_has_costs_no_trial(search, tmp_path, monkeypatch):
    from cifar10 import lock

    monkeypatch.setattr(lock.FileLock, "acquire", lambda *_, **__: (_ for _ in ()).throw(lock.Timeout("")))
    status, said = search("hydra.sweeper.n_trials=1")
    assert "is in use by another process" in status
    assert "1 lost" in said
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert search("hydra.sweeper.n_trials=1")[0] == 0
    assert [trial.state.name for trial in study(tmp_path).trials] == ["FAIL", "COMPLETE"]


def test_what_is_no_setting_s_fault_costs_few_trials(search, tmp_path, monkeypatch):
    from cifar10.data.synthetic import SyntheticData

    def missing(_):
        raise UserError("no data here")

    monkeypatch.setattr(SyntheticData, "prepare_data", missing)
    assert search("hydra.sweeper.n_trials=20")[0] == "train.py: 3 of 3 jobs failed: no data here"
    assert len(study(tmp_path).trials) == 3


@pytest.mark.parametrize(
    ("outcomes", "alike"),
    [
        ([Outcome(Path("runs", name), "failed", f"cannot write runs/{name}/last.ckpt: full") for name in "abc"], True),
        ([Outcome(Path("a"), "failed", "loss is nan")] * 3, False),  # one run, proposed again
        ([Outcome(Path(name), "failed", "val/loss is nan", float("nan")) for name in "abc"], False),
        ([Outcome(Path(name), "pruned", "poor") for name in "abc"], False),
        ([Outcome(Path(name), "failed", "no data") for name in "ab"], False),
    ],
)
def test_what_counts_as_failing_alike(outcomes, alike):
    assert searching._failed_alike(outcomes) == alike


def test_a_trial_that_was_begun_again_elsewhere_is_not_once_more(tmp_path):
    opened = study(tmp_path)
    first, second = opened.ask(), opened.ask()
    opened.tell(first, state=optuna.trial.TrialState.FAIL)
    for trial in (first, second):
        searching._again(opened, trial)
    assert [trial.state.name for trial in opened.trials] == ["FAIL", "FAIL", "WAITING"]


def test_a_trial_of_which_no_folder_is_known_is_not_looked_for(tmp_path):
    opened = study(tmp_path)
    opened.tell(opened.ask(), 0.5)
    assert searching._outcomes(opened) == []


def test_a_trial_that_was_taken_for_dead_goes_on(tmp_path):
    trial = study(tmp_path).ask()
    study(tmp_path).tell(trial, state=optuna.trial.TrialState.FAIL)
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,val/accuracy\n1,0.25\n")
    place = StudyPlace("s", f"sqlite:///{tmp_path}/s.db", "median")
    assert not Pruning(Trial(place, trial.number), table, "val/accuracy")._is_poor()


def test_another_command_s_trials_are_told_too(search, tmp_path):
    """The second one has nothing to do, and says what there is, failures included."""
    arguments = ("hydra.sweeper.n_trials=2", "model.learning_rate=choice(1e30,0.001)", "model.batch_norm=false")
    study(tmp_path).enqueue_trial({"model.learning_rate": "1e+30"})
    study(tmp_path).enqueue_trial({"model.learning_rate": "0.001"})
    first, said = search(*arguments)
    assert first.startswith("train.py: 1 of 2 jobs failed: train/loss is nan")
    (table,) = (tmp_path / "runs/sweeps").iterdir()
    kept = table.read_text()
    table.unlink()
    again, said_again = search(*arguments)
    assert again == first
    assert said.splitlines()[-3:] == said_again.splitlines()[-3:]
    assert table.read_text() == kept


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_a_search_under_each_launcher(launcher, tmp_path):
    """Two trials at a time, in processes of their own, of which one ends early."""
    rates = ("hydra.sweeper.max_batch_size=2", "hydra.sweeper.n_trials=4", "model.learning_rate=interval(1e-9,0.002)")
    for rate in (0.002, 0.001, 1e-9, 0.0015):
        study(tmp_path).enqueue_trial({"model.learning_rate": rate})
    rates += ("epochs=3", "hydra.sweeper.pruner=median")
    command = [sys.executable, TRAIN, "-m", *SMALL, *rates, f"hydra/launcher={launcher}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    states = [trial.state.name for trial in study(tmp_path).trials]
    assert states[:3] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert len(states) == 4


def test_a_study_is_of_one_monitor(search):
    assert search("hydra.sweeper.n_trials=1")[0] == 0
    assert search("hydra.sweeper.n_trials=2", "monitor=val/loss")[0].startswith(
        "train.py: study s was begun for monitor=val/accuracy, now it is val/loss; set it back, or begin another"
    )


@pytest.mark.parametrize("other", ["data.flip=choice(true)", "model.warmup=interval(0.1,0.2)", "epochs=1"])
def test_a_study_is_of_one_space_and_settings(other, search):
    assert search("hydra.sweeper.n_trials=1", "runs=there")[0] == 0
    status = search("hydra.sweeper.n_trials=2", other)[0]
    assert status.startswith("train.py: study s was begun with other settings, see ")
    assert other in status


def test_a_password_is_not_shown():
    shown = [StudyPlace("s", url, None).shown for url in ("postgresql://me:secret@host/db", "sqlite:///a.db")]
    assert shown == ["postgresql://me:***@host/db", "sqlite:///a.db"]


def test_epochs_before_a_resumption_are_reported_too(tmp_path):
    study(tmp_path).ask()
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,val/accuracy\n1,0.25\n2,0.5\n")
    pruning = Pruning(Trial(StudyPlace("s", f"sqlite:///{tmp_path}/s.db", None), 0), table, "val/accuracy")
    assert not pruning._is_poor()
    assert study(tmp_path).trials[0].intermediate_values == {1: 0.25, 2: 0.5}
    assert not pruning._is_poor()


def test_a_name_of_a_study_may_hold_anything():
    study_of = StudyPlace("it's model=a,b", "sqlite:///x.db", None)
    parsed = OverridesParser.create().parse_overrides(study_of.overrides())
    assert [override.value() for override in parsed] == ["it's model=a,b", "sqlite:///x.db"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["hydra.sweeper.n_trial=3"],
            "there is no setting hydra.sweeper.n_trial; did you mean hydra.sweeper.n_trials?",
        ),
        (["hydra.sweeper.pruner=x"], "hydra.sweeper.pruner=x: choose halving, hyperband, median or null"),
        (["hydra.sweeper.params=null"], "nothing to search: give a space"),
        (["hydra.sweeper.params=abc"], "hydra.sweeper.params=abc: expected a space"),
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
    status, said = search(*arguments)
    assert status.startswith(f"train.py: {line}")
    assert "\n" not in status
    assert "Traceback" not in said


def test_a_file_that_is_no_study(search, tmp_path):
    (tmp_path / "s.db").write_text("no database " * 100)
    assert search()[0].startswith("train.py: the study in sqlite:///s.db cannot be used: file is not a database")


def test_a_locked_study(search, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "LOCK_SECONDS", 0.1)
    study(tmp_path)
    with sqlite3.connect(tmp_path / "s.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert search()[0].startswith("train.py: the study in sqlite:///s.db cannot be used: database is locked")
