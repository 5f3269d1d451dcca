"""Tests the published weights: their files and entries, loading by name, and damaged files."""

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import safetensors.torch
import torch
from miniature import ROWS

import cifar10
from cifar10.inference.publish_weights import LIMITS, NAMES, publish_weights
from cifar10.networks.checkpoint import load_network
from cifar10.networks.weights import FOLDER, best_names, read_index
from cifar10.results import load

MODELS = ("prototype", "mlp", "cnn")
SHIPPED = read_index(FOLDER)
TEST_IMAGES = torch.from_numpy(ROWS[5]).reshape(-1, 3, 32, 32)


@pytest.mark.parametrize("name", MODELS)
def test_loaded_weights_are_those_of_the_run_with_matrices_in_float16(name, published, miniature_runs):
    network = load_network(miniature_runs / name / "best.ckpt")
    for key, value in network.state_dict().items():
        if key.endswith("weight") and value.ndim > 1:
            value.copy_(value.half())
    loaded = cifar10.load(name, "cpu").network
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded(TEST_IMAGES), network(TEST_IMAGES))
    strides = [[weight.stride() for weight in each.parameters()] for each in (loaded, network)]
    assert strides[0] == strides[1]


def test_prototypes_biases_and_statistics_are_stored_in_float32(published):
    for name in MODELS:
        content = (published / read_index(published)[name]["file"]).read_bytes()
        types = {key: tensor.dtype for key, tensor in safetensors.torch.load(content).items()}
        half = {key for key, dtype in types.items() if dtype == torch.float16}
        assert half == {key for key in types if "layers" in key and key.endswith("weight")}


@pytest.mark.parametrize("name", MODELS)
def test_entry_describes_file_test_and_training(name, published, miniature_runs):
    entry, record = read_index()[name], json.loads((miniature_runs / name / "metrics.json").read_text())
    content = (published / entry["file"]).read_bytes()
    assert entry["file"] == f"{name}-{sha256(content).hexdigest()[:8]}.safetensors"
    assert (entry["bytes"], entry["parameters"]) == (len(content), record["parameters"])
    assert entry["classes"] == list(record["test"]["class_accuracy"])
    assert entry["training"]["seed"] == 1
    assert entry["training"]["accuracy"] == record["test"]["accuracy"]
    assert entry["training"]["command"] == f"python train.py model={name} seed=1"
    assert entry["license"] == "MIT"
    assert (entry["limits"] == LIMITS) == (name != "prototype")


def test_best_names_are_ordered_as_published(published):
    assert best_names() == list(MODELS)


def test_table_lists_the_published_weights(published):
    table = cifar10.list_weights()
    assert list(table.index) == list(MODELS)
    for name, row in table.iterrows():
        assert row["accuracy"] == read_index()[name]["test"]["accuracy"]
        assert row["device"] == read_index()[name]["training"]["device"]


def test_table_may_be_empty(monkeypatch, tmp_path):
    (tmp_path / "weights.json").write_text("{}")
    monkeypatch.setattr("cifar10.networks.weights.FOLDER", tmp_path)
    assert cifar10.list_weights().empty
    with pytest.raises(cifar10.UserError, match="no weights are published"):
        best_names()


def test_unknown_name_lists_the_published_ones(published):
    with pytest.raises(cifar10.UserError, match=r"cnn_bset not found.*\(prototype, mlp, cnn\)"):
        cifar10.load("cnn_bset")


