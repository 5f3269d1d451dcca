"""Tests of the results in a run's record."""

import pytest

from cifar10.training.record import validation_results


@pytest.mark.parametrize(
    ("monitor", "best"),
    [("val/loss", {"best_epoch": 2, "val_loss": 1.0}), ("val/accuracy", {"best_epoch": 3, "val_accuracy": 0.5})],
)
def test_best_epoch_is_the_first_of_equal_ones_and_never_nan(monitor, best, tmp_path):
    """As in Lightning's ModelCheckpoint, which saves the weights."""
    rows = ["1,nan,nan", "2,1.0,0.25", "3,2.0,0.5", "4,1.0,0.5", "5,nan,nan"]
    (tmp_path / "metrics.csv").write_text("\n".join(["epoch,val/loss,val/accuracy", *rows]))
    found = validation_results(tmp_path, monitor)
    assert found["epochs"] == 5
    assert found | best == found
