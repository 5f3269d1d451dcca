"""Tests a full disk: a one-line error, the last checkpoint is kept, and the run resumes when there is space."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from harness import Attempt, difference

SETTINGS = ("model=prototype", "checkpoint.every_n_steps=3")


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mount needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, Attempt(SETTINGS, folder).finish()


@pytest.fixture(scope="module")
def stopped(whole, tmp_path_factory):
    """An unfinished run with a checkpoint, killed in its second half."""
    folder = tmp_path_factory.mktemp("stopped")
    assert Attempt(SETTINGS, folder, die_at=whole[1] // 2).end() == "killed"
    return folder


@pytest.mark.parametrize("spare_kb", [0, *(pytest.param(kb, marks=pytest.mark.slow) for kb in (4, 40, 120))])
def test_full_disk(spare_kb, small_disk, whole, stopped, tally):
    """Leaves spare_kb of space, so that different files of the run do not fit."""
    expected, _ = whole
    folder = Path(shutil.copytree(stopped, small_disk / "run"))
    before = torch.load(folder / "last.ckpt", weights_only=True)["global_step"]
    free = int(subprocess.check_output(["df", "--output=avail", small_disk], text=True).split()[1])
    (small_disk / "others").write_bytes(bytes(1024 * max(free - spare_kb, 0)))

    line = Attempt(SETTINGS, folder).end()
    assert "No space left on device" in line
    assert len(line.splitlines()) == 1
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] >= before
    assert not (folder / "metrics.json").exists()

    (small_disk / "others").unlink()
    Attempt(SETTINGS, folder).finish()
    assert difference(folder, expected) == ""
    tally("a full disk during a run", 1, "one line, last checkpoint intact, the resumed run is bit-identical")


def test_limit_of_file_size(tmp_path, whole, stopped, tally):
    """last.ckpt, the largest file, exceeds the limit, as with a quota."""
    expected, _ = whole
    folder = Path(shutil.copytree(stopped, tmp_path / "run"))
    largest = (folder / "last.ckpt").stat().st_size
    before = (folder / "last.ckpt").read_bytes()
    line = Attempt(SETTINGS, folder, largest_file=largest - 1000).end()
    assert line.startswith(f"cannot write {folder / 'last.ckpt'}: File too large")
    assert (folder / "last.ckpt").read_bytes() == before
    Attempt(SETTINGS, folder).finish()
    assert difference(folder, expected) == ""
    tally("a file larger than the limit", 1, "one line, last checkpoint intact, the resumed run is bit-identical")
