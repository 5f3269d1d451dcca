"""The figures that a run leaves in TensorBoard."""

import gc
import json
import shutil
import sys
import weakref

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from cifar10.results.figures import log_figures

TAGS = {f"test/{name}" for name in ("confusion", "confusions_only", "most_confused_pair", "surest_mistakes")}
TAGS |= {"test/calibration", "first_layer"}


def test_each_figure_is_logged_once_and_none_stays_in_memory(drawn_runs, tmp_path, monkeypatch):
    shutil.copytree(drawn_runs / "model=mlp", tmp_path / "run")
    record = json.loads((tmp_path / "run/metrics.json").read_text())
    (tmp_path / "run/metrics.json").unlink()
    drawn, original = [], SummaryWriter.add_figure

    def add_figure(self, name, figure, step):
        drawn.append(weakref.ref(figure))
        original(self, name, figure, step)

    monkeypatch.setattr(SummaryWriter, "add_figure", add_figure)
    log_figures(tmp_path / "run", record)
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    assert set(events.Tags()["images"]) == TAGS
    assert all([image.step for image in events.Images(tag)] == [record["epochs"]] for tag in TAGS)
    gc.collect()
    assert len(drawn) == len(TAGS)
    assert not any(figure() for figure in drawn)
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
