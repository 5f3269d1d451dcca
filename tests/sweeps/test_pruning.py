"""Poor trials, ended early."""

import sqlite3

import optuna
import pytest

from cifar10.errors import UserError
from cifar10.sweeps import study as studies
from cifar10.sweeps.pruning import Pruning
from cifar10.sweeps.study import Trial

TWO = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")


@pytest.mark.parametrize(
    ("pruner", "processes"),
    [("halving", ()), ("median", ()), pytest.param("halving", TWO, marks=pytest.mark.slow)],
    ids=["halving", "median", "two processes"],
)
def test_a_poor_trial_is_ended_early(pruner, processes, search, tmp_path, study):
    """Good rates first, then one that can only be poor."""
    settings = ("epochs=3", "hydra.sweeper.n_trials=3", "model.learning_rate=interval(1e-9,0.002)", *processes)
    for rate in (0.002, 0.001, 1e-9):
        study().enqueue_trial({"model.learning_rate": rate})
    status, said = search(*settings, f"hydra.sweeper.pruner={pruner}")
    assert status == 0
    first, *_, last = study().trials
    assert (first.state.name, last.state.name) == ("COMPLETE", "PRUNED")
    assert 1 <= len(last.intermediate_values) <= 2
    folder = tmp_path / last.user_attrs["folder"]
    assert (folder / "status.txt").read_text().startswith("pruned: after epoch ")
    assert (folder / "last.ckpt").exists()
    assert not (folder / "metrics.json").exists()
    assert " pruned" in said


def test_a_trial_that_was_taken_for_dead_goes_on(tmp_path, study, place, caplog):
    trial = study().ask()
    study().tell(trial, state=optuna.trial.TrialState.FAIL)
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,val/accuracy\n1,0.25\n")
    assert not Pruning(Trial(place._replace(pruner="median"), trial.number), table, "val/accuracy")._is_poor()
    assert caplog.text == ""


def test_a_trial_is_judged_by_epochs_that_are_told_late_too(tmp_path, study, place):
    """By successive halving only the first and the third epoch count: here the first one, told with the second."""
    halving = place._replace(pruner="halving")
    for accuracy in (0.7, 0.8, 0.9):
        other = halving.open("val/accuracy").ask()
        other.report(accuracy, 1)
        other.should_prune()
    trial = study().ask()
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,val/accuracy\n1,0.25\n2,0.95\n")
    assert Pruning(Trial(halving, trial.number), table, "val/accuracy")._is_poor()


def test_a_study_that_is_away_for_a_moment_costs_nothing(tmp_path, study, place, monkeypatch, caplog):
    monkeypatch.setattr(studies, "LOCK_SECONDS", 0.1)
    study().ask()
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,val/accuracy\n1,0.25\n")
    pruning = Pruning(Trial(place, 0), table, "val/accuracy")
    with sqlite3.connect(tmp_path / "s.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert not pruning._is_poor()
        other.execute("ROLLBACK")
    assert "database is locked; set hydra.sweeper.storage=URL; the run goes on" in caplog.text
    assert study().trials[0].intermediate_values == {}
    table.write_text("epoch,val/accuracy\n1,0.25\n2,0.5\n")
    assert not pruning._is_poor()
    assert study().trials[0].intermediate_values == {1: 0.25, 2: 0.5}


def test_a_job_makes_no_study(tmp_path, place):
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,val/accuracy\n1,0.25\n")
    with pytest.raises(UserError, match="there is no study s in sqlite:///"):
        Pruning(Trial(place, 0), table, "val/accuracy")._is_poor()


def test_epochs_before_a_resumption_are_reported_too(tmp_path, study, place):
    study().ask()
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,val/accuracy\n1,0.25\n2,0.5\n")
    pruning = Pruning(Trial(place, 0), table, "val/accuracy")
    assert not pruning._is_poor()
    assert study().trials[0].intermediate_values == {1: 0.25, 2: 0.5}
    assert not pruning._is_poor()
