"""Searches by Optuna through `python train.py -m`, on drawn images."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from cifar10.errors import UserError
from cifar10.sweeps.jobs import Outcome
from cifar10.sweeps.search import _failed_alike
from cifar10.sweeps.study import StudyPlace


def test_a_search_goes_on_until_there_are_so_many_trials(search, tmp_path, study):
    assert search("hydra.sweeper.n_trials=2")[0] == 0
    status, said = search("hydra.sweeper.n_trials=3")
    assert status == 0
    assert "study s in sqlite:///s.db: 2 of 3 trials done" in said
    trials = study().trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    records = [json.loads(path.read_text()) for path in (tmp_path / "runs/search_mlp").rglob("metrics.json")]
    assert sorted(trial.value for trial in trials) == sorted(record["val_accuracy"] for record in records)
    rates = {float(f"{trial.params['model.learning_rate']:.4g}") for trial in trials}
    assert rates == {record["config"]["model"]["learning_rate"] for record in records}
    assert search("hydra.sweeper.n_trials=3")[0] == 0
    assert len(study().trials) == 3


def test_a_job_that_begins_in_another_folder_finds_its_study(search, study, elsewhere):
    assert search("hydra.sweeper.n_trials=1", "hydra.sweeper.pruner=halving")[0] == 0
    assert [trial.state.name for trial in study().trials] == ["COMPLETE"]
    assert not list(elsewhere.iterdir())


def test_a_trial_that_diverges_has_failed_and_the_search_goes_on(search, study):
    status, _ = search("hydra.sweeper.n_trials=2", "model.learning_rate=choice(1e30)", "model.batch_norm=false")
    assert status.startswith("train.py: 2 of 2 jobs failed: ")
    assert [trial.state.name for trial in study().trials] == ["FAIL", "FAIL"]
    assert all("learning rate" in trial.user_attrs["error"] for trial in study().trials)


def test_a_result_that_is_no_number_is_a_failed_trial(search, tmp_path):
    settings = ("model.batch_norm=false", "stop_on_divergence=false", "monitor=val/loss", "hydra.sweeper.study=loss")
    status, _ = search("hydra.sweeper.n_trials=2", "model.learning_rate=interval(1e29,1e30)", *settings)
    assert status.startswith("train.py: 2 of 2 jobs failed: val/loss is nan")
    trials = StudyPlace("loss", f"sqlite:///{tmp_path}/s.db", None).open("val/loss").trials
    assert [(trial.state.name, trial.user_attrs["error"]) for trial in trials] == [("FAIL", "val/loss is nan")] * 2


def test_equal_proposals_of_one_batch_are_one_run(search, tmp_path, study):
    """Three trials over two values: two of them would share a folder."""
    fixed = [f"model.{name}=0.1" for name in ("learning_rate", "warmup", "weight_decay")]
    fixed += ["model.warmup_fraction=0.5", "data.random_shift_px=0", "data.random_flip=choice(false,true)"]
    status, said = search("hydra.sweeper.n_trials=3", "hydra.sweeper.max_batch_size=3", *fixed)
    assert status == 0
    trials = study().trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    folders = list(tmp_path.rglob("metrics.json"))
    assert len(folders) == len({trial.params["data.random_flip"] for trial in trials}) < 3
    assert "finished before" not in said


@pytest.mark.parametrize("models", ["cnn,mlp", "mlp,cnn"])
def test_a_choice_that_another_does_not_allow_is_a_failed_trial(models, search, study):
    """The MLP has no first layer to whiten: its trials fail, and those of the CNN go on."""
    for model in ("mlp", "cnn"):
        study().enqueue_trial({"model": model, "model.whitening_init": "False"})
    space = ("search=custom", f"model=choice({models})", "model.whitening_init=choice(false)", "monitor=val/accuracy")
    status, said = search(*space, "hydra.sweeper.n_trials=2")
    line = "there is no setting model.whitening_init here, only with another model=, data=, search= or trainer="
    assert status == f"train.py: 1 of 2 jobs failed: {line}"
    assert f"failed: {line}\n" in said
    assert [trial.state.name for trial in study().trials] == ["FAIL", "COMPLETE"]
    assert search(*space, "hydra.sweeper.n_trials=2")[0] == status


def test_what_is_no_setting_s_fault_costs_few_trials(search, monkeypatch, study):
    from cifar10.data.synthetic import SyntheticData

    def missing(_):
        raise UserError("no data here")

    monkeypatch.setattr(SyntheticData, "prepare_data", missing)
    assert search("hydra.sweeper.n_trials=20")[0] == "train.py: 3 of 3 jobs failed: no data here"
    assert len(study().trials) == 3


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
    assert _failed_alike(outcomes) == alike


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_a_search_under_each_launcher(launcher, tmp_path, study, command):
    """Two trials at a time, in processes of their own, of which one ends early."""
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
    "other", ["data.random_flip=choice(true)", "model.warmup_fraction=interval(0.1,0.2)", "epochs=1"]
)
def test_a_study_is_of_one_space_and_settings(other, search):
    assert search("hydra.sweeper.n_trials=1", "runs=there")[0] == 0
    status = search("hydra.sweeper.n_trials=2", other)[0]
    assert status.startswith("train.py: study s was begun with other settings, see ")
    assert other in status


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
        (["data.random_shift_px=range(5,5)"], "data.random_shift_px=range(5,5): "),
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
