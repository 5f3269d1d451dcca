"""TensorBoard's event files of a run that was interrupted, as if it had not been."""

import os
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from cifar10.files import write_atomically

AT_THE_END = ("test/", "best/", "_hparams_", "first_layer")
"""How the tags begin of what a run writes after its last epoch."""


def forget_after(epochs: int | None, folder: Path) -> None:
    """Takes from the folder's event files what a run will write again that goes on after so many epochs; None: all.

    Otherwise charts would show it twice. A record that a kill has torn is the last of its file.
    """
    for left in folder.glob("*.partial"):  # by a kill in here
        left.unlink()
    for path in sorted(folder.glob("events.out.tfevents.*")):
        records = [] if epochs is None else list(RawEventFileLoader(str(path)).Load())
        if kept := [record for record in records if _is_of(Event.FromString(record), epochs)]:
            write_atomically(path, lambda file, kept=kept: [RecordWriter(file).write(record) for record in kept])
        else:
            path.unlink()


def sync_events(folder: Path) -> None:
    """What was flushed to the folder's event files is on the disk after this, whatever happens to the machine."""
    for path in folder.glob("events.out.tfevents.*"):
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _is_of(event: Event, epochs: int) -> bool:
    """Whether the first so many epochs wrote it."""
    return event.step <= epochs and not any(value.tag.startswith(AT_THE_END) for value in event.summary.value)
