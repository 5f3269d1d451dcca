"""Tests concurrent identical commands, and the resources of a long run."""

import signal

import pytest
from harness import Attempt, difference

SETTINGS = ("model=prototype", "data.random_flip=true", "epochs=2")


def test_second_identical_command_names_the_first(tmp_path, tally):
    folder = tmp_path / "run"
    attempts = [Attempt(SETTINGS, folder) for _ in range(2)]
    reports = [attempt.end() for attempt in attempts]
    runs = [attempt for attempt, end in zip(attempts, reports, strict=True) if isinstance(end, int)]
    assert len(runs) == 1, reports
    (refused,) = (end for end in reports if isinstance(end, str))
    assert f"{folder} is locked by process {runs[0].process.pid} on " in refused
    Attempt(SETTINGS, tmp_path / "alone").finish()
    assert difference(folder, tmp_path / "alone") == ""
    tally("two concurrent identical commands", 1, "one trains, the other names its process; results are bit-identical")


@pytest.mark.slow
def test_killed_process_releases_the_folder(tmp_path, tally):
    attempt = Attempt(SETTINGS, tmp_path, die_at=20)
    assert attempt.end() == "killed"
    assert attempt.process.exitcode == -signal.SIGKILL
    assert (tmp_path / ".holder").read_text().startswith(f"process {attempt.process.pid} on ")
    Attempt(SETTINGS, tmp_path).finish()
    tally("a lock of a killed process", 1, "released immediately")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["prototype", "mlp", "cnn"])
def test_resources_do_not_grow_in_200_epochs(model, tmp_path, tally):
    """Compares memory, open files and threads after epochs 10 and 200."""
    settings = [f"model={model}", "epochs=200", "data.train_size=60", "data.val_size=20", "batch_size=20"]
    use = Attempt(settings, tmp_path, watch=True).end()
    assert len(use) == 200
    (early, files, threads), (late, files_then, threads_then) = use[9], use[-1]
    assert (files_then, threads_then) == (files, threads)
    assert late - early < 2
    tally(f"200 epochs ({model})", 1, f"{late - early:.1f} MB more memory than at epoch 10, no more files or threads")
