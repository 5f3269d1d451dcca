"""Tests MLflow and W&B runs: the names of all loggers, resumption, failing servers. Packages that are missing skip."""

import json
import signal
import struct
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cifar10.errors import Interrupted, UserError, require_packages
from cifar10.results.figures import log_figures
from cifar10.training.config import LoggerSettings, compose_settings
from cifar10.training.loggers import wandb as wandb_module
from cifar10.training.loggers.build import make_run_loggers
from cifar10.training.loggers.run_logger import hyperparameters
from cifar10.training.loggers.tracker import Tracker
from cifar10.training.run import train
from cifar10.training.run_folder import NOT_COMPARED, run_name

SMALL = ("model=mlp", "data=synthetic", "data.train_size=90", "data.val_size=30", "data.test_size=20", "epochs=2")


def settings(*overrides):
    return compose_settings(*SMALL, "trainer.enable_progress_bar=false", *overrides)


def train_with_interruption(cfg, folder, monkeypatch):
    """Trains one epoch, resumes and finishes the run; returns its record."""
    from cifar10.training.checkpoints import LastCheckpoint

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_validation_end", lambda *args: signal.raise_signal(signal.SIGINT))
        with pytest.raises(Interrupted):
            train(cfg, folder)
    return train(cfg, folder, on_finish=log_figures)


@pytest.fixture
def tracked_run(tmp_path, monkeypatch):
    """Returns a function that trains with two loggers, interrupted once: record, metrics and figures of TensorBoard."""
    monkeypatch.chdir(tmp_path)

    def run(logger, *overrides):
        record = train_with_interruption(settings(f"logger=[tensorboard,{logger}]", *overrides), tmp_path, monkeypatch)
        events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
        scalars = {
            tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
        }
        return record, scalars, set(events.Tags()["images"])

    return run


