"""Tests scripts/demo.py: its command line, and the runs and images that it loads. tests/browser tests its page."""

import shutil
import socket
from http.client import HTTPConnection
from pathlib import Path

import pytest
import torch

gradio = pytest.importorskip("gradio", reason="needs Gradio: pip install -e '.[demo]'")
pytest.importorskip("captum", reason="needs Captum: pip install -e '.[demo]'")

from cifar10.errors import UserError
from cifar10.inference.demo import first_samples, launch
from cifar10.inference.evaluate import load_predictors
from cifar10.networks.weights import best_names
from cifar10.results.saved_run import SavedRun

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/demo.py")


def test_missing_run_raises_one_line(command, tmp_path):
    assert command(tmp_path / "nowhere")[0].startswith(f"demo.py: {tmp_path}/nowhere not found; ")


def test_networks_of_different_classes_are_refused(synthetic_runs, tmp_path):
    content = torch.load(synthetic_runs / "model=mlp/best.ckpt", weights_only=True)
    arguments = content["network"]["arguments"] if "network" in content else content["hyper_parameters"]
    arguments["class_names"] = list("abcdefghij")
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="different classes"):
        load_predictors([synthetic_runs / "model=mlp", tmp_path / "other.ckpt"], "cpu")


def test_duplicate_titles_include_the_path(synthetic_runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(synthetic_runs / "model=mlp", other, ignore=shutil.ignore_patterns("seed=2", "tensorboard"))
    predictors = load_predictors([synthetic_runs / "model=mlp", other, synthetic_runs / "model=cnn/best.ckpt"], "cpu")
    title = SavedRun(other).title
    assert list(predictors) == [title, f"{title}, {other}", SavedRun(synthetic_runs / "model=cnn").title]
    assert [one.network.name for one in predictors.values()] == ["MLP", "MLP", "CNN"]


def test_samples_are_from_the_first_run_with_data(synthetic_runs, tmp_path):
    shutil.copy(synthetic_runs / "model=mlp/best.ckpt", tmp_path)
    assert first_samples(load_predictors([tmp_path / "best.ckpt"], "cpu")) == []
    samples = first_samples(load_predictors([tmp_path / "best.ckpt", synthetic_runs / "model=cnn"], "cpu"))
    data = SavedRun(synthetic_runs / "model=cnn").data
    assert torch.equal(torch.stack([image for image, _ in samples]), data.test_images[:20])
    assert [name for _, name in samples] == [data.class_names[label] for label in data.test_labels[:20]]


def test_port_in_use_raises_one_line(command, synthetic_runs, tmp_path):
    shutil.copy(synthetic_runs / "model=mlp/best.ckpt", tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = command(tmp_path / "best.ckpt", "--port", port, "--device", "cpu")[0]
    assert message.startswith(f"demo.py: cannot listen on port {port};")
    assert command(tmp_path / "best.ckpt", "--port", 99999)[0] == 2


def test_missing_first_image_raises_one_line(command, synthetic_runs, tmp_path):
    assert command(synthetic_runs / "model=mlp", "--image", tmp_path / "no.png", "--device", "cpu")[0].startswith(
        "demo.py: 1 of 1 files cannot be read as images"
    )


def test_default_is_the_best_published_weights(published):
    assert list(load_predictors(best_names(), "cpu")) == ["prototype", "mlp", "cnn"]


def test_no_published_weights_raise_one_line(command, tmp_path, monkeypatch):
    (tmp_path / "weights.json").write_text("{}")
    monkeypatch.setattr("cifar10.networks.weights.FOLDER", tmp_path)
    for arguments in ([], ["--static", tmp_path / "page"]):
        assert command(*arguments)[0].startswith("demo.py: no weights are published; ")


def test_missing_onnxruntime_web_raises_one_line(command, synthetic_runs, tmp_path):
    message = command(synthetic_runs / "model=mlp", "--static", tmp_path, "--onnxruntime-web", tmp_path)[0]
    assert message.startswith(f"demo.py: {tmp_path}/dist/ort.wasm.bundle.min.mjs not found; run npm install")
    assert list(tmp_path.iterdir()) == []
    assert command("--static", tmp_path, "--port", 7860)[0] == 2


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy", "HTTP_PROXY"])
def test_local_requests_use_no_proxy(name, command, synthetic_runs, monkeypatch):
    monkeypatch.setenv(name, "http://127.0.0.1:9")  # refuses connections
    monkeypatch.setenv("no_proxy", "example.com")
    monkeypatch.setattr(gradio.Blocks, "block_thread", lambda page: page.close(verbose=False))
    status, text = command(synthetic_runs / "model=mlp", "--device", "cpu")
    assert status == 0
    assert text.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(("host", "status"), [("localhost", 200), ("127.0.0.1", 200), ("example.com", 400)])
def test_requests_for_other_hosts_are_refused(host, status):
    with gradio.Blocks() as page:
        gradio.Markdown("text")
    url = launch(page, None)
    connection = HTTPConnection(url.removeprefix("http://").rstrip("/"))
    connection.request("GET", "/", headers={"Host": host})
    assert connection.getresponse().status == status
    connection.close()
    page.close(verbose=False)
