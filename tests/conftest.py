"""Fixtures of several test modules. PyTorch is imported only by the fixtures that need it."""

import json
import os
import runpy
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

if "PYTEST_XDIST_WORKER" in os.environ:  # several workers share the cores; PyTorch reads this when it is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def no_fsync() -> Iterator[None]:
    """Disables fsync, which takes a third of the time of a small run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[[str, int, str], None]:
    """Returns a function (fault, count, outcome) that records injected faults; the mark `fault` records one."""
    return lambda *fault: request.node.user_properties.append(("fault", fault))


def pytest_runtest_setup(item: pytest.Item) -> None:
    item.user_properties += [("fault", (mark.args[0], 1, mark.args[1])) for mark in item.iter_markers("fault")]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the count and outcome of each injected fault, and writes them to $FAULTS_JSON for docs/reliability.md."""
    counts: Counter[tuple[str, str]] = Counter()
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties if report.when == "call" else []:
            if name == "fault":
                fault, count, outcome = value
                counts[fault, outcome] += count
    # The same fault with fewer cases has another outcome, which counts them.
    faults = {fault: (count, outcome) for (fault, outcome), count in reversed(counts.most_common())}
    if faults:
        terminalreporter.section("faults")
    for fault, (count, outcome) in faults.items():
        terminalreporter.line(f"{fault}: {count:,} times; {outcome}")
    if faults and (path := os.environ.get("FAULTS_JSON")):
        Path(path).write_text(json.dumps(faults))


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str]]:
    """Runs a script with arguments; returns its exit status or message, and its output."""

    def run(script: str, *arguments: Any) -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        GlobalHydra.instance().clear()
        capsys.readouterr()
        status: Any = 0
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        finally:
            HydraConfig.instance().cfg = None  # as in a new process
        return status, capsys.readouterr().out

    return run


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Starts the jobs of a sweep in another, empty folder, as Ray does; returns that folder."""
    from hydra._internal.core_plugins import basic_launcher

    folder, run_job = tmp_path_factory.mktemp("elsewhere"), basic_launcher.run_job

    def from_there(**job: Any) -> Any:
        here = Path.cwd()
        os.chdir(folder)
        try:
            return run_job(**job)
        finally:
            os.chdir(here)

    monkeypatch.setattr(basic_launcher, "run_job", from_there)
    return folder


@pytest.fixture(scope="session")
def random_data() -> Callable[..., Any]:
    """Returns a function that builds an ImageData of random training images with these labels and 12 test images."""
    import torch

    from cifar10.data.datamodule import ImageData, ImageSet

    class RandomImages(ImageData):
        name = "random"

        def __init__(self, labels: Sequence[int], **settings: Any) -> None:
            super().__init__(**settings)
            self.labels = torch.tensor(labels)

        def read(self) -> ImageSet:
            generator = torch.Generator().manual_seed(0)
            train, test = (
                torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
                for count in (len(self.labels), 12)
            )
            classes = int(self.labels.max()) + 1
            names = [f"class {label}" for label in range(classes)]
            return ImageSet(train, self.labels, test, torch.arange(12) % classes, names)

    return RandomImages


@pytest.fixture(scope="session")
def quiet_trainer() -> Callable[..., Any]:
    """Returns a function that builds a CPU Trainer without output, by default for one epoch."""
    from lightning import Trainer

    def make(**settings: Any) -> Trainer:
        quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        return Trainer(accelerator="cpu", **{"max_epochs": 1, **dict.fromkeys(quiet, False), **settings})

    return make


@pytest.fixture(scope="session")
def compiler() -> None:
    """Skips the test if kernels cannot be compiled."""
    import torch

    from cifar10.color.kernels import can_compile

    if not can_compile(torch.rand(2, 3, 32, 32), "cie76"):  # the shape in all tests: compiled once
        pytest.skip("kernels cannot be compiled on this machine")


@pytest.fixture(scope="session")
def synthetic_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs on a few synthetic images: each model, an MLP with another seed, an experiment. Read-only."""
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # the workers share them
    with FileLock(base / "synthetic_runs.lock"):
        if not (base / "synthetic_runs").exists():
            _train_synthetic_runs(base / "unfinished")
            (base / "unfinished").rename(base / "synthetic_runs")
    return base / "synthetic_runs"


def _train_synthetic_runs(folder: Path) -> None:

    from cifar10.results.figures import log_figures
    from cifar10.training.config import compose_settings
    from cifar10.training.run import train

    small = ["data=synthetic", "data.train_size=140", "data.test_size=100", "data.val_size=40", "batch_size=20"]
    small += ["epochs=2", "precision=32-true", "trainer.enable_progress_bar=false"]
    for choice in ("model=prototype", "model=mlp", "model=mlp seed=2", "experiment=mlp_fast", "model=cnn"):
        overrides = [*choice.split(), *small]
        cfg = compose_settings(*overrides)
        train(cfg, folder / choice.replace(" ", "/"), overrides=overrides, on_finish=log_figures)


@pytest.fixture(scope="session")
def miniature_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs of the three models in the study's settings, as far as records show, on tiny CIFAR-10 files."""
    from miniature import write_miniature

    from cifar10.training.config import compose_settings
    from cifar10.training.run import train

    folder = tmp_path_factory.mktemp("miniature")
    small = [f"data.root={folder}", "data.val_size=4", "batch_size=4", "epochs=1", "precision=32-true"]
    small += ["trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    with pytest.MonkeyPatch.context() as patch:
        write_miniature(folder, patch)
        for model in ("prototype", "mlp", "cnn"):
            cfg = compose_settings(f"model={model}", *small)
            train(cfg, folder / "runs" / model, overrides=[f"model={model}"])
    return folder / "runs"


@pytest.fixture(scope="session")
def weights_folder(miniature_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the published weights of `miniature_runs`."""
    from miniature import write_miniature

    from cifar10.inference.publish_weights import publish_weights
    from cifar10.results import load

    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        write_miniature(tmp_path_factory.mktemp("data"), patch)
        publish_weights(load([miniature_runs]), folder)
    return folder


@pytest.fixture
def published(weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replaces the published weights and CIFAR-10 by those of `weights_folder`; returns that folder. Read-only."""
    from miniature import write_miniature

    from cifar10.training.config import compose_settings

    write_miniature(tmp_path, monkeypatch)
    monkeypatch.setenv("CIFAR10_ROOT", str(tmp_path))
    small = partial(compose_settings, "data.val_size=4")
    monkeypatch.setattr("cifar10.inference.evaluate.compose_settings", small)
    monkeypatch.setattr("cifar10.networks.weights.FOLDER", weights_folder)
    return weights_folder


@pytest.fixture(scope="session")
def synthetic_page(synthetic_runs: Path) -> tuple[str, list[str]]:
    """Returns the report page of `synthetic_runs`, and the reasons for skipped runs."""
    from cifar10.results import load
    from cifar10.results.page.build import page

    return page(load([synthetic_runs]))
