"""SIGKILL at any moment, and the same command again: to the bit what an uninterrupted run leaves."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import SMALL, Attempt, difference

KILLS = int(os.environ.get("KILLS", "5"))
"""How many in all; KILLS=100 pytest tests/faults/test_kills.py"""

TWO = ("model=mlp", "data.random_flip=true", "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "epochs=6")
TRAIN = Path(__file__).resolve().parents[2] / "train.py"

SCENARIOS = {
    "prototype": "model=prototype data.random_flip=true data.random_shift_px=2 ema_decay=0.9",
    "mlp": "experiment=mlp_best data.cutout_px=8 ema_decay=0.9",
    "cnn, bfloat16": "experiment=cnn_fast model.warmup_fraction=0.2 precision=bf16-mixed data.random_shift_px=2 "
    "ema_decay=0.9",
    "exact": "experiment=prototype_exact model.prototypes_per_class=2",
    "at a constant rate, saved by time": "model=mlp data.random_flip=true checkpoint.every_n_minutes=0.0001",
}


EACH = max(KILLS // len(SCENARIOS), 1)


@pytest.fixture(scope="module", params=SCENARIOS)
def whole(request, tmp_path_factory):
    """A run that was let alone: what it was, its folder, and how many moments it had."""
    settings = [*SCENARIOS[request.param].split(), "epochs=3", "checkpoint.every_n_steps=3"]
    folder = tmp_path_factory.mktemp("whole")
    return request.param, settings, folder, Attempt(settings, folder).finish()


def test_a_killed_run_ends_as_if_it_had_not_been(whole, tmp_path, tally):
    name, settings, folder, moments = whole
    dice, kills = random.Random(f"kills of {name}"), 0
    for run in range(KILLS):
        if kills == EACH:
            break
        broken = tmp_path / str(run)
        for _ in range(3):  # killed up to three times on its way
            die_at = dice.randint(1, moments)
            ending = Attempt(settings, broken, die_at).end()
            kills += ending == "killed"
            if ending != "killed" or kills == EACH:
                break
        if ending == "killed":
            Attempt(settings, broken).finish()
        assert difference(broken, folder) == "", f"{run}, at the last {die_at}"
    assert kills == EACH
    tally(f"SIGKILL at a random moment ({name})", kills, "same weights, tables, curves and results to the bit")


@pytest.mark.slow
@pytest.mark.fault("SIGKILL of the first process of a run of two", "the other ends too; ends to the same bits")
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_killed_run_of_two_processes_ends_as_if_it_had_not_been(epoch, tmp_path):
    """As typed; its second process dies with it, and holds nothing."""
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
