"""The HTML page: numbers agree with the records, skipped runs are listed, the file is self-contained."""

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
    """Parses a page: tables by id of their caption, as rows of cells; ids; alt texts of images; text."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.ids, self.alt_texts, self.text, self.rows, self.cell = {}, [], [], "", None, None
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
            self.alt_texts.append(attrs["alt"])

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(self.cell.strip())
            self.cell = None

    def handle_data(self, data):
        self.text += data
        if self.cell is not None:
            self.cell += data


def build(*paths):
    text, skipped = page(load(paths))
    return text, Reader(text), skipped


def write(folder, *records):
    for number, content in enumerate(records):
        (folder / f"{number}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def published():
    return build(PUBLISHED)


@pytest.fixture(scope="module")
def synthetic(synthetic_page):
    text, skipped = synthetic_page
    return text, Reader(text), skipped


def test_results_table_has_all_published_rows(published):
    cells = results_table(aggregate(load(PUBLISHED)))
    assert published[1].tables["results"] == [list(cells), *cells.to_numpy().tolist()]


def test_confusions_are_summed_over_seeds(published):
    header, *rows = published[1].tables["named"]
    assert header[1:5] == ["cat as dog", "dog as cat", "truck as automobile", "automobile as truck"]
    shown = next(row for row in rows if row[0] == "CNN, study")
    records = [json.loads(file.read_text()) for file in PUBLISHED.glob("cnn-study-cifar10-*.json")]
    records = [record for record in records if record["config"]["precision"] == "auto"]
    assert len(records) > 1
    shares = []
    for true, label in ((3, 5), (5, 3), (9, 1), (1, 9)):
        count = sum(record["test"]["confusion"][true][label] for record in records)
        shares.append(f"{count / (1000 * len(records)):.1%}")
    assert shown[1:] == [*shares, f"cat as dog {shares[0]}, dog as cat {shares[1]}"]


def test_class_accuracies_are_means_over_seeds(published):
    header, *rows = published[1].tables["by-class"]
    records = [json.loads(file.read_text()) for file in PUBLISHED.glob("mlp-mlp_best-*.json")]
    expected = [sum(record["test"]["class_accuracy"][name] for record in records) / len(records) for name in header[1:]]
    assert next(row for row in rows if row[0] == "MLP, mlp_best")[1:] == [f"{share:.1%}" for share in expected]


def test_provenance_of_each_run(published):
    header, *rows = published[1].tables["runs"]
    assert len(rows) == len(list(PUBLISHED.iterdir()))
    run = json.loads(next(PUBLISHED.glob("cnn-study-cifar10-*-seed1.json")).read_text())
    (row,) = [row for row in rows if row[0] == "python train.py model=cnn seed=1"]
    shown = dict(zip(header, row, strict=True))
    assert shown["test accuracy"] == f"{run['test']['accuracy']:.2%}"
    assert shown["commit"] == run["commit"][:10]
    assert {phase: shown[f"{phase}, s"] for phase in run["seconds"]} == {
        phase: f"{value:,.1f}" for phase, value in run["seconds"].items()
    }
    assert shown["torch"] == run["versions"]["torch"]


def test_records_without_run_folders_give_confusion_matrices_only(published):
    _, shown, skipped = published
    assert len(shown.alt_texts) == 6 + 1  # study and best of each model; class accuracies
    assert all("run folder" in line for line in skipped)
    assert {line.partition(", without")[0] for line in skipped} >= {"CNN, study", "MLP, mlp_best"}
    assert all(line in shown.text for line in skipped)


def test_all_figures_have_alt_texts(synthetic):
    text, shown, skipped = synthetic
    assert not skipped
    expected = ["accuracy", "confusion", "curves", "prototypes", "pairs", "classes", "errors", "calibration", "layers"]
    assert [name for name in shown.ids if name in {*expected, "provenance", "skipped"}] == [*expected, "provenance"]
    # 4 runs x (confusion, curves, pair, errors, calibration), 3 first layers, 5 prototype figures, class accuracies
    assert len(shown.alt_texts) == 4 * 5 + 3 + 5 + 1
    assert all(len(words) > 20 for words in shown.alt_texts)
    assert len(text.encode()) < 5e6


def test_page_is_self_contained(synthetic):
    text, shown, _ = synthetic
    assert not re.findall(r"https?://|<link(?! rel=\"icon\" href=\"data:,\")|@import", text)
    assert re.findall(r"(?:src|srcset)=\"(?!data:)[^\"]*", text) == []
    assert len(shown.ids) == len(set(shown.ids))


def test_synthetic_data_are_not_compared_with_the_study(synthetic):
    assert "2019 study" not in re.sub(r"<th[^>]*>2019 study</th>", "", synthetic[0])
    assert "do not transfer to CIFAR-10" in synthetic[1].text


def test_figures_show_one_data_set_and_tables_show_all(tmp_path):
    shown = build(write(tmp_path, record(0.5, 1), record(0.9, 1, data="synthetic")))[1]
    assert {row[2] for row in shown.tables["results"][1:]} == {"cifar10", "synthetic"}
    assert len(shown.tables["by-class"]) == 1 + 1
    assert "Figures show runs on cifar10. For synthetic, build a page" in " ".join(shown.text.split())


def test_runs_beyond_the_limit_have_bars_and_are_listed(tmp_path):
    run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
    text, _, skipped = build(write(tmp_path, *[run | {"model": f"Net{place}"} for place in range(7)]))
    assert skipped[-1].startswith("Net6, study, without figures: ")
    bars = re.findall(r'class="name">(.*?)</span>', text)
    assert bars == [f"Net{place}, study" for place in range(7)]


def test_best_experiment_is_chosen_by_validation(tmp_path):
    runs = []
    for name, accuracy, val_accuracy in (("mlp_fast", 0.9, 0.5), ("mlp_best", 0.6, 0.8), ("study", 0.5, 0.4)):
        run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
        run["val_accuracy"], run["config"]["experiment"], run["test"]["accuracy"] = val_accuracy, name, accuracy
        runs.append(run)
    text = build(write(tmp_path, *runs))[0].replace("<wbr>", "")
    bars = re.findall(r'class="name">(.*?)</span> <span class="value">(.*?)</span>', text)
    assert bars == [("MLP, 2019 study", "50.7%"), ("MLP, study", "50.0%"), ("MLP, mlp_best", "60.0%")]


def test_skipped_files_are_listed(tmp_path):
    (tmp_path / "damaged.json").write_text('{"test": {"accu')
    run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
    _, shown, _ = build(write(tmp_path, run))
    assert f"{tmp_path}/damaged.json: not a run's metrics.json" in shown.text


def test_figures_with_missing_or_damaged_files_are_listed(synthetic_runs, tmp_path):
    for name in ("model=prototype", "model=mlp"):
        shutil.copytree(
            synthetic_runs / name, tmp_path / name, ignore=shutil.ignore_patterns("last.ckpt", "tensorboard")
        )
    (tmp_path / "model=mlp/best.ckpt").write_bytes(b"damaged")
    (tmp_path / "model=mlp/metrics.csv").unlink()
    (tmp_path / "model=prototype/predictions.npz").write_bytes(b"damaged")
    shutil.rmtree(tmp_path / "model=prototype/evolution")
    _, shown, skipped = build(tmp_path)
    without = [line.partition(", without ")[2].replace(f"{tmp_path}/", "").split(": ")[:2] for line in skipped]
    of_weights = "first and last, prototypes, nearest and farthest, pixel weights, explanation, first layer"
    assert without == [["training curves", "model=mlp/metrics.csv"], [of_weights, "model=mlp/best.ckpt"]]
    assert all(line.startswith("MLP, study") for line in skipped)
    assert (tmp_path / "model=prototype/predictions.npz").read_bytes() == b"damaged"  # readers never write
    assert "prototypes" in shown.ids


def test_empty_table_is_refused(tmp_path):
    with pytest.raises(UserError, match="no finished run"):
        build(tmp_path)


def test_class_names_are_escaped(tmp_path):
    run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
    names = {f"<b>{name}</b> & \"{name}'": 0.5 for name in "abcdefghij"}
    run["test"]["class_accuracy"] = names
    text, shown, _ = build(write(tmp_path, run))
    assert "<b>" not in text
    assert shown.tables["by-class"][0][1:] == sorted(names)


def test_many_classes_are_limited_to_the_lowest_accuracies(tmp_path):
    run = json.loads(next(PUBLISHED.glob("mlp-study-cifar10*")).read_text())
    run["test"]["class_accuracy"] = {f"class {place}": place / 100 for place in range(100)}
    run["test"]["confusion"] = [[int(row == column) for column in range(100)] for row in range(100)]
    text, shown, _ = build(write(tmp_path, run))
    assert shown.tables["by-class"][0][1:] == [f"class {place}" for place in range(20)]
    assert "the 20 lowest of 100" in text
