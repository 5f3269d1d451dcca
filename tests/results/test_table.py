"""The table over runs, and the published one."""

import json
import re
from pathlib import Path

import pytest
from hydra import compose, initialize
from omegaconf import OmegaConf
from records import record

from cifar10.results.table import find_records, group_by_settings, markdown_table, read_records, recipe, settings_key

ROOT = Path(__file__).resolve().parents[2]


def test_runs_that_differ_in_their_seed_are_one_row():
    groups = group_by_settings([record(0.50, 2), record(0.52, 1), record(0.7, 1, "CNN"), record(0.6, 1, epochs=30)])
    assert [(group.records[0]["model"], group.accuracies) for group in groups] == [
        ("MLP", [0.52, 0.50]),
        ("MLP", [0.6]),
        ("CNN", [0.7]),
    ]


def test_mean_deviation_and_minutes():
    row = markdown_table(group_by_settings([record(0.50, 1), record(0.51, 2), record(0.53, 3)])).splitlines()[-1]
    # numpy.std([50, 51, 53], ddof=1) == 1.5275
    assert row == "| MLP | study | cifar10 | 50.70% | **51.33%** ± 1.53 | 3 (1, 2, 3) | 2.0 | CPU, 32-true |"


def test_rows_of_one_recipe_tell_in_what_they_differ():
    table = markdown_table(group_by_settings([record(0.5, 1), record(0.6, 1, epochs=30), record(0.7, 1, "CNN")]))
    assert [row.split(" | ")[1] for row in table.splitlines()[2:]] == ["study, epochs=20", "study, epochs=30", "study"]


def test_rows_that_changed_nothing_name_no_settings_beside_others_that_did():
    runs = [record(0.5, 1), record(0.6, 1, epochs=30), record(0.7, 1)]
    runs[2]["config"]["batch_size"] = 64
    runs[0]["config"]["batch_size"] = runs[1]["config"]["batch_size"] = 32
    table = markdown_table(group_by_settings(runs))
    assert [row.split(" | ")[1] for row in table.splitlines()[2:]] == [
        "study",
        "study, epochs=30",
        "study, batch_size=64",
    ]


def test_results_on_other_data_are_not_set_beside_the_study():
    row = markdown_table(group_by_settings([record(0.9, 1, data="synthetic")])).splitlines()[-1]
    assert row == "| MLP | study | synthetic |  | **90.00%** | 1 (1) | 2.0 | CPU, 32-true |"


def test_a_model_that_the_study_did_not_have_comes_last():
    rows = markdown_table(group_by_settings([record(0.9, 1, "ResNet"), record(0.5, 1)])).splitlines()
    assert rows[-1] == "| ResNet | study | cifar10 |  | **90.00%** | 1 (1) | 2.0 | CPU, 32-true |"


def test_runs_on_another_device_are_another_row():
    other = record(0.6, 2) | {"device": "GPU"}
    assert [group.accuracies for group in group_by_settings([record(0.5, 1), other])] == [[0.5], [0.6]]


def test_runs_of_before_a_setting_existed_are_of_the_same_row():
    """The published runs of the study's protocol, from before there were recipes, beside today's settings."""
    for model in ("prototype", "mlp", "cnn"):
        records, _ = read_records([ROOT / "docs/results"])
        with initialize(version_base="1.3", config_path="../../conf"):
            today = compose("train", [f"model={model}", "seed=9"])
        old = next(each for each in records if settings_key(each) == settings_key(each | {"config": plain(today)}))
        assert (old["model"].lower(), recipe(old), old["data"]) == (model, "study", "cifar10")


def plain(cfg):
    return OmegaConf.to_container(cfg, resolve=False)


def test_a_run_of_a_model_that_is_no_more_is_named(tmp_path):
    run = record(0.5, 1)
    run["config"]["model"] = {"_target_": "cifar10.models.forgotten.Model"}
    (tmp_path / "metrics.json").write_text(json.dumps(run))
    records, (complaint,) = read_records([tmp_path])
    assert not records
    assert complaint.startswith(f"{tmp_path / 'metrics.json'}: not a run's metrics.json (")


def test_what_is_no_run_is_named_and_left_out(tmp_path):
    (tmp_path / "good").mkdir()
    (tmp_path / "good/metrics.json").write_text(json.dumps(record(0.5, 1)))
    (tmp_path / "torn.json").write_text('{"test": {"accu')
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "empty").mkdir()
    records, complaints = read_records([tmp_path, tmp_path / "empty"])
    assert len(records) == 1
    assert [complaint.partition(":")[0] for complaint in complaints] == [
        str(tmp_path / "other.json"),
        str(tmp_path / "torn.json"),
        str(tmp_path / "empty"),
    ]


def test_an_unfinished_run_is_named_and_one_that_is_given_twice_counts_once(tmp_path):
    for name in ("done", "begun"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("seed: 1\n")
    (tmp_path / "done/metrics.json").write_text(json.dumps(record(0.5, 1)))
    records, complaints = read_records([tmp_path, tmp_path / "done"])
    assert len(records) == 1
    assert complaints == [f"{tmp_path / 'begun'}: not finished; the command that began it goes on"]


def test_a_copy_or_a_repetition_of_a_run_counts_once(tmp_path):
    run, again = record(0.5, 1), record(0.6, 1)
    for place, content in {"copies/mlp.json": run, "runs/a/metrics.json": run, "runs/b/metrics.json": again}.items():
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text(json.dumps(content))
    found, complaints = find_records([tmp_path / "runs/a", tmp_path / "copies"])
    assert (list(found), complaints) == ([tmp_path / "runs/a/metrics.json"], [])
    found, complaints = find_records([tmp_path])
    files = [tmp_path / f"runs/{name}/metrics.json" for name in "ab"]
    assert list(found) == files[1:]
    assert complaints == [f"{files[0]}: {files[1]} has the same settings and seed, and is counted"]


@pytest.mark.parametrize("key", ["data_sha256", "seconds", "device", "seed", "test", "config"])
def test_a_record_that_lacks_something_is_named(key, tmp_path):
    run = record(0.5, 1)
    run[key] = 1.5
    for number, content in enumerate((run, {name: run[name] for name in run if name != key})):
        (tmp_path / f"{number}.json").write_text(json.dumps(content))
    records, complaints = read_records([tmp_path])
    if key in ("seconds", "test", "config"):
        assert len(complaints) == 2
    else:
        assert len(complaints) == 1
    assert all("not a run's metrics.json" in complaint for complaint in complaints)
    markdown_table(group_by_settings(records))


def test_the_readme_shows_the_published_runs():
    records, complaints = read_records([ROOT / "docs/results"])
    assert not complaints
    shown = re.search(r"<!-- results -->\n(.*?)\n<!-- /results -->", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown[1] == markdown_table(group_by_settings(records))


@pytest.mark.parametrize("path", sorted((ROOT / "docs/results").glob("*.json")), ids=lambda path: path.stem)
def test_published_runs_are_consistent_and_name_no_machine_s_path(path):
    record = json.loads(path.read_text())
    confusion = record["test"]["confusion"]
    hits = sum(row[i] for i, row in enumerate(confusion))
    assert hits / sum(map(sum, confusion)) == pytest.approx(record["test"]["accuracy"])
    assert "root" not in record["config"]["data"]
    assert "/" not in record["commit"]
    assert not record["commit"].endswith("+"), "published from files that no commit holds"
