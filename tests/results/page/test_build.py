"""The page of runs: its numbers against the records, what it leaves out, that it is self-contained."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from records import record

from cifar10.errors import UserError
from cifar10.results import load
from cifar10.results.page.build import page
from cifar10.results.table import aggregate, results_table

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = ROOT / "docs/results"


class Reader(HTMLParser):
    """Tables by the id of their caption, as rows of cells; all ids; alt texts of pictures; all text."""

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
        elif tag == "img":
            self.pictures.append(attrs["alt"])

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(self.cell.strip())
            self.cell = None

    def handle_data(self, data):
        self.text += data
        if self.cell is not None:
            self.cell += data


def made(*paths):
    text, skipped = page(load(paths))
    return text, Reader(text), skipped


def write(folder, *records):
    for number, content in enumerate(records):
        (folder / f"{number}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def published():
    return made(PUBLISHED)


@pytest.fixture(scope="module")
def drawn(drawn_page):
    text, skipped = drawn_page
    return text, Reader(text), skipped


def test_the_results_are_those_of_the_readme(published):
    cells = results_table(aggregate(load(PUBLISHED)))
    assert published[1].tables["results"] == [list(cells), *cells.to_numpy().tolist()]


def test_confusions_are_counted_over_all_seeds(published):
    header, *rows = published[1].tables["named"]
    assert header[1:5] == ["cat as dog", "dog as cat", "truck as automobile", "automobile as truck"]
    shown = next(row for row in rows if row[0] == "CNN, study")
    records = [json.loads(file.read_text()) for file in PUBLISHED.glob("cnn-study-cifar10-*.json")]
    assert len(records) > 1
    shares = []
    for true, label in ((3, 5), (5, 3), (9, 1), (1, 9)):
        count = sum(record["test"]["confusion"][true][label] for record in records)
        shares.append(f"{count / (1000 * len(records)):.1%}")
    assert shown[1:] == [*shares, "cat as dog, dog as cat", *shares[:2]]


def test_accuracies_by_class_are_means_over_seeds(published):
    header, *rows = published[1].tables["by-class"]
    records = [json.loads(file.read_text()) for file in PUBLISHED.glob("mlp-mlp_best-*.json")]
    expected = [sum(record["test"]["class_accuracy"][name] for record in records) / len(records) for name in header[1:]]
    assert next(row for row in rows if row[0] == "MLP, mlp_best")[1:] == [f"{share:.1%}" for share in expected]


def test_provenance_shows_command_commit_and_seconds_of_each_run(published):
    header, *rows = published[1].tables["runs"]
    assert len(rows) == len(list(PUBLISHED.iterdir()))
    run = json.loads(next(PUBLISHED.glob("cnn-cnn_fast-cifar10-*-seed2.json")).read_text())
    (row,) = [row for row in rows if row[0] == "python train.py experiment=cnn_fast seed=2"]
    shown = dict(zip(header, row, strict=True))
    assert shown["test accuracy"] == f"{run['test']['accuracy']:.2%}"
    assert shown["commit"] == run["commit"][:10]
    assert {phase: shown[f"{phase}, s"] for phase in run["seconds"]} == {
        phase: f"{value:,.1f}" for phase, value in run["seconds"].items()
    }
    assert shown["torch"] == run["versions"]["torch"]


def test_records_alone_give_confusion_matrices_and_a_list_of_the_rest(published):
    _, shown, skipped = published
    assert len(shown.pictures) == 6 + 1  # study and best of each model; class accuracies
    assert all(line.endswith("only its record is here, not its run folder") for line in skipped)
    assert {line.partition(", without")[0] for line in skipped} >= {"CNN, study", "MLP, mlp_best"}
    assert all(line in shown.text for line in skipped)


def test_runs_have_all_figures_with_alt_texts(drawn):
    text, shown, skipped = drawn
    assert not skipped
    expected = ["accuracy", "confusion", "curves", "prototypes", "pairs", "classes", "errors", "calibration", "layers"]
    assert [name for name in shown.ids if name in {*expected, "provenance", "skipped"}] == [*expected, "provenance"]
    # 4 runs with confusions, curves, pairs, errors, calibrations; 3 first layers; 4 panels of prototypes; per-class
    # accuracy
    assert len(shown.pictures) == 4 * 5 + 3 + 4 + 1
    assert all(len(words) > 20 for words in shown.pictures)
    assert len(text.encode()) < 5e6


def test_the_page_is_self_contained(drawn):
    text, shown, _ = drawn
    assert not re.findall(r"https?://|<link(?! rel=\"icon\" href=\"data:,\")|@import", text)
    assert re.findall(r"(?:src|srcset)=\"(?!data:)[^\"]*", text) == []
    assert len(shown.ids) == len(set(shown.ids))


def test_synthetic_images_are_not_compared_with_the_study(drawn):
    assert "study, 2019" not in re.sub(r"<th[^>]*>study, 2019</th>", "", drawn[0])
    assert "do not transfer to CIFAR-10" in drawn[1].text


def test_figures_are_of_one_data_set_and_tables_of_all(tmp_path):
    shown = made(write(tmp_path, record(0.5, 1), record(0.9, 1, data="synthetic")))[1]
    assert {row[2] for row in shown.tables["results"][1:]} == {"cifar10", "synthetic"}
    assert len(shown.tables["by-class"]) == 1 + 1
    assert "Figures are of cifar10; for synthetic make a page" in " ".join(shown.text.split())


def test_runs_beyond_those_with_figures_have_bars_and_are_listed(tmp_path):
    run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
    text, _, skipped = made(write(tmp_path, *[run | {"model": f"Net{place}"} for place in range(7)]))
    assert skipped[-1] == "Net6, study, without figures: the page has room for 6 runs"
    bars = re.findall(r'class="name">(.*?)</span>', text)
    assert bars == [f"Net{place}, study" for place in range(7)]


def test_the_best_experiment_is_chosen_by_validation(tmp_path):
    runs = []
    for name, accuracy, val_accuracy in (("mlp_fast", 0.9, 0.5), ("mlp_best", 0.6, 0.8), ("study", 0.5, 0.4)):
        run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
        run["val_accuracy"], run["config"]["experiment"], run["test"]["accuracy"] = val_accuracy, name, accuracy
        runs.append(run)
    text = made(write(tmp_path, *runs))[0].replace("<wbr>", "")
    bars = re.findall(r'class="name">(.*?)</span> <span class="value">(.*?)</span>', text)
    assert bars == [("MLP, study, 2019", "50.7%"), ("MLP, study", "50.0%"), ("MLP, mlp_best", "60.0%")]


def test_skipped_files_are_listed_and_the_page_is_made_of_the_others(tmp_path):
    (tmp_path / "torn.json").write_text('{"test": {"accu')
    run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
    _, shown, _ = made(write(tmp_path, run))
    assert f"{tmp_path}/torn.json: not a run's metrics.json" in shown.text


def test_figures_whose_files_are_missing_or_damaged_are_listed(drawn_runs, tmp_path):
    for name in ("model=prototype", "model=mlp"):
        shutil.copytree(drawn_runs / name, tmp_path / name, ignore=shutil.ignore_patterns("last.ckpt", "tensorboard"))
    (tmp_path / "model=mlp/best.ckpt").write_bytes(b"torn")
    (tmp_path / "model=mlp/metrics.csv").unlink()
    (tmp_path / "model=prototype/predictions.npz").write_bytes(b"torn")
    shutil.rmtree(tmp_path / "model=prototype/evolution")
    _, shown, skipped = made(tmp_path)
    without = [line.partition(", without ")[2].replace(f"{tmp_path}/", "").split(": ")[:2] for line in skipped]
    assert without == [
        ["training curves", "model=mlp/metrics.csv"],
        ["first and last, prototypes, explanation, first layer", "model=mlp/best.ckpt"],
    ]
    assert all(line.startswith("MLP, study") for line in skipped)
    assert (tmp_path / "model=prototype/predictions.npz").read_bytes() == b"torn"  # read, not repaired
    assert "prototypes" in shown.ids


def test_no_run_at_all_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no finished run given"):
        made(tmp_path)


def test_class_names_are_text_and_no_html(tmp_path):
    run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
    names = {f"<b>{name}</b> & \"{name}'": 0.5 for name in "abcdefghij"}
    run["test"]["class_accuracy"] = names
    text, shown, _ = made(write(tmp_path, run))
    assert "<b>" not in text
    assert shown.tables["by-class"][0][1:] == sorted(names)


def test_of_many_classes_the_lowest_accuracies_are_shown(tmp_path):
    run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
    run["test"]["class_accuracy"] = {f"class {place}": place / 100 for place in range(100)}
    run["test"]["confusion"] = [[int(row == column) for column in range(100)] for row in range(100)]
    text, shown, _ = made(write(tmp_path, run))
    assert shown.tables["by-class"][0][1:] == [f"class {place}" for place in range(20)]
    assert "the 20 lowest of 100" in text
