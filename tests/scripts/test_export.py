"""scripts/export.py: ONNX and torch.export's program say what PyTorch says, of any number of images; the card."""

import hashlib
import json
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from cifar10.errors import UserError
from cifar10.inference.export import as_onnx, check, exported, onnx_runtime
from cifar10.models.cnn import CNN
from cifar10.models.mlp import MLP
from cifar10.models.prototype import Prototype
from cifar10.results.saved_run import SavedRun

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/export.py")


@pytest.fixture
def command(run_script):
    """Runs it; returns exit status or message, and what it printed."""
    return partial(run_script, SCRIPT)


@pytest.mark.parametrize("name", ["prototype", "mlp", "cnn"])
def test_both_files_say_what_the_run_says(name, command, drawn_runs, tmp_path):
    run = SavedRun(drawn_runs / f"model={name}")
    code, text = command(run.folder, "--out", tmp_path)
    assert code == 0
    assert "onnxruntime   100 of 100 answers the same" in text
    images = run.data.test_images
    expected = run.network(images).detach().numpy()
    onnx.checker.check_model(onnx.load(tmp_path / "model.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert [(one.name, one.type, one.shape) for one in (*session.get_inputs(), *session.get_outputs())] == [
        ("images", "tensor(uint8)", ["N", 3, 32, 32]),
        ("logits", "tensor(float)", ["N", 10]),
    ]
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == run.class_names
    program = torch.export.load(tmp_path / "model.pt2").module()
    for count in (1, 3, 100):
        [logits] = session.run(None, {"images": images[:count].numpy()})
        np.testing.assert_allclose(logits, expected[:count], atol=1e-4, rtol=0)
        np.testing.assert_allclose(program(images[:count]).detach().numpy(), expected[:count], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "model",
    [
        Prototype(delta="cie94"),
        Prototype(delta="ciede2000"),
        Prototype(delta="redmean"),
        Prototype(objective="discriminative", prototypes_per_class=2, tta_flip=True),
        MLP(tta_flip=True, tta_shift_px=1),
        CNN(batch_norm=True, tta_flip=True),
    ],
    ids=["cie94", "ciede2000", "redmean", "discriminative", "shifted", "mirrored"],
)
def test_what_recipes_change_is_exported_too(model):
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8)
    images[0] = images[0, 0]  # greys
    model.eval()
    runtime = onnx_runtime(as_onnx(exported(model), model.class_names))
    found = check("onnxruntime", runtime, images, model(images).detach())
    assert found.same_answers == 5
    assert runtime(images[:1]).shape == (1, 10)


def test_another_answer_is_refused():
    images, expected = torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.eye(4)
    with pytest.raises(UserError, match="says of 1 of 4 images something else than PyTorch"):
        check("it", lambda batch: torch.eye(4).index_fill(0, torch.tensor([2]), 0.0), images, expected)
    with pytest.raises(UserError, match=r"logits are up to 2.0e-04 apart \(0.0001 is allowed\)"):
        check("it", lambda batch: torch.eye(4) + 2e-4, images, expected)
    with pytest.raises(UserError, match="up to nan apart"):
        check("it", lambda batch: torch.eye(4) + float("nan") * torch.eye(4).flip(0), images, expected)


def test_the_card_tells_of_the_run(command, drawn_runs, tmp_path):
    run = SavedRun(drawn_runs / "model=mlp")
    command(run.folder, "--out", tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["model"], card["parameters"], card["classes"]) == ("MLP", run.record["parameters"], run.class_names)
    assert card["test"]["accuracy"] == run.record["test"]["accuracy"]
    assert card["training"]["data_sha256"] == run.record["data_sha256"]
    assert card["training"]["command"].startswith("python train.py model=mlp data=synthetic seed=1 ")
    for name, file in card["files"].items():
        assert file["sha256"] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    text = (tmp_path / "card.md").read_text()
    for part in (
        card["training"]["command"],
        f"In float32 {card['test']['accuracy']:.2%} of 100 test images",
        *card["classes"],
    ):
        assert part in text


def test_the_code_on_the_card_runs(command, drawn_runs, tmp_path, monkeypatch, capsys):
    run = SavedRun(drawn_runs / "model=mlp")
    command(run.folder, "--out", tmp_path)
    monkeypatch.chdir(tmp_path)
    code = (tmp_path / "card.md").read_text().split("```python\n")[1].split("```")[0]
    images = run.data.test_images[:3].numpy()
    found = {"images": images}
    exec(code, found)
    assert capsys.readouterr().out == f"{[run.class_names[guess] for guess in run.predictions.predicted[:3]]}\n"
    np.testing.assert_allclose(found["logits"].detach(), run.network(run.data.test_images[:3]).detach(), atol=1e-4)


def test_a_checkpoint_alone_has_a_card_that_says_what_is_unknown(command, drawn_runs, tmp_path):
    shutil.copy(drawn_runs / "model=mlp/best.ckpt", tmp_path / "mine.ckpt")
    assert command(tmp_path / "mine.ckpt", "data=synthetic", "data.test_size=30")[0] == 0
    card = json.loads((tmp_path / "export/card.json").read_text())
    assert card["training"] is None
    assert card["test"]["images"] == 30
    assert "Unknown: there was no run beside the checkpoint." in (tmp_path / "export/card.md").read_text()


def test_the_card_of_another_checkpoint_of_a_run_has_its_own_numbers(command, drawn_runs, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(drawn_runs / "model=mlp", folder, ignore=shutil.ignore_patterns("seed=2", "tensorboard"))
    checkpoint = torch.load(folder / "best.ckpt", weights_only=True)
    for values in checkpoint["state_dict"].values():
        values *= 1.5
    torch.save(checkpoint, folder / "other.ckpt")
    assert command(folder / "other.ckpt", "--out", tmp_path)[0] == 0
    run = SavedRun(folder)
    logits = MLP.load_from_checkpoint(folder / "other.ckpt", map_location="cpu").eval()(run.data.test_images).detach()
    test = json.loads((tmp_path / "card.json").read_text())["test"]
    assert test["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, run.data.test_labels).item())
    assert test["loss"] != pytest.approx(run.record["test"]["loss"])


def test_what_a_user_may_get_wrong_is_one_line(command, drawn_runs, tmp_path, monkeypatch):
    assert command(tmp_path)[0].startswith(f"export.py: {tmp_path}: no finished run here")
    assert command(drawn_runs / "model=mlp", "--out", __file__)[0].startswith(
        f"export.py: cannot write {__file__}/model"
    )
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else name)
    assert command(tmp_path)[0] == "export.py: onnxscript not installed; pip install -e '.[export]'"