def test_mlflow_run_equals_tensorboard_and_is_continued(tracked_run, tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic", reason="MLflow's SQLite store")
    from mlflow import MlflowClient

    address = f"sqlite:///{tmp_path}/mlflow.db"
    record, scalars, figures = tracked_run("mlflow", f"logger.mlflow.tracking_uri={address}")
    client = MlflowClient(address)
    (found,) = client.search_runs([client.get_experiment_by_name("cifar10").experiment_id])
    assert (tmp_path / "mlflow_run_id.txt").read_text() == found.info.run_id
    assert found.info.status == "FINISHED"
    assert found.data.params == {name: str(value) for name, value in hyperparameters(record).items()}
    for name, events in scalars.items():
        history = [(metric.step, metric.value) for metric in client.get_metric_history(found.info.run_id, name)]
        assert history == [(step, pytest.approx(value)) for step, value in events], name
    assert found.data.metrics.keys() == scalars.keys()
    artifacts = {file.path for file in client.list_artifacts(found.info.run_id, "figures")}
    assert artifacts == {f"{name}.png" for name in figures}
    assert "best.ckpt" in {file.path for file in client.list_artifacts(found.info.run_id)}


def read_wandb(path):
    """Yields the records of a .wandb file: after a header of 7 bytes, a LevelDB log with blocks of 32 KB."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, parts = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(parts)
            parts = b""


def test_wandb_run_equals_tensorboard_and_is_continued(tracked_run, tmp_path):
    pytest.importorskip("wandb")
    record, scalars, figures = tracked_run("wandb", "logger.wandb.mode=offline")
    parts = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert {path.name for path in parts} == {f"run-{(tmp_path / 'wandb_run_id.txt').read_text()}.wandb"}
    assert len(parts) == 2
    history, config, exits = {}, {}, []
    for entry in (entry for path in parts for entry in read_wandb(path)):
        row = {[*item.nested_key, item.key][0]: json.loads(item.value_json) for item in entry.history.item}
        for name in row.keys() - {"trainer/global_step", "_step", "_timestamp", "_runtime"}:
            history.setdefault(name, []).append((row["trainer/global_step"], row[name]))
        config |= {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in entry.config.update}
        exits += [entry.exit.exit_code] if entry.HasField("exit") else []
    assert exits == [1, 0]
    assert config.items() >= hyperparameters(record).items()
    assert history.keys() == scalars.keys() | figures
    for name, events in scalars.items():
        assert history[name] == [(step, pytest.approx(value)) for step, value in events], name
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/images/figures/*.png"))) == len(figures)
    (checkpoint,) = tmp_path.glob("wandb/offline-run-*/files/best.ckpt")
    assert torch.load(checkpoint, weights_only=True)["model"] == "MLP"


class FakeTracker(Tracker):
    """Records the calls of a server that fails while `down` holds."""

    kind = "fake"

    def __init__(self, folder, down):
        super().__init__(folder, "title")
        self.down, self.calls = down, []

    def call(self, *values):
        if self.down(self.calls):
            raise ConnectionError("not\nreachable")
        self.calls.append(values)

    def open(self, run_id):
        self.call("open", run_id)
        self.log = type("Log", (), {"log_metrics": self.call, "log_hyperparams": self.call})
        return self.log, "id", "address"

    def log_image(self, name, image, step):
        self.call(name)

    def log_file(self, path):
        self.call(path.name)

    def close(self, status):
        self.call(status)


RECORD = {"test": {"loss": 1.0, "accuracy": 0.5}, "epochs": 2, "val_loss": 2.0, "val_accuracy": 0.25, "best_epoch": 1}


def log_all(tracker):
    tracker.start({"seed": 1})
    for epoch in (1, 2):
        tracker.log_metrics({"train/loss": 1 / epoch}, epoch)
    tracker.log_results(RECORD)
    tracker.finish("FINISHED")


def test_server_gets_all_calls_after_it_was_down(tmp_path, caplog):
    reachable = FakeTracker(tmp_path / "a", lambda calls: False)
    log_all(reachable)
    assert reachable.calls == [
        ("open", None), ({"seed": 1},), ({"train/loss": 1.0}, 1), ({"train/loss": 0.5}, 2),
        ({"results/test_loss": 1.0, "results/test_accuracy": 0.5}, 2),
        ({"results/val_loss": 2.0, "results/val_accuracy": 0.25}, 1), ("best.ckpt",), ("FINISHED",),
    ]  # fmt: skip
    assert not [entry for entry in caplog.records if entry.levelname == "WARNING"]
    for moment in range(4):  # the server is down from here until the end of training
        reached = []
        down = lambda calls, reached=reached, moment=moment: not reached and len(calls) >= moment  # noqa: E731
        tracker = FakeTracker(tmp_path / str(moment), down)
        tracker.start({"seed": 1})
        for epoch in (1, 2):
            tracker.log_metrics({"train/loss": 1 / epoch}, epoch)
        reached.append(True)
        tracker.log_results(RECORD)
        tracker.finish("FINISHED")
        assert tracker.calls == reachable.calls


def test_server_that_is_down_costs_one_warning(tmp_path, caplog):
    tracker = FakeTracker(tmp_path, lambda calls: len(calls) == 3)
    log_all(tracker)
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert message == "fake failed, and the run continues without it: ConnectionError: not reachable"


@pytest.mark.parametrize("logger", ["mlflow", "wandb"])
def test_unreachable_server_does_not_stop_a_run(logger, tmp_path, monkeypatch, caplog):
    pytest.importorskip(logger)
    for name in ("WANDB_BASE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # closed
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("WANDB_API_KEY", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(wandb_module, "LIMITS", {"init_timeout": 1})
    record = train(settings(f"logger={logger}"), tmp_path / "run")
    assert json.loads((tmp_path / "run/metrics.json").read_text())["test"] == record["test"]
    (message,) = [entry.getMessage() for entry in caplog.records if entry.name.endswith("tracker")]
    assert message.startswith(f"{logger} failed, and the run continues without it: ")


def test_csv_means_no_other_logger(tmp_path):
    train(settings("logger=csv", "epochs=1"), tmp_path, on_finish=log_figures)
    assert (tmp_path / "metrics.csv").exists()
    assert not (tmp_path / "tensorboard").exists()


def test_logger_is_not_part_of_the_run_name():
    choices = {"model": "cnn", "data": "cifar10", "logger": "mlflow"}
    overrides = ["logger=[tensorboard,mlflow]", "logger.mlflow.tracking_uri=http://127.0.0.1:5000", "seed=2"]
    assert run_name(choices, overrides) == "cnn/seed=2"
    trackers = [(name, field.annotation.__args__[0]) for name, field in LoggerSettings.model_fields.items()
                if name != "tensorboard"]  # fmt: skip
    keys = {f"logger.{name}.{key}" for name, group in trackers for key in group.model_fields}
    assert keys | {"logger", "logger.tensorboard"} <= set(NOT_COMPARED)


def test_missing_package_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "no_such_package").mkdir()  # as a folder wandb/ in the current folder
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"no_such_package not installed; pip install -e '.\[wandb\]'"):
        require_packages("wandb", "no_such_package")


def test_loggers_and_title_of_a_run(tmp_path):
    pytest.importorskip("mlflow")
    cfg = settings("logger=[mlflow,tensorboard]", f"runs={tmp_path}")
    board, tracker = make_run_loggers(cfg, tmp_path / "mlp/seed=1")
    assert tracker.title == "mlp/seed=1"
    assert Path(board.log_dir) == tmp_path / "mlp/seed=1/tensorboard"
