"""The same command twice at once, and one that lasts."""

import signal

import pytest
from harness import Attempt, difference

SETTINGS = ("model=prototype", "data.random_flip=true", "epochs=2")


def test_of_two_identical_commands_one_runs_and_the_other_names_it(tmp_path, tally):
    folder = tmp_path / "run"
    attempts = [Attempt(SETTINGS, folder) for _ in range(2)]
    said = [attempt.end() for attempt in attempts]
    runs = [attempt for attempt, end in zip(attempts, said, strict=True) if isinstance(end, int)]
    assert len(runs) == 1, said
    (refused,) = (end for end in said if isinstance(end, str))
    assert f"{folder} is in use by process {runs[0].process.pid} on " in refused
    Attempt(SETTINGS, tmp_path / "alone").finish()
    assert difference(folder, tmp_path / "alone") == ""
    tally("two identical commands at once", 1, "one runs, the other names its process; results as of one alone")


@pytest.mark.slow
def test_killed_process_releases_the_folder(tmp_path, tally):
    attempt = Attempt(SETTINGS, tmp_path, die_at=20)
    assert attempt.end() == "killed"
    assert attempt.process.exitcode == -signal.SIGKILL
    assert (tmp_path / ".holder").read_text().startswith(f"process {attempt.process.pid} on ")
    Attempt(SETTINGS, tmp_path).finish()
    tally("a lock whose process was killed", 1, "free at once")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["prototype", "mlp", "cnn"])
def test_resources_do_not_grow_in_200_epochs(model, tmp_path, tally):
    """Memory, open files and threads, after each epoch."""
    settings = [f"model={model}", "epochs=200", "data.train_size=60", "data.val_size=20", "batch_size=20"]
    use = Attempt(settings, tmp_path, watch=True).end()
    assert len(use) == 200
    (early, files, threads), (late, files_then, threads_then) = use[9], use[-1]
    assert (files_then, threads_then) == (files, threads)
    assert late - early < 2
    tally(f"200 epochs ({model})", 1, f"{late - early:.1f} MB more than at epoch 10, as many files and threads")
