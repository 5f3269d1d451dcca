"""scripts/benchmark.py: what is measured is what is said, and the page is made from the measurements."""

import json
import re
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

import cifar10
from cifar10.data.image_io import read_image
from cifar10.results.saved_run import SavedRun

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from benchmarks import loading  # noqa: E402
from benchmarks.accuracy import seconds_to  # noqa: E402
from benchmarks.measure import compose, interleaved, ratio, read_images, spread  # noqa: E402
from benchmarks.predict import FILES, answers, written  # noqa: E402
from benchmarks.search import compared  # noqa: E402
from benchmarks.tables import markdown, search_table  # noqa: E402
from benchmarks.training import PerImage, bare_loop, lightning_alone, this_project, usual_way  # noqa: E402

ABOUT = {"device": "D", "threads": 1, "versions": {"torch": "2"}, "commit": "c", "rounds": 3, "command": "x"}


def test_all_ways_take_turns_after_a_round_of_warming_up():
    calls = []

    def way(name):
        def measure():
            calls.append(name)
            return float(len(calls))

        return measure

    found = interleaved({name: way(name) for name in "abc"}, rounds=3)
    assert "".join(calls) == "abc" + "bca" + "cab" + "abc"
    assert found == {"a": [6, 8, 10], "b": [4, 9, 11], "c": [5, 7, 12]}


def test_ratios_are_of_one_round_each():
    assert ratio([10, 40, 30], [10, 20, 10]) == (2, 1, 3)
    assert spread([5, 1, 2, 9]) == (3.5, 1, 9)


def test_seconds_to_an_accuracy_count_the_epochs_up_to_it():
    epochs = [{"seconds": "2.5", "val/accuracy": value} for value in ("0.5", "0.7", "0.6", "0.8")]
    assert seconds_to(0.65, epochs) == 5
    assert seconds_to(0.9, epochs) is None


@pytest.mark.parametrize("way", [bare_loop, this_project, lightning_alone, usual_way])
@pytest.mark.parametrize("model", ["prototype", "mlp"])
def test_each_way_takes_the_steps_it_is_clocked_for(model, way, monkeypatch):
    steps = []
    kind = torch.optim.SGD if model == "prototype" else torch.optim.Adam
    original = kind.step
    monkeypatch.setattr(kind, "step", lambda self, *args, **rest: steps.append(1) or original(self, *args, **rest))
    cfg = compose(f"model={model}", "data=synthetic", "epochs=1", "batch_size=8", "+trainer.limit_train_batches=12")
    assert way(cfg, read_images(cfg, at_least=12 * 8), 12) > 0
    assert len(steps) == 12


def test_images_one_by_one_are_the_images():
    data = read_images(compose("model=mlp", "data=synthetic"), at_least=2000)
    assert len(data.train_labels) == 2400  # 1,200, repeated
    pairs = PerImage(data, lambda image: torch.from_numpy(np.array(image)).long().permute(2, 0, 1))
    for index in (0, 7, 1300):
        image, label = pairs[index]
        assert torch.equal(image, data.train_images[index].long())
        assert label == data.train_labels[index]


@pytest.mark.parametrize("way", [loading.whole_data_set, loading.with_kornia])
def test_other_loaders_hand_out_every_image_once(way):
    size = 36 if way is loading.whole_data_set else 32  # padded by two pixels
    images, labels = torch.randint(256, (1100, 3, size, size), dtype=torch.uint8), torch.arange(1100)
    found = list(way(images, labels))
    assert sorted(torch.cat([labels for _, labels in found]).tolist()) == list(range(1100))
    assert {tuple(images.shape[1:]) for images, _ in found} == {(3, 32, 32)}


def test_the_page_is_made_from_the_published_measurements():
    results = json.loads((ROOT / "docs/benchmark.json").read_text())
    assert (ROOT / "docs/benchmark.md").read_text() == markdown(results)
    assert "+" not in results["commit"], "published from files that no commit holds"


def test_an_accuracy_never_reached_says_so():
    runs = [{"target": 0.93, "test_accuracy": 0.9, "seconds": 60.0, "seconds_to_target": None}]
    assert markdown(ABOUT | {"accuracy": {"cnn_best": runs}}).splitlines()[-1] == (
        "| cnn_best | 93.0% | 90.00 (90.00 to 90.00) | 60.0 (60.0 to 60.0) | never (0 of 1) |"
    )


def trial(result, seconds, epochs):
    """Of a search; ended early where it has no result."""
    state = optuna.trial.TrialState.PRUNED if result is None else optuna.trial.TrialState.COMPLETE
    done = optuna.create_trial(
        value=0.1 if result is None else result,
        state=state,
        intermediate_values=dict.fromkeys(range(epochs if result is None else epochs - 1), 0.1),
    )
    done.datetime_complete = done.datetime_start + timedelta(seconds=seconds)
    return done


