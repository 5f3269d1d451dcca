"""Tests of searches through `python train.py -m`, on synthetic images."""

import csv
import os
import subprocess

import pytest

from cifar10.errors import UserError
from cifar10.sweeps.jobs import JobResult
from cifar10.training import run

optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
searches = pytest.importorskip("cifar10.sweeps.search")
trials = pytest.importorskip("cifar10.sweeps.trials")

SPACE = {"x": optuna.distributions.FloatDistribution(0, 1)}


pytestmark = pytest.mark.usefixtures("fake_train")


def test_search_continues_until_the_study_has_n_trials(search, tmp_path, study):
    assert search("hydra.sweeper.n_trials=1")[0] == 0
    status, output = search("hydra.sweeper.n_trials=2", "runs=other")  # does not affect results
    assert status == 0
    assert "study s: 1 of 2 trials" in output
    trials = study().trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    (table,) = (tmp_path / "other/sweeps").iterdir()
    rows = list(csv.DictReader(table.open()))
    assert [float(row["val/accuracy"]) for row in rows] == sorted((trial.value for trial in trials), reverse=True)
    rates = {f"{trial.params['model.learning_rate']:.4g}" for trial in trials}
    assert rates == {row["model.learning_rate"] for row in rows}
    assert search("hydra.sweeper.n_trials=2")[0] == 0
    for other in ("data.random_flip=choice(true)", "monitor=val/loss"):
        status = search("hydra.sweeper.n_trials=3", other)[0]
        assert status.startswith("train.py: study s has trials with other settings")
        assert other in status
    assert len(study().trials) == 2


def test_diverged_trial_fails_and_the_search_continues(search, study):
    for rate in ("1e+30", "0.001"):
        study().enqueue_trial({"model.learning_rate": rate})
    status, _ = search("hydra.sweeper.n_trials=2", "model.learning_rate=choice(1e30,0.001)")
    assert status.startswith("train.py: 1 of 2 jobs failed: ")
    assert [trial.state.name for trial in study().trials] == ["FAIL", "COMPLETE"]
    assert "train/loss is nan" in study().trials[0].user_attrs["error"]


def test_trial_with_a_value_that_is_not_finite_fails(search, tmp_path):
    settings = ("stop_on_divergence=false", "monitor=val/loss", "hydra.sweeper.study_name=loss")
    status, _ = search("hydra.sweeper.n_trials=1", "model.learning_rate=interval(1e29,1e30)", *settings)
    assert status.startswith("train.py: 1 of 1 jobs failed: val/loss is nan")
    trials = searches.StudyLocation("loss", f"sqlite:///{tmp_path}/s.db").open("val/loss").trials
    assert [(trial.state.name, trial.user_attrs["error"]) for trial in trials] == [("FAIL", "val/loss is nan")]


def test_duplicate_trials_of_a_batch_run_once(search, tmp_path, study):
    """Runs three trials over two values: two trials share a folder."""
    fixed = ["model.learning_rate=0.1", "model.weight_decay=0.1", "data.random_shift_px=0"]
    fixed += ["data.random_flip=choice(false,true)"]
    assert search("hydra.sweeper.n_trials=3", "hydra.sweeper.max_batch_size=3", *fixed)[0] == 0
    trials = study().trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    folders = list(tmp_path.rglob("metrics.csv"))
    assert len(folders) == len({trial.params["data.random_flip"] for trial in trials}) < 3


def test_incompatible_choices_are_a_failed_trial(search, study):
    """The MLP has no whitening_init: its trials fail, and those of the CNN continue."""
    for model in ("mlp", "cnn"):
        study().enqueue_trial({"model": model, "model.whitening_init": "False"})
    space = ("search=custom", "model=choice(mlp,cnn)", "model.whitening_init=choice(false)", "monitor=val/accuracy")
    status, output = search(*space, "hydra.sweeper.n_trials=2")
    line = "unknown setting model.whitening_init"
    assert status.startswith(f"train.py: 1 of 2 jobs failed: {line}")
    assert f"failed: {line}" in output
    assert [trial.state.name for trial in study().trials] == ["FAIL", "COMPLETE"]


def test_identical_failures_stop_the_search(search, monkeypatch, study):
    def fail(cfg, folder, **_):
        raise UserError(f"{folder}: disk full")

    monkeypatch.setattr(run, "train", fail)
    status = search("hydra.sweeper.n_trials=20")[0]
    assert status.startswith("train.py: 3 of 3 jobs failed: ")
    assert status.endswith(": disk full")
    assert len(study().trials) == 3


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_trials_are_sorted_by_value_and_equal_ones_by_number(order, location):
    """Trials 0 and 1 have equal values. Trial 3 repeats the settings of trial 0."""
    for monitor, best in (("val/accuracy", [2, 0, 1]), ("val/loss", [0, 1, 2])):
        queue = trials.TrialQueue(location._replace(study=monitor), monitor)
        asked = [queue.ask(SPACE, seed=1, n_startup_trials=9) for _ in range(4)]
        asked[3].set_user_attr("settings", asked[0].user_attrs["settings"])
        for number in (*order, 3):
            queue.tell(asked[number], JobResult("a", "finished", value=(0.1, 0.1, 0.2, 0.1)[number]))
        assert [trial.number for trial in queue.best_first()] == best


@pytest.mark.parametrize(
    ("results", "stop"),
    [
        ([JobResult(f"runs/{name}", "failed", f"cannot write runs/{name}/last.ckpt") for name in "abc"], True),
        ([JobResult("a", "failed", "loss is nan")] * 3, False),  # the same run, proposed three times
        ([JobResult(name, "failed", "val/loss is nan", float("nan")) for name in "abc"], False),
        ([JobResult(name, "pruned", "poor") for name in "abc"], False),
        ([JobResult(name, "failed", "no data") for name in "ab"], False),
        ([JobResult(name, status) for name, status in (("a", "lost"), ("b", "finished"))], True),
        ([], False),
    ],
)
def test_identical_failures_and_lost_trials_stop_a_search(results, stop):
    assert searches._must_stop(results) == stop


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_search_with_each_launcher(launcher, tmp_path, study, command):
    """Runs two trials at a time in separate processes; one is pruned."""
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher", reason="launcher not installed")
    rates = ("hydra.sweeper.max_batch_size=2", "hydra.sweeper.n_trials=4", "model.learning_rate=interval(1e-9,0.002)")
    for rate in (0.002, 0.001, 1e-9, 0.0015):
        study().enqueue_trial({"model.learning_rate": rate})
    rates += ("epochs=3", "hydra.sweeper.pruner=median")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [*command, *rates, f"hydra/launcher={launcher}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    states = [trial.state.name for trial in study().trials]
    assert states[:3] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert len(states) == 4


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["hydra.sweeper.pruner=x"], "hydra.sweeper.pruner=x: choose halving, hyperband, median or null"),
        (["hydra.sweeper.params=null"], "nothing to search: "),
        (["hydra.sweeper.params=abc"], "hydra.sweeper.params=abc: expected a mapping"),
        (["data.random_shift_px=range(5,5)"], "data.random_shift_px=range(5,5): "),
        (["hydra.sweeper.seed=null"], "hydra.sweeper.seed=null: input should be a valid integer"),
        (["hydra.sweeper.storage=postgresql+none://a/b"], "study s cannot be used: "),
        (["model.learning_rat=interval(0,1)"], "unknown setting model.learning_rat; did you mean"),
    ],
)
def test_user_mistake_is_one_line(search, arguments, line):
    status, output = search(*arguments)
    assert status.startswith(f"train.py: {line}")
    assert "\n" not in status
    assert "Traceback" not in output
