"""Tests that a run killed at any moment and resumed equals an uninterrupted run bit by bit."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import SMALL, Attempt, difference

KILLS = int(os.environ.get("KILLS", "5"))
"""Number of kills over all scenarios; KILLS=100 pytest -m slow tests/faults/test_kills.py"""

TWO = ("model=mlp", "data.random_flip=true", "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "epochs=6")
TRAIN = Path(__file__).resolve().parents[2] / "train.py"

SCENARIOS = {
    "prototype": "model=prototype data.random_flip=true data.random_shift_px=2",
    "mlp": "experiment=mlp_best data.cutout_px=8 ema_decay=0.9",
    "cnn, bfloat16": "experiment=cnn_fast model.warmup_fraction=0.2 precision=bf16-mixed data.random_shift_px=2 "
    "ema_decay=0.9",
    "weiszfeld": "experiment=prototype_exact model.prototypes_per_class=2",
    "constant rate, checkpoints at time intervals": "model=mlp data.random_flip=true checkpoint.every_n_minutes=0.0001",
}


def settings_of(scenario):
    return [*SCENARIOS[scenario].split(), "epochs=3", "checkpoint.every_n_steps=3"]


def kill_at_random_moments(settings, whole, moments, rng, kills, folder):
    """Kills each run up to three times, resumes it and compares it with `whole`, until `kills` is reached."""
    killed = 0
    for run in range(2 * kills):
        broken = folder / str(run)
        for _ in range(min(3, kills - killed)):
            ending = Attempt(settings, broken, die_at := rng.randint(1, moments)).end()
            killed += ending == "killed"
            if ending != "killed":
                break
        if ending == "killed":
            Attempt(settings, broken).finish()
        assert difference(broken, whole) == "", f"{run}, at the last {die_at}"
        if killed == kills:
            return
    pytest.fail(f"{killed} of {kills} kills")


def test_run_killed_twice_equals_uninterrupted_run(tmp_path):
    settings = ["model=mlp", "data.random_flip=true", "ema_decay=0.9", "epochs=2", "checkpoint.every_n_steps=3"]
    moments = Attempt(settings, tmp_path / "whole").finish()
    kill_at_random_moments(settings, tmp_path / "whole", moments, random.Random(0), 2, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_runs_equal_uninterrupted_run(scenario, tmp_path, tally):
    settings, kills = settings_of(scenario), max(KILLS // len(SCENARIOS), 1)
    moments = Attempt(settings, tmp_path / "whole").finish()
    rng = random.Random(f"kills of {scenario}")
    kill_at_random_moments(settings, tmp_path / "whole", moments, rng, kills, tmp_path)
    tally(f"SIGKILL at a random moment ({scenario})", kills, "weights, tables, curves and results are bit-identical")


@pytest.mark.slow
@pytest.mark.fault(
    "SIGKILL of the first process of a run of two", "the other exits too, the resumed run is bit-identical"
)
@pytest.mark.parametrize("epoch", [1, 3])
def test_killed_run_of_two_processes_equals_uninterrupted_run(epoch, tmp_path):
    """Runs train.py. The other process exits too and releases the lock."""
    for name in ("whole", "broken"):
        command = [
            sys.executable,
            str(TRAIN),
            *SMALL,
            *TWO,
            "checkpoint.every_n_steps=2",
            f"hydra.run.dir={tmp_path / name}",
        ]
        if name == "broken":
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            while f"epoch {epoch}:" not in process.stdout.readline():
                assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (tmp_path / name / "train.log").unlink()
    assert difference(tmp_path / "broken", tmp_path / "whole") == ""