def test_searches_are_compared_after_half_of_the_seconds():
    whole = [trial(0.5, 10, 8), trial(0.6, 10, 8)]
    pruned = [trial(0.4, 4, 8), trial(None, 1, 2), trial(0.6, 4, 8), trial(None, 1, 1), trial(0.7, 4, 8)]
    row = compared(whole, pruned)
    assert (row["seconds"], row["epochs"], row["best"]) == (20, 16, 0.6)
    assert (row["trials_in_half"], row["pruned_in_half"], row["epochs_in_half"]) == (4, 2, 19)
    assert (row["best_in_half"], row["reached"]) == (0.6, pytest.approx(9 / 20))
    text = markdown(ABOUT | {"search": [{"seed": 1} | row, {"seed": 2} | row | {"reached": None}]})
    assert "| 1 | 2, 16, 20 | 60.00% | 4, 2, 19 | 60.00% | 45% of the seconds |" in text
    assert "| 2 | 2, 16, 20 | 60.00% | 4, 2, 19 | 60.00% | not in half |" in text
    better = {"seed": 2} | row | {"best_in_half": 0.7}
    text = markdown(ABOUT | {"search": [{"seed": 1} | row, better]})
    assert "| mean | 2, 16, 20 | 60.00% | 4, 2, 19 | 65.00% | |" in text


def test_searches_are_shown_as_they_were_measured():
    found = json.loads((ROOT / "docs/search/benchmark.json").read_text())["search"]
    table = "\n".join(line for line in search_table(found) if line.startswith("|"))
    assert table in (ROOT / "docs/sweeps.md").read_text()


def test_tables_have_as_many_cells_in_each_line():
    found = {"processes": {"mlp, 32": {"one": [1, 2], "two": [3, 4]}}, "storage": {"1": 2.0, "2": 4.0}}
    pages = [markdown(json.loads((ROOT / "docs/benchmark.json").read_text())), markdown(ABOUT | {"scale": found})]
    row = {"trials_in_all": 2, "epochs": 3, "seconds": 4, "best": 0.5, "trials_in_half": 1, "pruned_in_half": 1}
    row |= {"seed": 1, "epochs_in_half": 1, "best_in_half": 0.5, "reached": 0.3}
    pages.append(markdown(ABOUT | {"search": [row]}))
    for table in re.findall(r"(?:^\|.*\n)+", "".join(pages), re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
        assert set(table.splitlines()[1]) <= set("|- "), table


def test_all_ways_to_an_answer_are_measured_and_answer(drawn_runs, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.predict.TIMES", 2)
    images = SavedRun(drawn_runs / "model=mlp").data.test_images[:5]
    paths = written(images.numpy(), tmp_path / "images")
    assert torch.equal(torch.stack([read_image(path) for path in paths]), images)
    trained = cifar10.load(drawn_runs / "model=mlp", "cpu")
    seen = []
    logits = trained.logits
    monkeypatch.setattr(trained, "logits", lambda batch, *size: seen.append(len(batch)) or logits(batch, *size))
    one, many = answers(trained, images, paths[0], rounds=1)
    # Two rounds, one of them to warm up: twice an image in two ways, then all of them in one.
    assert seen == [1] * 8 + [5] * 2
    assert list(one) == ["PyTorch alone", "predict, an array", "predict, a PNG file", "onnxruntime"]
    assert list(many) == ["predict", "onnxruntime"]
    assert all(value > 0 for values in (one | many).values() for value in values)


def test_the_table_of_answers_tells_what_was_measured():
    one = {"PyTorch alone": [1, 2, 3], "predict, an array": [2, 2, 2], "predict, a PNG file": [3, 3, 3]}
    found = {
        "one": {"mlp": one | {"onnxruntime": [0.25, 0.5, 1]}},
        "many": {"mlp": {"predict": [100, 200, 400], "onnxruntime": [200, 200, 200]}},
        "folder": {"files": FILES, "seconds": {"decoding alone": [2, 4, 5], "predict.py, mlp, one file": [3, 3, 3]}},
    }
    lines = markdown(ABOUT | {"predict": found}).splitlines()
    assert "| mlp | 2.00 (1.00 to 3.00) | 2.00 (2.00 to 2.00) | 3.00 (3.00 to 3.00) | 0.50 (0.25 to 1.00) |" in lines
    assert "| mlp | 200 (100 to 400) | 200 (200 to 200) | 1.00 (0.50 to 2.00) |" in lines
    assert "| decoding alone | 4.00 (2.00 to 5.00) | 2,500 (2,000 to 5,000) |" in lines
    assert "| predict.py, mlp, one file | 3.00 (3.00 to 3.00) |  |" in lines
