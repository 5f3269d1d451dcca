"""Tests of pruning."""

import pickle
import sqlite3

import pytest

optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
studies = pytest.importorskip("cifar10.sweeps.study")
PruningCallback = pytest.importorskip("cifar10.sweeps.pruning").PruningCallback

TWO_RANKS = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")


@pytest.fixture
def write_epochs(tmp_path):
    """Returns a function that writes `metrics.csv` with these accuracies and returns its path."""

    def write(*accuracies):
        rows = (f"{epoch},{accuracy}\n" for epoch, accuracy in enumerate(accuracies, start=1))
        (tmp_path / "metrics.csv").write_text("epoch,val/accuracy\n" + "".join(rows))
        return tmp_path / "metrics.csv"

    return write


@pytest.mark.parametrize("ranks", [(), pytest.param(TWO_RANKS, marks=pytest.mark.slow)], ids=["one", "two"])
def test_poor_trial_is_pruned(ranks, search, tmp_path, study):
    """Enqueues two good learning rates, then a poor one."""
    settings = ("hydra.sweeper.n_trials=3", "model.learning_rate=interval(1e-9,0.002)", *ranks)
    for rate in (0.002, 0.001, 1e-9):
        study().enqueue_trial({"model.learning_rate": rate})
    status, output = search(*settings, "hydra.sweeper.pruner=halving")
    assert status == 0
    first, *_, last = study().trials
    assert (first.state.name, last.state.name) == ("COMPLETE", "PRUNED")
    assert list(last.intermediate_values) == [1]
    folder = tmp_path / last.user_attrs["folder"]
    assert (folder / "status.txt").read_text().startswith("pruned: after epoch ")
    assert (folder / "last.ckpt").exists()
    assert not (folder / "metrics.json").exists()
    assert " pruned" in output


@pytest.mark.parametrize(("pruner", "prunes"), [("median", True), ("hyperband", True), (None, False)])
def test_pruner_compares_with_other_trials(pruner, prunes, location, write_epochs):
    location = location._replace(pruner=pruner)
    opened = location.open("val/accuracy")
    for accuracy in (0.7, 0.8, 0.9, 0.7, 0.8, 0.9):
        other = opened.ask()
        for epoch in (1, 3, 9):
            other.report(accuracy, epoch)
            other.should_prune()
        opened.tell(other, accuracy)
    trial = opened.ask()
    callback = PruningCallback(location, trial.number, write_epochs(*[0.1] * 9), "val/accuracy")
    assert callback.should_prune() == prunes


def test_stale_trial_continues_without_reporting(study, location, write_epochs, monkeypatch, caplog):
    monkeypatch.setattr("logging.raiseExceptions", False)
    trial = study().ask()
    study().tell(trial, state=optuna.trial.TrialState.FAIL)
    callback = PruningCallback(location._replace(pruner="median"), trial.number, write_epochs(0.25), "val/accuracy")
    assert not callback.should_prune()
    assert "the run continues" in caplog.text


def test_trial_is_pruned_at_an_epoch_that_is_reported_late(study, location, write_epochs):
    """Successive halving compares epochs 1, 3, 9 ...; here epoch 1 is reported together with epoch 2."""
    halving = location._replace(pruner="halving")
    for accuracy in (0.7, 0.8, 0.9):
        other = halving.open("val/accuracy").ask()
        other.report(accuracy, 1)
        other.should_prune()
    trial = study().ask()
    assert PruningCallback(halving, trial.number, write_epochs(0.25, 0.95), "val/accuracy").should_prune()


def test_locked_database_does_not_fail_a_run(tmp_path, study, location, write_epochs, monkeypatch, caplog):
    monkeypatch.setattr(studies, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(studies, "sleep", lambda _: None)
    monkeypatch.setattr("logging.raiseExceptions", False)
    study().ask()
    callback = PruningCallback(location, 0, write_epochs(0.25), "val/accuracy")
    with sqlite3.connect(tmp_path / "s.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert not callback.should_prune()
        other.execute("ROLLBACK")
    assert "database is locked" in caplog.text
    assert study().trials[0].intermediate_values == {}
    write_epochs(0.25, 0.5)
    assert not callback.should_prune()
    assert study().trials[0].intermediate_values == {1: 0.25, 2: 0.5}


def test_job_creates_no_study(location, write_epochs):
    with pytest.raises(KeyError):
        PruningCallback(location, 0, write_epochs(0.25), "val/accuracy").should_prune()


def test_epochs_before_a_resumption_are_reported(study, location, write_epochs):
    study().ask()
    callback = PruningCallback(location, 0, write_epochs(0.25, 0.5), "val/accuracy")
    callback = pickle.loads(pickle.dumps(callback))  # as for the ranks of a run
    assert not callback.should_prune()
    assert study().trials[0].intermediate_values == {1: 0.25, 2: 0.5}
    assert not callback.should_prune()
