"""Tests conf/schema.json: it is current, accepts each file of conf/, and refuses unknown keys and invalid values."""

import json
import re
import runpy
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "conf").rglob("*.yaml"))
SCHEMA = json.loads((ROOT / "conf/schema.json").read_text(), parse_constant=pytest.fail)


def errors(name, content):
    """Returns the messages of an entry of `$defs` about the content of a file."""
    validator = Draft7Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})
    return [error.message for error in validator.iter_errors(content)]


def read(path):
    """Returns the name that the comment refers to, and the content."""
    line = re.match(r"(?:# @package .+\n)?# yaml-language-server: \$schema=(.+)#/\$defs/(\w+)\n", path.read_text())
    assert (path.parent / line[1]).resolve() == ROOT / "conf/schema.json"
    return line[2], OmegaConf.to_container(OmegaConf.load(path)) or {}


def test_schema_is_current():
    """`python scripts/schema.py` writes it."""
    assert runpy.run_path(str(ROOT / "scripts/schema.py"))["make_schema"]() == SCHEMA


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "conf")))
def test_file_of_conf_is_valid(path):
    assert errors(*read(path)) == []


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        *[("train.yaml", key, 1) for key in ("epoch", "seeds")],
        *[("train.yaml", "epochs", value) for value in (0, 1.5, "three", None)],
        *[("train.yaml", "trainer", value) for value in ({"device": 1}, {"strategy": "fsdp"}, {"num_nodes": 0})],
        *[("train.yaml", "logger", value) for value in ({"mlflow": {"uri": "x"}}, {"wandb": {"mode": "on"}})],
        *[("model/mlp.yaml", "model", {"_target_": "cifar10.models.mlp.MLP", "whitening_init": True})],
        *[("experiment/cnn_best.yaml", "model", value) for value in ({"lr": 1}, {"optimizer": "lion"})],
        *[("data/cifar10.yaml", key, value) for key, value in (("val_size", 0), ("val_split", "last"), ("flip", True))],
        *[("hydra/sweeper/grid.yaml", "max_batch_size", 0), ("search/mlp.yaml", "hydra", {"sweeper": {"trials": 3}})],
    ],
)
def test_invalid_setting_is_refused(file, key, value):
    name, content = read(ROOT / "conf" / file)
    assert errors(name, content | {key: value})


def test_value_of_another_file_is_accepted():
    assert not errors("settings", {"epochs": "???", "seed": "${oc.env:SEED}"})
