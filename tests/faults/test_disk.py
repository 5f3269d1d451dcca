"""A disk that is full: one line, the last good checkpoint stays, and there is more room: the run goes on."""

import subprocess

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


@pytest.mark.parametrize("spare_kb", [0, 4, 40, 120])
def test_a_full_disk(spare_kb, small_disk, whole, tally):
    """Filled up but for some room after a kill in the second half; so each of the run's files meets it once."""
    expected, moments = whole
    folder = small_disk / "run"
    assert Attempt(SETTINGS, folder, die_at=moments // 2).end() == "killed"
    before = torch.load(folder / "last.ckpt", weights_only=True)["global_step"]
    free = int(subprocess.check_output(["df", "--output=avail", small_disk], text=True).split()[1])
    (small_disk / "others").write_bytes(bytes(1024 * max(free - spare_kb, 0)))

    said = Attempt(SETTINGS, folder).end()
    assert "No space left on device" in said
    assert len(said.splitlines()) == 1
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] >= before
    assert not (folder / "metrics.json").exists()

    (small_disk / "others").unlink()
    Attempt(SETTINGS, folder).finish()
    assert difference(folder, expected) == ""
    tally("a full disk, in a run's middle", 1, "one line, last checkpoint whole, ends to the same bits with room")


def test_a_limit_on_a_file_s_size(tmp_path, whole, tally):
    """As quotas set it: last.ckpt, the largest file, is not written, and the run says so."""
    expected, moments = whole
    folder = tmp_path / "run"
    assert Attempt(SETTINGS, folder, die_at=moments // 2).end() == "killed"
    largest = (folder / "last.ckpt").stat().st_size
    before = (folder / "last.ckpt").read_bytes()
    said = Attempt(SETTINGS, folder, largest_file=largest - 1000).end()
    assert said == (
        f"cannot write {folder / 'last.ckpt'}: File too large; what was saved before is whole: make room and repeat "
        "the command"
    )
    assert (folder / "last.ckpt").read_bytes() == before
    Attempt(SETTINGS, folder).finish()
    assert difference(folder, expected) == ""
    tally("a file larger than allowed", 1, "one line, last checkpoint whole, ends to the same bits when allowed")
