"""Runs docs/study.ipynb on synthetic images, and compares the stored notebook with its text."""

import json
import runpy
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
pytest.importorskip("nbclient")
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts/notebook.py"))
NOTEBOOK = ROOT / "docs/study.ipynb"
SMALL = {"DATA": "synthetic", "IMAGES": 50, "FEW_IMAGES": 10, "ATTACKED": 1}


def test_stored_notebook_has_the_text_and_an_output_of_each_cell():
    text, stored = jupytext.read(ROOT / "docs/study.py"), json.loads(NOTEBOOK.read_text())
    assert [cell["source"] for cell in text["cells"]] == ["".join(cell["source"]) for cell in stored["cells"]]
    silent = [cell["source"] for cell in stored["cells"] if cell["cell_type"] == "code" and not cell["outputs"]]
    assert len(silent) == 2  # imports and constants
    assert NOTEBOOK.stat().st_size < 1.5e6


@pytest.mark.slow
def test_no_cell_fails_on_synthetic_images(tmp_path):
    executed = SCRIPT["execute"](SMALL | {"RUNS": str(tmp_path)})
    outputs = [cell.get("outputs", []) for cell in executed["cells"] if cell["cell_type"] == "code"]
    assert sum("image/png" in output.get("data", {}) for cell in outputs for output in cell) > 15
    logged = ["".join(output.get("text", "") for output in cell) for cell in outputs]
    assert sum("test accuracy" in text for text in logged) == 2  # two runs are trained


def test_unknown_parameter_is_an_error():
    with pytest.raises(ValueError, match="expected 1, got 0"):
        SCRIPT["execute"]({"SIZE": 1})
