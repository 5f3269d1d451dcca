"""Tests scripts/predict.py: table, CSV and JSON; unreadable images are reported, the others classified."""

import csv
import io
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tqdm import tqdm

import cifar10
from cifar10.data.image_io import read_images

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts/predict.py")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Changes to a folder with three images at different depths, and a text file named bad.png."""
    random = np.random.default_rng(0)
    (tmp_path / "photos/more").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name in ("a.png", "photos/b.jpg", "photos/more/c.webp"):
        Image.fromarray(random.integers(256, size=(40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "bad.png").write_text("no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def predict(synthetic_runs, monkeypatch, capsys, folder):
    """Runs the script with the MLP; returns its exit status or message, standard output and standard error."""

    def run(*arguments, model=synthetic_runs / "model=mlp"):
        monkeypatch.setattr(sys, "argv", [SCRIPT, str(model), *arguments])
        code = 0
        try:
            runpy.run_path(SCRIPT, run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


NAMES = ["a.png", "photos/b.jpg", "photos/more/c.webp"]


def test_all_output_formats_agree(predict, synthetic_runs):
    expected = cifar10.load(synthetic_runs / "model=mlp").predict(NAMES).top(2)
    code, text, _ = predict("a.png", "photos", "--top", "2", "--json")
    found = json.loads(text)
    assert code == 0
    assert [one["image"] for one in found] == NAMES
    for one, classes in zip(found, expected, strict=True):
        assert [entry["class"] for entry in one["top"]] == [name for name, _ in classes]
        np.testing.assert_allclose(
            [entry["probability"] for entry in one["top"]], [value for _, value in classes], rtol=1e-4
        )
    head, *rows = csv.reader(io.StringIO(predict("a.png", "photos", "--top", "2", "--csv")[1]))
    assert head == ["image", "class_1", "probability_1", "class_2", "probability_2"]
    table = predict("a.png", "photos", "--top", "2")[1].splitlines()[1:]
    for row, line, one in zip(rows, table, found, strict=True):
        assert [row[0], row[1], row[3]] == [one["image"], *(entry["class"] for entry in one["top"])]
        words = [word for entry in one["top"] for word in (f"{entry['probability']:.1%}", entry["class"])]
        assert line.split() == [one["image"], *words]


def test_predictions_of_prototypes_have_a_certified_radius(predict, synthetic_runs):
    model = cifar10.load(synthetic_runs / "model=prototype")
    radius = model.network.certified_radius(read_images([Path("a.png")])).item()
    arguments = {"model": synthetic_runs / "model=prototype"}
    assert json.loads(predict("a.png", "--json", **arguments)[1])[0]["certified_radius"] == pytest.approx(radius)
    head, row = csv.reader(io.StringIO(predict("a.png", "--csv", **arguments)[1]))
    assert dict(zip(head, row, strict=True))["certified_radius"] == f"{radius:.6f}"
    head, row = predict("a.png", **arguments)[1].splitlines()
    assert head.endswith("  certified radius")
    assert row.split()[-1] == f"{radius:.3f}"


def test_top_is_limited_to_the_number_of_classes(predict):
    assert len(json.loads(predict("a.png", "--top", "99", "--json")[1])[0]["top"]) == 10


def test_unreadable_image_is_reported_and_others_are_classified(predict):
    code, text, errors = predict("bad.png", "a.png", "--json")
    assert [one["image"] for one in json.loads(text)] == ["a.png"]
    assert errors == "bad.png: not an image in a supported format\n"
    assert code == "predict.py: cannot read 1 of 2 images"


def test_unreadable_last_image_does_not_drop_others(predict):
    assert len(json.loads(predict("a.png", "photos", "bad.png", "--json")[1])) == 3


def test_terminal_shows_rows_and_progress_on_separate_lines(predict, monkeypatch):
    def at_once(*arguments, **settings):
        return tqdm(*arguments, **settings | {"delay": 0, "mininterval": 0, "disable": False, "ncols": 70})

    terminal = io.StringIO()
    monkeypatch.setattr("tqdm.tqdm", at_once)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    predict("a.png", "bad.png", "photos")
    first_words = []
    for line in terminal.getvalue().split("\n"):
        shown = ""
        for part in line.split("\r"):  # text after a carriage return overwrites the line
            shown = part + shown[len(part) :]
        first_words.append(shown.split()[0] if shown.split() else "")
    assert "Images:" in terminal.getvalue()
    assert first_words == ["image", "bad.png:", *NAMES, ""]


def test_image_of_too_many_pixels_is_not_decoded(predict, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # a.png has 2,000
    code, text, errors = predict("a.png", "--json")
    assert (code, json.loads(text)) == ("predict.py: cannot read 1 of 1 images", [])
    assert errors == "a.png: more than 1,500 pixels\n"


def test_line_break_in_a_name_is_escaped_in_the_table_only(predict, folder):
    (folder / "a.png").rename(folder / "a\nb.png")
    assert len(predict("a\nb.png")[1].splitlines()) == 2
    assert json.loads(predict("a\nb.png", "--json")[1])[0]["image"] == "a\nb.png"
    assert list(csv.reader(io.StringIO(predict("a\nb.png", "--csv")[1])))[1][0] == "a\nb.png"


@pytest.mark.parametrize("option", ["--top=1", "--csv"])
def test_unencodable_class_names_are_escaped(option, predict, synthetic_runs, folder, monkeypatch):
    checkpoint = torch.load(synthetic_runs / "model=mlp/best.ckpt", weights_only=True)
    checkpoint["network"]["arguments"]["class_names"] = [f"\u043a\u043e\u0442{label}" for label in range(10)]
    torch.save(checkpoint, folder / "other.ckpt")
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, "latin-1", write_through=True))
    assert predict("a.png", option, model=folder / "other.ckpt")[0] == 0
    assert rb"\u043a\u043e\u0442" in output.getvalue()


def test_images_in_several_blocks(predict, synthetic_runs):
    predict_rows = runpy.run_path(SCRIPT)["predict"]
    predict_rows.__globals__["BLOCK"] = 2
    model = cifar10.load(synthetic_runs / "model=mlp")
    rows = list(predict_rows(model, [Path(name) for name in NAMES], 1, []))
    assert [name for name, _, _ in rows] == NAMES
    for (_, [(label, probability)], _), image in zip(rows, NAMES, strict=True):
        assert [(label, pytest.approx(probability, rel=1e-4))] == model.predict([image]).top(1)[0]


def test_missing_file_is_reported_and_others_are_classified(predict):
    code, text, errors = predict("nowhere", "a.png", "empty", "--json")
    assert [one["image"] for one in json.loads(text)] == ["a.png"]
    assert errors == "nowhere: file or folder not found\nempty: no images in this folder\n"
    assert code == "predict.py: cannot read 2 of 3 images"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "nowhere: file or folder not found"),
        (["empty"], "empty: no images in this folder"),
    ],
)
def test_no_images_raises_one_line(arguments, line, predict):
    assert predict(*arguments) == ("predict.py: no images found", "", f"{line}\n")


def test_missing_run_raises_one_line(predict):
    assert predict("a.png", model="runs")[0].startswith("predict.py: runs not found; ")


def test_top_0_is_a_usage_error(predict):
    code, _, errors = predict("a.png", "--top", "0")
    assert code == 2
    assert errors.splitlines()[-1].endswith("--top: got 0, expected an integer of at least 1")
