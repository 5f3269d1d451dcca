"""Files of a run that something else has damaged, or put there: named in one line, never opened, never overwritten."""

import os

import pytest
import torch
from harness import Attempt

SETTINGS = ("model=prototype", "checkpoint.every_n_steps=3")


class Harmful:
    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, Attempt(SETTINGS, folder).finish()


@pytest.fixture
def killed(whole, tmp_path):
    """An unfinished run with a checkpoint."""
    folder = tmp_path / "run"
    assert Attempt(SETTINGS, folder, die_at=whole[1] // 2).end() == "killed"
    return folder


@pytest.mark.parametrize("kind", ["last.ckpt", "best.ckpt"])
def test_a_checkpoint_that_would_run_code(kind, killed, tmp_path, tally):
    """In the run's folder, where a stranger with access could put it."""
    torch.save({"state_dict": Harmful(tmp_path / "harm"), "loops": {}}, killed / kind)
    if kind == "best.ckpt":  # read when training has ended
        Attempt(SETTINGS, killed).finish()  # a better epoch has replaced it
        (killed / "metrics.json").unlink()
        torch.save({"state_dict": Harmful(tmp_path / "harm"), "loops": {}}, killed / kind)
    said = Attempt(SETTINGS, killed).end()
    assert said.startswith(f"{killed / kind}: not a whole checkpoint of this project; what holds more than tensors and")
    assert said.endswith("is not opened; start over with overwrite=true")
    assert not (tmp_path / "harm").exists()
    tally("a checkpoint that would run code, in a run's folder", 1, "refused in one line, nothing ran")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("last.ckpt", b"", "last.ckpt: not a whole checkpoint of this project"),
        ("config.yaml", b"a: [1", "config.yaml cannot be read; start over with overwrite=true"),
        ("config.yaml", b"\xff\xfe", "config.yaml cannot be read; start over with overwrite=true"),
        ("metrics.csv", b"epoch,val/loss\nx,\n", "metrics.csv cannot be read; start over with overwrite=true"),
        ("metrics.json", b'{"test": ', "metrics.json cannot be read; start over with overwrite=true"),
    ],
)
def test_a_damaged_file_is_named(name, content, line, killed, tally):
    (killed / name).write_bytes(content)
    said = Attempt(SETTINGS, killed).end()
    assert line in said
    assert len(said.splitlines()) == 1
    assert (killed / name).read_bytes() == content
    Attempt([*SETTINGS, "overwrite=true"], killed).finish()
    tally(
        "a damaged checkpoint, table, result or settings of a run",
        1,
        "named in one line, not overwritten",
    )
