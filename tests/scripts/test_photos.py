"""Tests scripts/photos.py: it copies the files of scikit-image, prints their authors and keeps existing files."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/photos.py")


def test_photographs_match_scikit_image(command, tmp_path):
    code, text = command(tmp_path / "new/photos")
    assert code == 0
    expected = {
        "astronaut.png": data.astronaut(),
        "cat.png": data.chelsea(),
        "coffee.png": data.coffee(),
        "rocket.jpg": data.rocket(),
    }
    assert {path.name for path in (tmp_path / "new/photos").iterdir()} == set(expected)
    for name, pixels in expected.items():
        np.testing.assert_array_equal(Image.open(tmp_path / "new/photos" / name), pixels)
    for line, owner in zip(text.splitlines(), ("NASA", "van der Walt", "Michetti", "SpaceX"), strict=True):
        assert owner in line
        assert line.endswith(("CC0", "public domain"))


def test_existing_file_is_kept(command, tmp_path):
    (tmp_path / "cat.png").write_text("mine")
    code, text = command(tmp_path)
    assert code == 0
    assert (tmp_path / "cat.png").read_text() == "mine"
    assert text.splitlines()[1].endswith("(kept an existing file with other content)")
    assert command(tmp_path)[1] == text


def test_missing_scikit_image_raises_one_line(command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command(tmp_path)[0] == "photos.py: scikit-image not installed; pip install scikit-image"


def test_unwritable_folder_raises_one_line(command, tmp_path):
    (tmp_path / "file").write_text("")
    assert command(tmp_path / "file")[0] == f"photos.py: {tmp_path}/file: File exists"
    assert command(tmp_path / "file/below")[0] == f"photos.py: {tmp_path}/file/below: Not a directory"
