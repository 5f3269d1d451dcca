"""Tests the record of a run."""

import subprocess
from math import inf, nan

from cifar10.training import record
from cifar10.training.record import git_commit, nan_to_null


def test_nan_to_null():
    assert nan_to_null({"a": [nan, 1.5, {"b": -inf}], "c": "nan"}) == {"a": [None, 1.5, {"b": None}], "c": "nan"}


def test_commit_of_an_enclosing_repository_is_ignored(tmp_path, monkeypatch):
    """As for a package that is installed into an environment within another repository."""
    commit = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "a"]
    module = tmp_path / "packages/cifar10/training/record.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(record, "__file__", str(module))
    for folder, found in ((tmp_path, False), (tmp_path / "packages", True)):
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        subprocess.run(commit, cwd=folder, check=True)
        assert (git_commit() is not None) is found
