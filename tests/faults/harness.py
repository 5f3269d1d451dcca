"""Runs training in separate processes that are killed at a chosen moment, and compares run folders.

A moment is a call of one of the functions in `counted_moments`, counted from the start of the process: between two
steps, within the write of a file, before its rename, within validation and test.
"""

import csv
import ctypes
import gc
import json
import math
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CONF = Path(__file__).resolve().parents[2] / "conf"
FORKS = get_context("forkserver")  # forks from a process with the slow imports done
FORKS.set_forkserver_preload(["cifar10.training.trainer", "cifar10.training.record", "cifar10.models.build"])

SMALL = ("data=synthetic", "data.train_size=140", "data.val_size=40", "data.test_size=50", "data.eval_batch_size=20")
SMALL += ("batch_size=25", "epochs=3", "trainer.enable_progress_bar=false")
TIMES = ("seconds", "val_seconds", "images_per_second")


class Attempt:
    """One process that trains into `folder`.

    die_at: the moment of its SIGKILL, or None. largest_file: limit of file size in bytes. watch: report memory in MB,
    open files and threads after each epoch, instead of the number of moments.
    """

    def __init__(
        self,
        overrides: Sequence[str],
        folder: Path,
        die_at: int | None = None,
        largest_file: int | None = None,
        watch: bool = False,
    ) -> None:
        self.report, end = FORKS.Pipe(duplex=False)
        arguments = overrides, folder, die_at, largest_file, watch, end
        self.process: BaseProcess = FORKS.Process(target=_train, args=arguments)
        self.process.start()
        end.close()

    def finish(self) -> int:
        """Waits for the process to finish; returns its number of moments."""
        report = self.end()
        assert isinstance(report, int), report
        return report

    def end(self) -> int | str | list[tuple[float, int, int]]:
        """Waits for the process to end; returns its report, "killed", or its one-line error."""
        try:
            report = self.report.recv()
        except EOFError:
            report = "killed"
        self.process.join()
        return report


def _train(
    overrides: Sequence[str],
    folder: Path,
    die_at: int | None,
    largest_file: int | None,
    watch: bool,
    report: Connection,
) -> None:
    from cifar10.errors import UserError, one_line
    from cifar10.training.config import compose_settings
    from cifar10.training.run import train

    torch.set_num_threads(1)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    cfg = compose_settings(*SMALL, *overrides)
    with resources_after_each_epoch() as resources, counted_moments(die_at) as moments:
        try:
            train(cfg, folder, on_finish=log_one_figure)
        except (UserError, OSError) as error:
            report.send(one_line(error))
        else:
            report.send(resources if watch else len(moments))


