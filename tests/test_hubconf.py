"""Tests the entry points of torch.hub, with PyTorch and safetensors as the only packages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import cifar10
import hubconf
from cifar10.inference.publish_weights import NAMES

ROOT = Path(__file__).resolve().parents[1]
IMAGES = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
BLOCKED = ("lightning", "torchmetrics", "torchvision", "hydra", "omegaconf", "pydantic", "annotated_types", "kornia")
BLOCKED += ("PIL", "numpy", "pandas", "matplotlib", "tqdm", "filelock", "jinja2", "requests", "tensorboard")
CODE = """
import json, sys
from pathlib import Path
sys.modules.update(dict.fromkeys(sys.argv[4].split(","), None))  # importing them raises ImportError
import torch
import cifar10.networks.weights
cifar10.networks.weights.FOLDER = Path(sys.argv[2])
network = torch.hub.load(sys.argv[1], sys.argv[3], weights="default", source="local")
images = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
print(json.dumps([type(network).__name__, network.class_names, network(images).tolist()]))
"""


@pytest.mark.parametrize("name", ["prototype", "mlp", "cnn"])
def test_hub_loads_without_other_packages(name, published, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    needed = {"kornia", "numpy"} if name == "prototype" else set()  # Kornia imports NumPy
    command = [sys.executable, "-c", CODE, ROOT, published, name, ",".join(set(BLOCKED) - needed)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    network = cifar10.load(name, "cpu").network
    with torch.inference_mode():
        expected = network(IMAGES)
    kind, names, logits = json.loads(done.stdout)
    assert (kind, names) == (type(network).__name__, network.class_names)
    torch.testing.assert_close(torch.tensor(logits), expected)


def test_entries_are_the_published_names_with_docstrings():
    entries = {name: entry for name, entry in vars(hubconf).items() if callable(entry) and not name.startswith("_")}
    assert tuple(entries) == NAMES
    assert all("weights:" in entry.__doc__ for entry in entries.values())


def test_network_without_weights_is_random(published):
    torch.manual_seed(0)
    loaded, random = (torch.hub.load(str(ROOT), "mlp", weights=one, source="local") for one in ("default", None))
    assert random.arguments == loaded.arguments
    assert not torch.equal(random.layers[1].weight, loaded.layers[1].weight)


def test_unknown_weights_and_missing_packages_raise(published, monkeypatch):
    with pytest.raises(ValueError, match="weights='best'"):
        torch.hub.load(str(ROOT), "mlp", weights="best", source="local")
    with pytest.raises(ValueError, match="cnn_best"):
        hubconf.cnn_best()
    monkeypatch.setattr("hubconf._find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="kornia"):
        hubconf.prototype()
