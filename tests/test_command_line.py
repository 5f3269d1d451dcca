"""Tests the command line of train.py: errors are one line, with the right exit status."""

import io
import shlex
import sys
from pathlib import Path

import pytest

TRAIN = str(Path(__file__).resolve().parents[1] / "train.py")


@pytest.fixture
def command(run_script, monkeypatch, tmp_path):
    """Runs train.py in an empty folder; returns its exit status or message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIFAR10_ROOT", "data")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    return lambda *arguments: run_script(TRAIN, *arguments)[0]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["epoch=3"],
            "train.py: unknown setting epoch; did you mean epochs? python train.py --help lists all settings",
        ),
        (
            ["model.learning_rat=1"],
            "train.py: unknown setting model.learning_rat; did you mean model.learning_rate? "
            "python train.py --help lists all settings",
        ),
        (
            ["logger.mlflow.tracking_uri=x"],
            "train.py: unknown setting logger.mlflow.tracking_uri: it exists only with another model=, data=, search=, "
            "logger= or trainer=",
        ),
        (["model=resnet"], "train.py: invalid model=resnet: expected one of cnn, mlp, prototype"),
        (["data=svhn"], "train.py: invalid data=svhn: expected one of cifar10, cifar100, folder, synthetic"),
        (["epochs=-1"], "train.py: epochs=-1: input should be greater than 0"),
        (["-m", "batch_size=0"], "train.py: 1 of 1 jobs failed: batch_size=0: input should be greater than 0"),
        (["data=folder"], "train.py: Missing mandatory value: data.root"),
    ],
)
def test_invalid_setting_is_one_line(command, arguments, line):
    assert command(*arguments) == line


@pytest.mark.parametrize(
    ("override", "quoted"),
    [
        ("data.root=Bilder_\u00e4", "\"data.root='Bilder_\u00e4'\""),
        ("data.root=it's", '"data.root=\\"it\'s\\""'),
        ("data.root=a=b", "\"data.root='a=b'\""),
        ("data.root=my pics (1)", "\"data.root='my pics (1)'\""),
        ("data.root=~/x", "\"data.root='~/x'\""),
        ("data.root=a,b", "\"data.root='a,b'\""),
        ("data.root=2024", "\"data.root='2024'\""),
        ("data.root=null", "\"data.root='null'\""),
    ],
)
def test_error_of_a_path_shows_the_quoted_override(override, quoted, command):
    line = command("data=folder", override)
    assert "\n" not in line
    assert line.endswith(quoted)
    (shell_word,) = shlex.split(quoted)
    assert command("data=folder", shell_word).startswith("train.py: ")
    assert "quote" not in command("data=folder", shell_word)


def test_argument_in_another_encoding_is_one_line(command):
    assert command("runs='\udcff'").startswith("train.py: the command line is not UTF-8")


def test_home_folder_is_expanded(command, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    command("data=synthetic", "data.val_size=3600", "runs='~/runs'")
    assert list((tmp_path / "home/runs").iterdir())
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("argument", ["model=[1]", "trainer=NULL"])
def test_error_inside_hydra_is_one_line(argument, command):
    line = command(argument)
    assert line.startswith("train.py: ")
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("argument", ["epochs", "epochs\x1e"])
def test_syntax_error_is_one_line(argument, command):
    line = command("model=mlp", argument)
    assert line.startswith("train.py: invalid argument epochs: ")
    assert len(line.splitlines()) == 1


def test_missing_data_without_network_names_three_remedies(command, tmp_path):
    line = command("model=mlp", "data.mirrors=[http://127.0.0.1:9/cifar-10-python.tar.gz]")
    assert "\n" not in line
    for way in (f"put it at {tmp_path}/data/cifar-10-python.tar.gz", "data.mirrors=[URL]", "data=synthetic"):
        assert way in line


def test_unencodable_output_is_escaped(run_script, monkeypatch):
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, "ascii", write_through=True))
    assert run_script(TRAIN, "--cfg", "job", "data=folder", "data.root='\u043a\u043e\u0442'")[0] == 0
    assert rb"root: \u043a\u043e\u0442" in output.getvalue()