def test_folder_has_precedence_over_a_name(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cnn").mkdir()
    with pytest.raises(cifar10.UserError, match="cnn: not a finished run"):
        cifar10.load("cnn")


@pytest.fixture
def copied(published, tmp_path, monkeypatch):
    folder = shutil.copytree(published, tmp_path / "weights")
    monkeypatch.setattr("cifar10.networks.weights.FOLDER", folder)
    return folder


@pytest.mark.fault("a published file with a changed byte, or another file in its place", "refused, names the checksum")
@pytest.mark.parametrize("place", [0, 3000, -1])
def test_changed_byte_is_detected(place, copied):
    path = copied / read_index()["mlp"]["file"]
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    found, expected = sha256(content).hexdigest()[:8], path.stem[-8:]
    with pytest.raises(cifar10.UserError, match=f"SHA-256 starts with {found}, expected {expected}"):
        cifar10.load("mlp")


def test_replaced_and_missing_files_are_detected(copied):
    index = read_index()
    shutil.copy(copied / index["cnn"]["file"], copied / index["mlp"]["file"])
    with pytest.raises(cifar10.UserError, match="SHA-256"):
        cifar10.load("mlp")
    (copied / index["mlp"]["file"]).unlink()
    with pytest.raises(cifar10.UserError, match=index["mlp"]["file"]):
        cifar10.load("mlp")


@pytest.mark.parametrize("content", [b"", b"text", b"\xff" * 100])
def test_other_content_with_a_right_checksum_is_refused(content, tmp_path):
    path = tmp_path / f"mlp-{sha256(content).hexdigest()[:8]}.safetensors"
    path.write_bytes(content)
    with pytest.raises(cifar10.UserError, match="not a checkpoint"):
        cifar10.load(path)


def test_damaged_or_missing_index_is_reported(copied):
    (copied / "weights.json").write_text('{"mlp": ')
    with pytest.raises(cifar10.UserError, match=r"weights.json: missing or damaged"):
        cifar10.load("mlp")
    (copied / "weights.json").unlink()
    with pytest.raises(cifar10.UserError, match=r"weights.json: missing or damaged"):
        cifar10.list_weights()


def test_lowest_seed_is_published_and_replaces_the_file(copied, miniature_runs, tmp_path):
    for seed, accuracy in ((2, 0.8), (3, 0.9)):
        folder = shutil.copytree(miniature_runs / "mlp", tmp_path / f"runs/{seed}")
        record = json.loads((folder / "metrics.json").read_text()) | {"seed": seed, "val_accuracy": accuracy}
        (folder / "metrics.json").write_text(json.dumps(record))
    weights = torch.load(folder.parent / "2/best.ckpt", weights_only=True)
    weights["state_dict"]["network.layers.1.bias"] += 1
    torch.save(weights, folder.parent / "2/best.ckpt")
    previous = read_index()
    assert publish_weights(load([tmp_path / "runs"]), copied) == (["mlp"], [])
    index = read_index()
    assert index["mlp"]["training"]["seed"] == 2
    assert index["mlp"]["file"] != previous["mlp"]["file"]
    assert (index["cnn"], index["prototype"]) == (previous["cnn"], previous["prototype"])
    assert {file.name for file in copied.iterdir()} == {"weights.json", *(one["file"] for one in index.values())}


@pytest.mark.parametrize("change", [{"data": "synthetic"}, {"overrides": ["model=mlp", "epochs=1"]}])
def test_other_runs_are_not_published(change, miniature_runs, tmp_path):
    folder = shutil.copytree(miniature_runs / "mlp", tmp_path / "run")
    record = json.loads((folder / "metrics.json").read_text()) | change
    (folder / "metrics.json").write_text(json.dumps(record))
    assert publish_weights(load([folder]), tmp_path / "weights") == ([], [])
    assert read_index(tmp_path / "weights") == {}


def test_shipped_files_are_those_in_the_index():
    assert set(SHIPPED) <= set(NAMES)
    listed = {"weights.json", *(entry["file"] for entry in SHIPPED.values())}
    assert {file.name for file in FOLDER.iterdir()} == listed


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_match_their_entry(name):
    entry, predictor = SHIPPED[name], cifar10.load(name, "cpu")
    assert predictor.checkpoint == FOLDER / entry["file"]
    assert predictor.checkpoint.stat().st_size == entry["bytes"]
    assert predictor.class_names == entry["classes"] == list(entry["test"]["class_accuracy"])
    assert predictor.network.name == entry["model"]
    assert sum(weight.numel() for weight in predictor.network.parameters()) == entry["parameters"]
    assert abs(entry["test"]["accuracy"] - entry["training"]["accuracy"]) < 0.005
    assert predictor.predict(TEST_IMAGES).probabilities.shape == (4, 10)
    assert Path(entry["file"]).name == entry["file"]
