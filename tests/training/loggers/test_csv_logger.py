"""Tests metrics.csv: one row per epoch, in any order of values."""

from cifar10.training.loggers.csv_logger import EpochCSVLogger


def test_values_of_an_epoch_share_a_row(tmp_path):
    table = EpochCSVLogger(tmp_path / "metrics.csv")
    table.log_metrics({"val/loss": 2.0, "val/accuracy": 0.25}, 1)
    table.log_metrics({"seconds": 1.0, "train/loss": 1.5, "train/accuracy": 0.5}, 1)
    table.save()
    assert (tmp_path / "metrics.csv").read_text() == (
        "epoch,val/loss,val/accuracy,seconds,train/loss,train/accuracy\n1,2.0,0.25,1.0,1.5,0.5\n"
    )


def test_resumed_run_keeps_earlier_rows_and_replaces_repeated_ones(tmp_path):
    first = EpochCSVLogger(tmp_path / "metrics.csv")
    for epoch in (1, 2):
        first.log_metrics({"val/loss": float(epoch)}, epoch)
    first.save()
    second = EpochCSVLogger(tmp_path / "metrics.csv")
    for epoch in (2, 3):
        second.log_metrics({"val/loss": 10.0 * epoch}, epoch)
    second.save()
    assert (tmp_path / "metrics.csv").read_text() == "epoch,val/loss\n1,1.0\n2,20.0\n3,30.0\n"
