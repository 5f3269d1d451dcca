"""A full disk: one line, the last good checkpoint stays, and the run resumes when there is room."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from harness import Attempt, difference

SETTINGS = ("model=prototype", "checkpoint.every_n_steps=3")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of eight megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root may mount one")
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
    """Filled but for some room, so that different files of the run do not fit."""
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
    tally("a full disk, in a run's middle", 1, "one line, last checkpoint whole, ends to the same bits with room")


def test_limit_of_file_size(tmp_path, whole, stopped, tally):
    """As quotas set it: last.ckpt, the largest file, cannot be written."""
    expected, _ = whole
    folder = Path(shutil.copytree(stopped, tmp_path / "run"))
    largest = (folder / "last.ckpt").stat().st_size
    before = (folder / "last.ckpt").read_bytes()
    line = Attempt(SETTINGS, folder, largest_file=largest - 1000).end()
    assert line == (
        f"cannot write {folder / 'last.ckpt'}: File too large; the previous file is unchanged: make room and repeat "
        "the command"
    )
    assert (folder / "last.ckpt").read_bytes() == before
    Attempt(SETTINGS, folder).finish()
    assert difference(folder, expected) == ""
    tally("a file larger than allowed", 1, "one line, last checkpoint whole, ends to the same bits when allowed")
