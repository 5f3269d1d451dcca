"""The page of runs: its numbers against the records, what it leaves out, that nothing is outside of it."""

import json
import re
import runpy
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from cifar10.errors import UserError
from cifar10.results.page.build import page
from cifar10.results.page.parts import history
from cifar10.results.page.prototypes import grid
from cifar10.results.page.rows import Row, Shown
from cifar10.results.saved_run import FinishedRun
from cifar10.results.table import find_records

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = ROOT / "docs/results"


class Reader(HTMLParser):
    """Tables by the id of their caption, as rows of cells; all ids; alt texts and labels of pictures; all text."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.ids, self.pictures, self.text, self.rows, self.cell = {}, [], [], "", None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "table":
            self.rows = []
        elif tag == "span" and self.rows == []:
            self.tables[attrs["id"]] = self.rows
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.cell = ""
        elif tag == "img" or (tag == "svg" and attrs.get("role") == "img"):
            self.pictures.append(attrs.get("alt", attrs.get("aria-label")))

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(self.cell.strip())
            self.cell = None

    def handle_data(self, data):
        self.text += data
        if self.cell is not None:
            self.cell += data


def made(*paths):
    text, left_out = page(*find_records(paths))
    return text, Reader(text), left_out


@pytest.fixture(scope="module")
def published():
    return made(PUBLISHED)


@pytest.fixture(scope="module")
def drawn(drawn_page):
    text, left_out = drawn_page
    return text, Reader(text), left_out


def test_the_results_are_those_of_the_readme(published):
    rows = published[1].tables["results"][1:]
    readme = re.search(r"<!-- results -->\n(.*?)\n<!-- /results -->", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    expected = [row.replace("*", "").strip("| ").split(" | ") for row in readme.splitlines()[2:]]
    shown = [
        [model, recipe, data, study, accuracy, seeds, minutes, f"{device}, {precision}"]
        for model, recipe, data, study, accuracy, seeds, minutes, parameters, device, precision in rows
    ]
    assert shown == [[*row[:3], row[3].strip(), row[4], row[5].partition(" ")[0], *row[6:]] for row in expected]


def test_the_confusions_that_the_study_names_are_counted_over_all_seeds(published):
    header, *rows = published[1].tables["named"]
    assert header[1:5] == ["cat for dog", "dog for cat", "truck for automobile", "automobile for truck"]
    shown = next(row for row in rows if row[0] == "CNN, study")
    records = [json.loads(file.read_text()) for file in PUBLISHED.glob("cnn-study-cifar10-*.json")]
    assert len(records) > 1
    shares = []
    for true, guess in ((3, 5), (5, 3), (9, 1), (1, 9)):
        taken = sum(record["test"]["confusion"][true][guess] for record in records)
        shares.append(f"{taken / (1000 * len(records)):.1%}")
    assert shown[1:] == [*shares, "cat for dog, dog for cat", *shares[:2]]


def test_accuracies_by_class_are_means_over_seeds(published):
    header, *rows = published[1].tables["by-class"]
    records = [json.loads(file.read_text()) for file in PUBLISHED.glob("mlp-mlp_best-*.json")]
    expected = [sum(record["test"]["class_accuracy"][name] for record in records) / len(records) for name in header[1:]]
    assert next(row for row in rows if row[0] == "MLP, mlp_best")[1:] == [f"{share:.1%}" for share in expected]


def test_each_run_tells_its_command_commit_and_seconds(published):
    header, *rows = published[1].tables["runs"]
    assert len(rows) == len(list(PUBLISHED.iterdir()))
    record = json.loads(next(PUBLISHED.glob("cnn-cnn_fast-cifar10-*-seed2.json")).read_text())
    shown = dict(zip(header, next(row for row in rows if row[0].endswith("experiment=cnn_fast seed=2")), strict=True))
    assert shown["command"] == "python train.py experiment=cnn_fast seed=2"
    assert shown["test accuracy"] == f"{record['test']['accuracy']:.2%}"
    assert shown["commit"] == record["commit"][:10]
    assert [shown[f"{phase}, s"] for phase in record["seconds"]] == [
        f"{value:,.1f}" for value in record["seconds"].values()
    ]
    assert f"torch {record['versions']['torch']}" in published[1].text


def test_of_records_without_their_runs_the_confusions_are_shown_and_the_rest_is_named(published):
    _, shown, left_out = published
    assert len(shown.pictures) == 6 + 1  # confusions of the study's protocol and the best of each model; by class
    assert all(line.endswith("only its metrics.json is here, not the run") for line in left_out)
    assert {line.partition(", without")[0] for line in left_out} >= {"CNN, study", "MLP, mlp_best"}
    assert all(line in shown.text for line in left_out)


def test_runs_have_all_pictures_each_with_words(drawn):
    text, shown, left_out = drawn
    assert not left_out
    sections = ["accuracy", "confusions", "histories", "prototypes", "pairs", "classes", "mistakes", "calibration"]
    assert [name for name in shown.ids if name in {*sections, "layers", "made", "warnings"}] == [
        *sections,
        "layers",
        "made",
    ]
    # of prototype, mlp, mlp_fast and cnn: 4 confusions, histories, mistakes, calibrations; 3 first layers; the pairs of
    # each model's best; 5 of prototypes; by class; the banner
    assert len(shown.pictures) == 4 * 4 + 3 + 3 + 5 + 1 + 1
    assert all(len(words) > 20 for words in shown.pictures)
    assert len(text.encode()) < 5e6


def test_nothing_is_outside_of_the_page(drawn):
    text, shown, _ = drawn
    assert not re.findall(r"https?://|<link(?! rel=\"icon\" href=\"data:,\")|@import", text)
    assert re.findall(r"(?:src|srcset)=\"(?!data:)[^\"]*", text) == []
    assert len(shown.ids) == len(set(shown.ids))


def test_the_same_runs_give_the_same_page(drawn, drawn_runs):
    assert made(drawn_runs)[0] == drawn[0]


def test_drawn_images_are_not_set_beside_the_study(drawn):
    assert "study, 2019" not in re.sub(r"<th[^>]*>study, 2019</th>", "", drawn[0])
    assert "say nothing of CIFAR-10" in drawn[1].text


def test_pictures_of_one_data_set_and_tables_of_all(drawn_runs):
    _, shown, _ = made(drawn_runs / "model=mlp", PUBLISHED)
    assert {row[2] for row in shown.tables["results"][1:]} == {"cifar10", "synthetic"}
    assert "The pictures are of cifar10" in " ".join(shown.text.split())


def test_the_words_of_a_history_tell_its_numbers(drawn_runs):
    run = FinishedRun(drawn_runs / "model=cnn")
    record = run.record | {"best_epoch": 2}
    run.record = record
    run.history = {"epoch": [1, 2, 3], "val/loss": [2.5, 1.25, 1.0], "val/accuracy": [0.1, 0.75, 0.5], "lr": [1, 1, 1]}
    row = Row([record], [], "study", 1.0)
    words = history(Shown(row, "study", "", run)).picture.split('aria-label="')[1]
    assert words.startswith(
        "Loss, accuracy and learning rate of CNN, study over 3 epochs. The validation loss is 2.5 after the first, "
        "1.25 after epoch 2, whose weights were tested, and 1 at the end; the validation accuracy is 10.0%, 75.0% and "
        "50.0%."
    )


def test_what_prototypes_are_taken_for_is_counted(drawn_runs):
    run = FinishedRun(drawn_runs / "model=prototype")
    counts = torch.zeros(10, 10, dtype=int)
    counts[:, 2], counts[:, 7], counts[:, 0] = 5, 3, 2
    run.record["test"]["confusion"] = counts.tolist()
    names = run.class_names
    part = grid(Shown(Row([run.record], [], "study", 1.0), "study", "", run))
    assert (
        part.caption == f"Prototype, study: test images are taken most often for {names[2]} (50%) and {names[7]} (30%)"
    )


def test_rows_beyond_those_with_pictures_are_on_the_ladder_and_named(tmp_path):
    run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
    for place in range(9):
        (tmp_path / f"{place}.json").write_text(json.dumps(run | {"model": f"Net{place}"}))
    text, _, left_out = made(tmp_path)
    assert left_out[-1] == "Net8, study, without pictures: a page has room for those of 8 rows"
    assert re.findall(r"<h3>(.*?)</h3>", text) == [f"Net{place}" for place in range(9)]


def test_rows_that_differ_in_their_device_are_told_apart(tmp_path):
    run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
    for device in ("one", "two"):
        (tmp_path / f"{device}.json").write_text(json.dumps(run | {"device": device}))
    assert [row[1] for row in made(tmp_path)[1].tables["results"][1:]] == ["study, device=one", "study, device=two"]


def copy(drawn_runs, folder, *names):
    for name in names:
        shutil.copytree(drawn_runs / name, folder / name, ignore=shutil.ignore_patterns("last.ckpt", "tensorboard"))
    return folder


def test_what_is_no_run_of_this_version_is_named_and_the_page_comes_out_of_the_others(
    drawn_runs, tmp_path, capsys, monkeypatch
):
    runs = copy(drawn_runs, tmp_path / "runs", "model=mlp", "model=cnn", "experiment=mlp_fast")
    (runs / "model=cnn/metrics.json").unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.json").write_text('{"test": {"accu')
    older = json.loads((runs / "model=mlp/metrics.json").read_text())
    del older["best_epoch"]
    older["seed"] = 9
    (tmp_path / "older.json").write_text(json.dumps(older))
    script = str(ROOT / "scripts/report.py")
    names = ("runs", "empty", "torn.json", "older.json")
    monkeypatch.setattr(
        sys, "argv", [script, *(str(tmp_path / name) for name in names), "--page", str(tmp_path / "a.html")]
    )
    runpy.run_path(script, run_name="__main__")
    printed = capsys.readouterr()
    assert "| MLP | study |" in printed.out
    shown = Reader((tmp_path / "a.html").read_text())
    for line in (
        f"{runs}/model=cnn: not finished; the command that began it goes on",
        f"{tmp_path}/empty: no finished run here",
        f"{tmp_path}/torn.json: not a run's metrics.json",
        f"{tmp_path}/older.json: of another version, left out (KeyError: 'best_epoch')",
    ):
        assert f"left out: {line}" in printed.err
        assert line in shown.text
    assert {row[1] for row in shown.tables["results"][1:]} == {"study", "mlp_fast"}


def test_what_a_run_lacks_is_left_out_by_a_line(drawn_runs, tmp_path):
    runs = copy(drawn_runs, tmp_path, "model=prototype", "model=mlp", "model=cnn")
    (runs / "model=mlp/best.ckpt").write_bytes(b"torn")
    (runs / "model=mlp/metrics.csv").unlink()
    (runs / "model=prototype/predictions.npz").write_bytes(b"torn")
    shutil.rmtree(runs / "model=prototype/evolution")
    config = runs / "model=cnn/config.yaml"
    config.write_text(config.read_text().replace("data_seed: 0", "data_seed: 1"))  # other images than it was tested on
    _, shown, left_out = made(runs)
    assert left_out == [
        f"MLP, study, without what it learnt, first layer: {runs}/model=mlp/best.ckpt: not a whole "
        "checkpoint of this project; what holds more than tensors and plain values could run code and is not opened",
        f"MLP, study, without history: {runs}/model=mlp/metrics.csv: No such file or directory",
    ]
    assert (runs / "model=prototype/predictions.npz").stat().st_size > 1000  # made again
    assert "prototypes" in shown.ids


def test_no_run_of_this_version_at_all_is_one_line(tmp_path):
    run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
    del run["test"]["confusion"]
    (tmp_path / "metrics.json").write_text(json.dumps(run))
    with pytest.raises(UserError, match="no finished run of this version given"):
        made(tmp_path)


def changed(tmp_path, **changes):
    run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
    for name, value in changes.items():
        run[name] |= value
    (tmp_path / "metrics.json").write_text(json.dumps(run))
    return made(tmp_path)


def test_names_of_classes_are_text_and_no_html(tmp_path):
    names = {f"<b>{name}</b> & \"{name}'": 0.5 for name in "abcdefghij"}
    text, shown, _ = changed(tmp_path, test={"class_accuracy": names})
    assert "<b>" not in text
    assert shown.tables["by-class"][0][1:] == sorted(names)


def test_of_many_classes_the_hardest_are_named(tmp_path):
    names = {f"class {place}": place / 100 for place in range(100)}
    confusion = [[int(row == column) for column in range(100)] for row in range(100)]
    text, shown, _ = changed(tmp_path, test={"class_accuracy": names, "confusion": confusion})
    assert shown.tables["by-class"][0][1:] == [f"class {place}" for place in range(20)]
    assert "the 20 hardest of 100" in text


def test_the_best_recipe_is_chosen_by_validation(tmp_path):
    for name, accuracy, val_accuracy in (("mlp_fast", 0.9, 0.5), ("mlp_best", 0.6, 0.8), ("study", 0.5, 0.4)):
        run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
        run["val_accuracy"], run["config"]["experiment"] = val_accuracy, name
        run["test"]["accuracy"] = accuracy
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    text = made(tmp_path)[0]
    bars = re.findall(r'class="name">(.*?)</span> <span class="value">(.*?)</span>', text)
    assert bars == [("study, 2019", "50.70%"), ("same protocol here", "50.00%"), ("best here, mlp_best", "60.00%")]
