"""One process at a time in a run's folder."""

import os
import subprocess
import sys

import pytest

from cifar10.errors import UserError
from cifar10.training.lock import held

ENDS_WITHIN = (
    "import os, sys; from pathlib import Path; from cifar10.training.lock import held\nwith held(Path(sys.argv[1])): {}"
)


def other_process(folder, ending):
    return subprocess.run([sys.executable, "-c", ENDS_WITHIN.format(ending), folder], capture_output=True, text=True)


def test_another_process_is_told_who_holds_the_folder(tmp_path):
    with held(tmp_path):
        other = other_process(tmp_path, "pass")
    assert other.stderr.splitlines()[-1].startswith(
        f"cifar10.errors.Busy: {tmp_path} is in use by process {os.getpid()} on "
    )


def test_it_is_free_after_the_block(tmp_path):
    for _ in range(2):
        with held(tmp_path / "new"):
            assert (tmp_path / "new/.holder").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".lock"]


def test_a_dead_process_holds_nothing(tmp_path):
    assert other_process(tmp_path, "os._exit(9)").returncode == 9
    assert (tmp_path / ".holder").exists()
    with held(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / ".holder").read_text()


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "run").write_text("")
    with (
        pytest.raises(UserError, match=r"cannot write .*run: File exists; choose another place with runs=PATH"),
        held(tmp_path / "run"),
    ):
        pass