def log_one_figure(folder: Path, record: dict[str, Any], loggers: Any) -> None:
    """Logs one image to TensorBoard, which is faster than all figures of a run."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder / "tensorboard") as writer:
        writer.add_image("test/confusion", np.array(record["test"]["confusion"])[None] / 255.0, record["epochs"])


@contextmanager
def resources_after_each_epoch() -> Iterator[list[tuple[float, int, int]]]:
    """Records memory in MB, open files and threads of this process after each epoch.

    Memory is the resident memory without pages shared with files, after garbage collection and malloc_trim. Memory that
    the C library has cached varies by 10 MB.
    """
    from cifar10.training.checkpoints import LastCheckpoint

    resources: list[tuple[float, int, int]] = []
    original = LastCheckpoint.on_train_epoch_end

    def watched(*args: Any) -> None:
        original(*args)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
        files, threads = (sum(1 for _ in Path("/proc/self", what).iterdir()) for what in ("fd", "task"))
        resources.append(((resident - shared) * resource.getpagesize() / 1e6, files, threads))

    LastCheckpoint.on_train_epoch_end = watched
    yield resources


@contextmanager
def counted_moments(die_at: int | None) -> Iterator[list[str]]:
    """Yields a list of the names of all moments so far, and kills the process at moment `die_at`."""
    from torch.utils.tensorboard import SummaryWriter

    from cifar10.models import classifier
    from cifar10.training.checkpoints import LastCheckpoint

    classifier.SECONDS_PER_CALL = math.inf  # else the number of moments depends on the speed of the machine
    moments: list[str] = []

    def count_moment(name: str) -> None:
        moments.append(name)
        if len(moments) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        @wraps(original)
        def watched(*args: Any, **kwargs: Any) -> Any:
            count_moment(f"before {name}")
            result = original(*args, **kwargs)
            count_moment(f"after {name}")
            return result

        setattr(owner, name, watched)

    def fsync(descriptor: int) -> None:  # no sync needed: a kill loses no written page
        if len(moments) + 1 == die_at and Path(f"/proc/self/fd/{descriptor}").is_file():
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        count_moment("half of a file")
        count_moment("a file without its name")

    def flush(writer: SummaryWriter, original: Callable[[SummaryWriter], None] = SummaryWriter.flush) -> None:
        before = {path: path.stat().st_size for path in Path(writer.log_dir).glob("events.out.tfevents.*")}
        original(writer)
        if len(moments) + 1 == die_at:
            for path, size in before.items():
                os.truncate(path, (path.stat().st_size + size) // 2)
        count_moment("half of what is flushed")

    os.fsync, SummaryWriter.flush = fsync, flush
    watch(LastCheckpoint, "needs_step")
    watch(LastCheckpoint, "on_train_batch_end")
    watch(LastCheckpoint, "on_train_epoch_end")
    watch(classifier.Classifier, "validation_step")
    watch(classifier.Classifier, "test_step")
    watch(Path, "replace")
    yield moments


def difference(first: Path, second: Path) -> str:
    """Returns the first difference between the folders of two finished runs except times, or an empty string."""
    found, expected = _content(first), _content(second)
    if found.keys() != expected.keys():
        return f"{sorted(found.keys() ^ expected.keys())} only in one"
    return next((text for name in found if (text := _first_difference(name, found[name], expected[name]))), "")


def _content(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        match path.suffix:
            case ".ckpt":
                content[name] = _without(torch.load(path, weights_only=True), folder)
            case ".npz":
                content[name] = dict(np.load(path))
            case ".csv":
                content[name] = [_without(row, folder) for row in csv.DictReader(path.open(newline=""))]
            case ".json":
                content[name] = _without(json.loads(path.read_text()), folder)
            case _ if path.is_file() and path.name != ".lock" and "tfevents" not in name:
                content[name] = path.read_bytes()
    return content | _read_tensorboard(folder / "tensorboard")


def _read_tensorboard(folder: Path) -> dict[str, Any]:
    """Returns [(step, value)] of each scalar, image and tensor by tag, and whether there is a graph."""
    events = EventAccumulator(str(folder), dict.fromkeys(("scalars", "images", "tensors"), 0))
    events.Reload()
    tags = events.Tags()
    shown: dict[str, Any] = {"graph": tags["graph"]}
    for kind, read, value in (
        ("scalars", events.Scalars, "value"),
        ("images", events.Images, "encoded_image_string"),
        ("tensors", events.Tensors, "tensor_proto"),
    ):
        for tag in set(tags[kind]) - set(TIMES):
            shown[f"{kind} {tag}"] = [(event.step, getattr(event, value)) for event in read(tag)]
    return shown


def _without(value: Any, folder: Path) -> Any:
    """Removes times and the name of the folder."""
    if isinstance(value, dict):
        kept = (name for name in value if name not in (*TIMES, "EpochTimer"))
        return {_without(name, folder): _without(value[name], folder) for name in kept}
    if isinstance(value, list | tuple):
        return [_without(inner, folder) for inner in value]
    return value.replace(str(folder), "FOLDER") if isinstance(value, str) else value


def _first_difference(name: str, one: Any, other: Any) -> str:
    if type(one) is not type(other):
        return f"{name}: {one!r} and {other!r}"
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return f"{name}: {sorted(map(str, one.keys() ^ other.keys()))} only in one"
        return next((text for key in one if (text := _first_difference(f"{name}: {key}", one[key], other[key]))), "")
    if isinstance(one, list):
        if len(one) != len(other):
            return f"{name}: {len(one)} and {len(other)} entries"
        pairs = enumerate(zip(one, other, strict=True))
        return next((text for key, pair in pairs if (text := _first_difference(f"{name}: {key}", *pair))), "")
    if isinstance(one, torch.Tensor | np.ndarray):
        same = one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
        return "" if same else f"{name}: other values"
    return "" if one == other else f"{name}: {one!r:.80} and {other!r:.80}"
