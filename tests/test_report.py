"""scripts/report.py: the table of runs, and what it publishes."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from test_results import record

REPORT = str(Path(__file__).parent.parent / "scripts/report.py")
NAMES = ["cat", "dog"]


def write_run(folder, accuracy, seed, model="MLP"):
    confusion = [[round(100 * accuracy), 100 - round(100 * accuracy)], [0, 100]]
    run = record(accuracy, seed, model)
    run["test"] |= {"confusion": confusion, "class_accuracy": dict.fromkeys(NAMES, accuracy)}
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(run))
    torch.save({"state_dict": {"prototypes": torch.rand(2, 3, 32, 32)}}, folder / "best.ckpt")


@pytest.fixture
def report(monkeypatch):
    def run(*arguments, root=None):
        monkeypatch.setattr(sys, "argv", [REPORT, *map(str, arguments)])
        script = runpy.run_path(REPORT)
        main = script["main"]
        if root:
            main.__globals__["ROOT"] = root
        main()

    return run


def test_a_table_of_all_runs_below_a_folder(report, tmp_path, capsys):
    write_run(tmp_path / "mlp/seed=1", 0.50, 1)
    write_run(tmp_path / "mlp/seed=2", 0.51, 2)
    report(tmp_path)
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith("| MLP | study | cifar10 | 50.70% | **50.50%** ± 0.71 | 2 (1, 2)")
    )


def test_publishing_keeps_the_records_and_rewrites_table_and_figures(report, tmp_path, capsys):
    root = tmp_path / "project"
    root.mkdir()
    (root / "README.md").write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    write_run(tmp_path / "runs/mlp/seed=1", 0.50, 1)
    write_run(tmp_path / "runs/prototype/seed=1", 0.30, 1, "Prototype")
    for _ in range(2):  # publishing again adds nothing
        report(tmp_path / "runs", "--publish", root=root)
    table = capsys.readouterr().out
    table = table[: len(table) // 2]
    assert (root / "README.md").read_text() == f"before\n<!-- results -->\n{table}<!-- /results -->\nafter\n"
    kept = [json.loads(file.read_text()) for file in sorted((root / "docs/results").iterdir())]
    assert [run["model"] for run in kept] == ["MLP", "Prototype"]
    assert not any("root" in run["config"]["data"] or "runs" in run["config"] for run in kept)
    assert {file.name for file in (root / "docs").glob("*.png")} == {"confusions.png", "prototypes.png"}


def test_no_run_is_one_line(report, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"report.py: no finished run given; train one with python train.py"):
        report(tmp_path)
    assert capsys.readouterr().err == f"left out: {tmp_path}: no finished run here\n"
