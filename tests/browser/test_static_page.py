"""The page of scripts/demo.py --static in Chromium: predictions equal PyTorch's, and no request to another server."""

import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="needs ONNX: pip install -e '.[export]'")

from cifar10.data.image_io import read_image
from cifar10.inference.static_page import write_static_page
from cifar10.results.saved_run import SavedRun

PACKAGE = Path(os.environ.get("ONNXRUNTIME_WEB", Path(__file__).resolve().parents[2] / "node_modules/onnxruntime-web"))
pytestmark = pytest.mark.skipif(
    not PACKAGE.exists(), reason="needs npm install onnxruntime-web, or ONNXRUNTIME_WEB=PATH"
)


class Handler(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write_static_page(folder / "demo", models, PACKAGE)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/demo/"
        server.shutdown()


def classify(tab, path):
    """Chooses a file; returns its (class, probability) per network, best first, and the resized pixels (3, 32, 32)."""
    tab.locator("input:enabled").set_input_files(path)
    tab.get_by_role("status").get_by_text(path.name, exact=True).wait_for()
    read = """(lists) => lists.map((list) => [...list.children].map(
        (row) => [row.firstChild.textContent, +row.dataset.probability]))"""
    pixels = "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 32, 32).data]"
    shown = np.array(tab.locator("canvas").evaluate(pixels), np.uint8).reshape(32, 32, 4)
    return tab.locator("ol").evaluate_all(read), shown[..., :3].transpose(2, 0, 1)


def assert_predictions(found, models, image):
    for rows, model in zip(found, models.values(), strict=True):
        expected = model.predict(image).top(5)[0]
        assert [name for name, _ in rows] == [name for name, _ in expected]
        np.testing.assert_allclose([value for _, value in rows], [value for _, value in expected], atol=1e-4)


def test_predictions_equal_pytorch_on_100_images(opened, models, synthetic_runs, tmp_path):
    tab, images = opened(), SavedRun(synthetic_runs / "model=mlp").data.test_images
    assert len(images) == 100
    for number, image in enumerate(images):
        path = tmp_path / f"{number}.png"
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
        found, pixels = classify(tab, path)
        np.testing.assert_array_equal(pixels, image)
        assert_predictions(found, models, image)


@pytest.mark.parametrize("size", [(300, 201), (97, 640), (20, 31), (32, 48)])
def test_resized_png_is_identical_to_pillow(size, opened, models, tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(noise).save(path)
    found, pixels = classify(opened(), path)
    np.testing.assert_array_equal(pixels, read_image(path))
    assert_predictions(found, models, path)


def orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize(
    ("mode", "name", "settings"),
    [("RGB", "rotated.jpg", {"exif": orientation(6)}), ("RGBA", "transparent.png", {}), ("L", "gray.webp", {})],
)
def test_other_images_are_close_to_pillow(mode, name, settings, opened, tmp_path):
    small = np.random.default_rng(1).integers(256, size=(6, 9, 4), dtype=np.uint8)
    Image.fromarray(small, "RGBA").resize((900, 600)).convert(mode).save(tmp_path / name, **settings)
    _, pixels = classify(opened(), tmp_path / name)
    expected = read_image(tmp_path / name).numpy().astype(int)
    assert np.abs(pixels - expected).max() <= 2


def test_unreadable_image_is_reported_and_the_next_is_classified(opened, tmp_path):
    tab = opened()
    (tmp_path / "bad.png").write_text("no image")
    Image.new("RGB", (40, 40)).save(tmp_path / "good.png")
    classify(tab, tmp_path / "good.png")
    tab.locator("input").set_input_files(tmp_path / "bad.png")
    tab.get_by_text("Cannot read this image: bad.png").wait_for()
    assert tab.locator("li").count() == 0
    assert len(classify(tab, tmp_path / "good.png")[0][0]) == 5


def test_dropped_and_pasted_images_are_classified(opened, tmp_path):
    tab = opened()
    tab.locator("input:enabled").wait_for()
    send = """([type, data, name]) => new Promise((done) => document.createElement("canvas").toBlob((blob) => {
        const files = new DataTransfer();
        files.items.add(new File([blob], name, { type: "image/png" }));
        const Kind = type === "drop" ? DragEvent : ClipboardEvent;
        document.dispatchEvent(new Kind(type, { [data]: files }));
        done();
    }))"""
    for type_, data in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        tab.evaluate(send, [type_, data, f"{type_}.png"])
        tab.get_by_role("status").get_by_text(f"{type_}.png", exact=True).wait_for()
        assert tab.locator("li").count() == 15


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone_in_both_themes(scheme, opened, tmp_path):
    tab = opened(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    Image.new("RGB", (40, 40)).save(tmp_path / "gray.png")
    classify(tab, tmp_path / "gray.png")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.screenshot(path=tmp_path / f"static-{scheme}.png", full_page=True)
