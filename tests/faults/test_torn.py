"""Tests that damaged or malicious files in a run folder are reported in one line and kept."""

import shutil
from pathlib import Path

import pytest
import torch
from harness import SMALL, Attempt
from malicious import Malicious

from cifar10.errors import UserError
from cifar10.training.config import compose_settings
from cifar10.training.run import train

SETTINGS = ("model=prototype", "checkpoint.every_n_steps=3")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """An unfinished run with a checkpoint, killed after its first validation."""
    folder = tmp_path_factory.mktemp("stopped")
    assert Attempt(SETTINGS, folder, die_at=40).end() == "killed"
    return folder


@pytest.fixture
def folder(stopped, tmp_path):
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def error_of_train(folder):
    cfg = compose_settings(*SMALL, *SETTINGS)
    with pytest.raises(UserError) as error:
        train(cfg, folder)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_checkpoint_that_executes_code_is_refused(name, folder, tmp_path, tally):
    if name == "best.ckpt":  # read after training
        Attempt(SETTINGS, folder).finish()
        (folder / "metrics.json").unlink()
    torch.save({"state_dict": Malicious(tmp_path / "executed"), "loops": {}}, folder / name)
    line = error_of_train(folder)
    assert line.startswith(f"{folder / name}: ")
    assert line.endswith("start over with overwrite=true")
    assert not (tmp_path / "executed").exists()
    tally("a checkpoint that executes code, in a run folder", 1, "refused in one line, nothing executed")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("last.ckpt", b"", "last.ckpt: "),
        ("config.yaml", b"a: [1", "config.yaml cannot be read; start over with overwrite=true"),
        ("config.yaml", b"\xff\xfe", "config.yaml cannot be read; start over with overwrite=true"),
        ("metrics.csv", b"epoch,val/loss\nx,\n", "metrics.csv cannot be read; start over with overwrite=true"),
        ("metrics.json", b'{"test": ', "metrics.json cannot be read; start over with overwrite=true"),
    ],
)
def test_damaged_file_is_named_and_kept(name, content, line, folder, tally):
    (folder / name).write_bytes(content)
    assert line in error_of_train(folder)
    assert (folder / name).read_bytes() == content
    tally("a damaged checkpoint, table, record or settings file of a run", 1, "named in one line and kept")


def test_overwrite_replaces_damaged_files(folder):
    for name in ("last.ckpt", "config.yaml", "metrics.csv", "metrics.json"):
        (folder / name).write_bytes(b"\xff")
    Attempt([*SETTINGS, "overwrite=true"], folder).finish()
