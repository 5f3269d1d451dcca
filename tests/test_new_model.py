"""Runs the example of docs/contributing.md: a new model, from its files to a table, a page, predictions and export."""

import re
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cifar10
import cifar10.models
import cifar10.networks

ROOT = Path(__file__).resolve().parents[1]
SECTION = (ROOT / "docs/contributing.md").read_text().partition("## Add a model")[2].partition("\n## ")[0]
FILES = re.findall(r"^```\w+\n((?:# (?:@package|yaml)[^\n]*\n)*# (\S+)\n.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
SMALL = ["data=synthetic", "data.train_size=140", "data.val_size=40", "data.test_size=50", "epochs=1"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Returns a folder with train.py, conf/ and the files of the example, which extend the package."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "train.py", tmp_path)
    for text, name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for package in (cifar10.networks, cifar10.models):
        folder = tmp_path / package.__name__.replace(".", "/")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for package in (cifar10.networks, cifar10.models):
        sys.modules.pop(f"{package.__name__}.linear", None)
        vars(package).pop("linear", None)


@pytest.fixture
def runs(project, run_script):
    """Returns the folder of two trained models with different settings, and the output of the sweep."""
    status, output = run_script("train.py", "-m", "model=linear", "model.pool_px=4,8", *SMALL)
    assert status == 0
    return project / "runs", output


def test_example_has_a_file_of_each_kind():
    network, model, settings, test = (name for _, name in FILES)
    assert (network, model) == ("cifar10/networks/linear.py", "cifar10/models/linear.py")
    assert (settings, test) == ("conf/model/linear.yaml", "tests/models/test_linear.py")


def test_help_lists_the_model_and_its_settings(project, run_script):
    _, output = run_script("train.py", "model=linear", "--help")
    assert "model: cnn, linear, mlp, prototype" in output
    assert "pool_px: 1" in output


def test_type_annotation_defines_the_range_of_a_setting(project, run_script):
    status, _ = run_script("train.py", "model=linear", "model.pool_px=33", *SMALL)
    assert status == "train.py: model.pool_px=33: input should be less than or equal to 32"


def test_test_of_the_example_passes(project):
    for name, test in runpy.run_path(str(project / "tests/models/test_linear.py")).items():
        if name.startswith("test_"):
            test()


def test_model_is_in_sweeps_tables_pages_and_predictions(runs, run_script):
    folder, output = runs
    assert re.search(r"Linear .*model.pool_px=4", output)
    status, table = run_script(str(ROOT / "scripts/report.py"), folder, "--page", folder / "page.html")
    assert (status, table.count("Linear")) == (0, 2)
    assert (folder / "page.html").read_text().count("Linear") >= 2
    Image.fromarray(np.full((32, 32, 3), 200, "uint8")).save(folder / "gray.png")
    (run, _) = sorted(path.parent for path in folder.rglob("metrics.json"))
    probabilities = cifar10.load(run).predict([folder / "gray.png"]).probabilities
    assert probabilities.sum() == pytest.approx(1)


def test_model_is_exported(runs, run_script):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    (run, _) = sorted(path.parent for path in runs[0].rglob("metrics.json"))
    status, output = run_script(str(ROOT / "scripts/export.py"), run, "--out", runs[0] / "export")
    assert status == 0, output
    assert (runs[0] / "export/model.onnx").exists()
