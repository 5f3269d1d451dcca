"""Tests scripts/export.py: ONNX and torch.export match PyTorch's logits for any batch size; the model card."""

import hashlib
import json
import runpy
import shutil
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="needs ONNX: pip install -e '.[export]'")

import onnx
import onnxruntime

from cifar10.errors import UserError
from cifar10.inference.export import check, export_network, onnx_runtime, to_onnx
from cifar10.models.cnn import CNN
from cifar10.models.mlp import MLP
from cifar10.models.prototype import Prototype
from cifar10.networks.weights import read_index
from cifar10.results.saved_run import SavedRun

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/export.py")


@pytest.fixture(scope="module")
def exported(synthetic_runs, tmp_path_factory):
    """Exports a run of each model once; returns its folder. Read-only."""

    @cache
    def export(name):
        folder = tmp_path_factory.mktemp("exported")
        runpy.run_path(SCRIPT)["export"](synthetic_runs / f"model={name}", [], folder)
        return folder

    return export


@pytest.fixture
def copied_run(synthetic_runs, tmp_path):
    return shutil.copytree(
        synthetic_runs / "model=mlp", tmp_path / "run", ignore=shutil.ignore_patterns("seed=2", "tensorboard")
    )


@pytest.mark.parametrize("name", ["prototype", "mlp", "cnn"])
def test_both_files_match_the_logits_of_the_run(name, exported, synthetic_runs):
    run, folder = SavedRun(synthetic_runs / f"model={name}"), exported(name)
    images = run.data.test_images
    expected = run.network(images).detach().numpy()
    onnx.checker.check_model(onnx.load(folder / "model.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert [(one.name, one.type, one.shape) for one in (*session.get_inputs(), *session.get_outputs())] == [
        ("images", "tensor(uint8)", ["N", 3, 32, 32]),
        ("logits", "tensor(float)", ["N", 10]),
    ]
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == run.class_names
    program = torch.export.load(folder / "model.pt2").module()
    for count in (1, 3, 100):
        [logits] = session.run(None, {"images": images[:count].numpy()})
        np.testing.assert_allclose(logits, expected[:count], atol=1e-4, rtol=0)
        np.testing.assert_allclose(program(images[:count]).detach().numpy(), expected[:count], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(Prototype(delta="cie94"), marks=pytest.mark.slow),
        Prototype(delta="ciede2000"),
        pytest.param(Prototype(delta="redmean"), marks=pytest.mark.slow),
        Prototype(objective="discriminative", prototypes_per_class=2, tta_flip=True),
        pytest.param(MLP(tta_shift_px=1), marks=pytest.mark.slow),
        CNN(batch_norm=True, tta_flip=True),
    ],
    ids=["cie94", "ciede2000", "redmean", "discriminative", "tta_shift_px", "tta_flip"],
)
def test_other_settings_are_exported(model):
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8)
    images[0] = images[0, 0]  # gray
    model.eval()
    runtime = onnx_runtime(to_onnx(export_network(model), model.class_names))
    found = check("onnxruntime", runtime, images, model(images).detach())
    assert found.same_predictions == 5
    assert runtime(images[:1]).shape == (1, 10)


def test_different_logits_are_refused():
    images, expected = torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.eye(4)
    with pytest.raises(UserError, match="NAME disagrees with PyTorch on 1 of 4 images"):
        check("NAME", lambda batch: torch.eye(4).index_fill(0, torch.tensor([2]), 0.0), images, expected)
    with pytest.raises(UserError, match=r"differ by up to 2.0e-04, expected at most 0.0001"):
        check("NAME", lambda batch: torch.eye(4) + 2e-4, images, expected)
    with pytest.raises(UserError, match="differ by up to nan"):
        check("NAME", lambda batch: torch.eye(4) + float("nan") * torch.eye(4).flip(0), images, expected)


