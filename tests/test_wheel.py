"""Builds a wheel and classifies an image with the package in it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

import cifar10

ROOT = Path(__file__).resolve().parents[1]
CODE = """
import json, sys
import cifar10
predictions = cifar10.load("mlp", "cpu").predict("one.png")
imported = [name for name in ("lightning", "torchvision", "hydra") if name in sys.modules]
print(json.dumps([cifar10.__file__, list(cifar10.list_weights().index), predictions.probabilities.tolist(), imported]))
"""


@pytest.mark.slow
def test_wheel_loads_published_weights(published, tmp_path):
    pytest.importorskip("setuptools", "77", reason="builds without network, so needs setuptools>=77")
    source, unpacked = tmp_path / "source", tmp_path / "unpacked"
    shutil.copytree(ROOT / "cifar10", source / "cifar10")
    shutil.rmtree(source / "cifar10/weights")
    shutil.copytree(published, source / "cifar10/weights")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", tmp_path, source]
    subprocess.run([sys.executable, *build], check=True)
    [wheel] = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    kept = {path.relative_to(source) for path in source.glob("cifar10/**/*.*") if "__pycache__" not in path.parts}
    assert [path for path in sorted(kept) if not (unpacked / path).exists()] == []
    pixels = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    path, names, probabilities, imported = json.loads(done.stdout)
    assert Path(path).is_relative_to(unpacked)
    assert (names, imported) == (["prototype", "mlp", "cnn"], [])
    np.testing.assert_allclose(
        probabilities, cifar10.load("mlp", "cpu").predict(tmp_path / "one.png").probabilities, rtol=1e-4
    )
