"""TensorBoard's files of a run that goes on."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from cifar10.training.loggers.events import forget_after, sync_events


@pytest.fixture
def folder(tmp_path):
    """Three epochs in two files, the second one torn, and what is written after them."""
    for epochs in ([1, 2], [3, 4]):
        with SummaryWriter(tmp_path) as writer:
            writer.add_custom_scalars({"charts": {"loss": ["Multiline", ["train/loss"]]}})
            for epoch in epochs:
                writer.add_scalar("train/loss", 1 / epoch, epoch)
            if epochs[0] == 3:
                writer.add_scalar("test/accuracy", 0.5, 3)
                writer.add_scalar("best/val_loss", 0.5, 1)
                writer.add_scalar("train/loss", 0.2, 5)
    torn = max(tmp_path.iterdir(), key=lambda path: path.name)
    torn.write_bytes(torn.read_bytes()[:-5])
    return tmp_path


def shown(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.parametrize("epochs", [0, 1, 2, 3])
def test_what_later_epochs_and_the_end_wrote_is_gone(epochs, folder):
    forget_after(epochs, folder)
    expected = [(epoch, pytest.approx(1 / epoch)) for epoch in range(1, epochs + 1)]
    assert shown(folder) == ({"train/loss": expected} if epochs else {})


def test_a_run_that_begins_has_no_older_files(folder):
    (folder / "hparams.yaml").write_text("{}")
    forget_after(None, folder)
    assert [path.name for path in folder.iterdir()] == ["hparams.yaml"]


def test_what_is_kept_is_kept_to_the_byte(folder):
    first = min(path for path in folder.iterdir())
    with SummaryWriter(folder / "other") as writer:
        writer.add_scalar("train/loss", 1.0, 1)
    (path,) = (folder / "other").iterdir()
    before = path.read_bytes()
    forget_after(1, folder / "other")
    assert path.read_bytes() == before
    sync_events(folder)
    assert first.exists()


def test_a_folder_that_is_not_there_has_nothing(tmp_path):
    forget_after(2, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_half_of_a_file_that_a_kill_left_is_no_file(folder):
    whole = min(folder.iterdir())
    whole.with_name(whole.name + ".partial").write_bytes(whole.read_bytes()[:100])
    forget_after(3, folder)
    assert len(list(folder.iterdir())) == 2
    assert len(shown(folder)["train/loss"]) == 3
