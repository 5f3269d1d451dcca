"""Tests the page of scripts/demo.py in Chromium: upload, predictions, keyboard, and no request to another server."""

import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="needs Gradio: pip install -e '.[demo]'")
pytest.importorskip("captum", reason="needs Captum: pip install -e '.[demo]'")

from cifar10.inference.demo import launch, make_page
from cifar10.results.saved_run import SavedRun

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def samples(synthetic_runs):
    images = SavedRun(synthetic_runs / "model=mlp").data.test_images[:12]
    return [(image, f"sample {place}") for place, image in enumerate(images)]


@pytest.fixture(scope="module")
def address(models, samples):
    page = make_page(models, samples)
    yield launch(page, None)
    page.close(verbose=False)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    pixels = np.random.default_rng(0).integers(256, size=(6, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((900, 600)).save(path)
    return path


def upload(tab, path):
    tab.locator("#image input[type=file]").set_input_files(path)


def predictions(tab, place):
    """Returns the classes and percentages that the page shows for a network. place: its index."""
    block = tab.locator(".prediction").nth(place)
    block.locator(".confidence-set").first.wait_for()
    return re.findall(r"^(\w+)\s+(\d+)%$", block.inner_text(), re.MULTILINE)


def test_predictions_match_predict(opened, models, photo, tmp_path):
    tab = opened(viewport={"width": 1000, "height": 1200})
    upload(tab, photo)
    tab.locator(".comparison img").first.wait_for()
    for place, model in enumerate(models.values()):
        expected = [(name, f"{100 * value:.0f}") for name, value in model.predict(photo).top(5)[0]]
        assert predictions(tab, place) == expected
    y = {tab.locator(".prediction").nth(place).bounding_box()["y"] for place in range(3)}
    assert len(y) == 1, "the predictions are not side by side"
    assert tab.locator("#resized img").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [256, 256]
    captions = tab.locator(".comparison .caption-label").all_inner_texts()
    assert len(captions) == 10
    assert captions[0] == models["prototype"].predict(photo).names[0]
    assert all(re.fullmatch(r"[\d.]+", caption) for caption in captions[5:])
    tab.locator(".explanation img").first.wait_for()
    assert tab.locator(".explanation .caption-label").all_inner_texts() == [
        "Prototype: occlusion",
        *(f"MLP: {method}" for method in ("integrated gradients", "occlusion")),
        *(f"CNN: {method}" for method in ("Grad-CAM", "integrated gradients", "occlusion")),
    ]
    tab.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    tab.screenshot(path=tmp_path / "demo.png", full_page=True)


def test_keyboard_selects_a_test_image(opened, models, samples):
    tab = opened()
    tab.locator("#samples button").first.focus()
    for _ in range(4):
        tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    tab.locator("#resized img").wait_for()
    place = tab.evaluate("[...document.querySelectorAll('#samples button')].indexOf(document.activeElement)")
    assert place == 4
    expected = [(name, f"{100 * value:.0f}") for name, value in models["cnn"].predict(samples[place][0]).top(5)[0]]
    assert predictions(tab, 2) == expected


def test_keyboard_reaches_the_upload(opened, photo):
    tab = opened()
    tab.on("filechooser", lambda chooser: None)  # registered before the key press
    for _ in range(10):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.matches('#image button')"):
            break
    with tab.expect_file_chooser() as chooser:
        tab.keyboard.press("Enter")
    chooser.value.set_files(photo)
    tab.locator("#resized img").wait_for()


def test_unreadable_upload_shows_an_error_and_the_next_upload_works(opened, photo, tmp_path):
    tab = opened()
    upload(tab, photo)
    tab.locator("#resized img").wait_for()
    (tmp_path / "bad.png").write_text("no image")
    tab.get_by_label("Remove Image").or_(tab.get_by_label("Clear")).first.click()
    tab.locator("#resized img").wait_for(state="hidden")
    upload(tab, tmp_path / "bad.png")
    tab.get_by_text("Cannot read this image: not an image in a supported format.").wait_for()
    assert tab.locator("#resized img, .comparison img").count() == 0
    tab.get_by_label("Remove Image").or_(tab.get_by_label("Clear")).first.click()
    upload(tab, photo)
    tab.locator("#resized img").wait_for()


def test_image_of_too_many_pixels_is_not_decoded(opened, photo, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    tab = opened()
    upload(tab, photo)
    tab.get_by_text("Cannot read this image: more than 100,000 pixels.").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone_in_both_themes(scheme, opened, photo, tmp_path):
    tab = opened(viewport=PHONE, color_scheme=scheme)
    upload(tab, photo)
    tab.locator(".comparison img").first.wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert tab.locator("#samples").bounding_box()["height"] < 200, "the samples take more than one row"
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")
    tab.screenshot(path=tmp_path / f"phone-{scheme}.png", full_page=True)