def test_card_describes_the_run(command, copied_run, tmp_path):
    run = SavedRun(copied_run)
    record = run.record | {"overrides": ["model=mlp", "data=folder", "data.root=my images"]}
    (copied_run / "metrics.json").write_text(json.dumps(record))
    code, text = command(copied_run)
    assert code == 0
    assert "onnxruntime   100 of 100 predictions agree" in text
    folder = copied_run / "export"
    card = json.loads((folder / "card.json").read_text())
    assert (card["model"], card["parameters"], card["classes"]) == ("MLP", run.record["parameters"], run.class_names)
    assert card["test"]["accuracy"] == run.record["test"]["accuracy"]
    assert card["training"]["data_sha256"] == run.record["data_sha256"]
    assert card["training"]["command"] == "python train.py model=mlp data=folder 'data.root=my images' seed=1"
    for name, file in card["files"].items():
        assert file["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    text = (folder / "card.md").read_text()
    for part in (
        card["training"]["command"],
        f"Accuracy in float32 {card['test']['accuracy']:.2%} on 100 test images",
        "Data synthetic (100 train, 40 val, 100 test), experiment study, seed 1, 2 epochs on ",
        *card["classes"],
    ):
        assert part in text


def test_card_of_prototypes_warns_about_calibration(exported):
    for name, calibrated in (("prototype", False), ("mlp", True)):
        assert json.loads((exported(name) / "card.json").read_text())["calibrated"] is calibrated
        assert ("not calibrated" not in (exported(name) / "card.md").read_text()) is calibrated


def test_code_on_the_card_runs(exported, synthetic_runs, monkeypatch, capsys):
    run = SavedRun(synthetic_runs / "model=mlp")
    monkeypatch.chdir(exported("mlp"))
    code = Path("card.md").read_text().split("```python\n")[1].split("```")[0]
    images = run.data.test_images[:3].numpy()
    found = {"images": images}
    exec(code, found)
    assert capsys.readouterr().out == f"{[run.class_names[label] for label in run.predictions.predicted[:3]]}\n"
    np.testing.assert_allclose(found["logits"].detach(), run.network(run.data.test_images[:3]).detach(), atol=1e-4)


def test_card_of_checkpoint_without_run_has_no_training(command, synthetic_runs, tmp_path):
    shutil.copy(synthetic_runs / "model=mlp/best.ckpt", tmp_path / "mine.ckpt")
    assert command(tmp_path / "mine.ckpt", "data=synthetic", "data.test_size=30")[0] == 0
    card = json.loads((tmp_path / "export/card.json").read_text())
    assert card["training"] is None
    assert card["test"]["images"] == 30
    assert "Unknown: the checkpoint was exported without its run" in (tmp_path / "export/card.md").read_text()


def test_published_weights_are_exported_to_the_current_folder(command, published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("mlp")[0] == 0
    card = json.loads((tmp_path / "export/mlp/card.json").read_text())
    entry = read_index()["mlp"]
    assert card["training"] == entry["training"]
    assert card["test"]["accuracy"] == entry["test"]["accuracy"]
    assert "python train.py model=mlp seed=1" in (tmp_path / "export/mlp/card.md").read_text()


def test_card_of_another_checkpoint_has_its_own_results(command, copied_run, tmp_path):
    checkpoint = torch.load(copied_run / "best.ckpt", weights_only=True)
    for values in checkpoint["state_dict"].values():
        values *= 1.5
    torch.save(checkpoint, copied_run / "other.ckpt")
    assert command(copied_run / "other.ckpt", "--out", tmp_path)[0] == 0
    run = SavedRun(copied_run)
    logits = MLP.load_from_checkpoint(copied_run / "other.ckpt", map_location="cpu").eval()(run.data.test_images)
    test = json.loads((tmp_path / "card.json").read_text())["test"]
    assert test["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, run.data.test_labels).item())
    assert test["loss"] != pytest.approx(run.record["test"]["loss"])


def test_user_errors_are_one_line(command, synthetic_runs, tmp_path, monkeypatch):
    assert command(tmp_path)[0].startswith(f"export.py: {tmp_path}: not a finished run")
    assert command(synthetic_runs / "model=mlp", "--out", __file__)[0].startswith(
        f"export.py: cannot write {__file__}/model"
    )
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setattr(
        "cifar10.errors.find_spec", lambda name: None if name == "onnxscript" else SimpleNamespace(origin=name)
    )
    assert command(tmp_path)[0] == "export.py: onnxscript not installed; pip install -e '.[export]'"
