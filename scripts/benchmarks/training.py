"""Measures training steps alone, at the batch size and precision of `model=`, and their throughput in TFLOP/s.

Lightning alone: a Trainer without callbacks, loggers and metrics. Standard DataLoader baseline: Lightning's defaults,
torchvision's `ToTensor` for each image, two workers, `self.log` and torchmetrics in each step; for prototypes, every
image against every prototype by broadcasting. Keras: the study's networks by `fit`, in float32, its default precision.
Matrix product: of two matrices of 4096 x 4096 in the same precision, on the same cores.
"""

import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchmetrics.classification import MulticlassAccuracy
from torchvision import transforms

from benchmarks.measure import Rows, interleaved, load_data, per_second, seconds, synchronize
from cifar10.color.delta_e import to_lab
from cifar10.data.batches import epoch_order
from cifar10.data.datamodule import ImageData
from cifar10.models.build import build_model
from cifar10.models.classifier import Classifier
from cifar10.networks.prototype import PrototypeNetwork
from cifar10.training.checkpoints import LastCheckpoint
from cifar10.training.config import compose_settings
from cifar10.training.precision import autocast, best_device, chosen_precision
from cifar10.training.trainer import make_trainer

ROWS = {  # row -> overrides, steps
    "prototype": (["model=prototype", "model.compile=false"], 60),
    "prototype, compiled": (["model=prototype", "model.compile=true"], 60),
    "mlp": (["model=mlp"], 400),
    "cnn": (["model=cnn"], 30),
    "cnn, float32": (["model=cnn", "precision=32-true"], 20),
}
WARM_UP_STEPS = 10


def training(data: str, rounds: int) -> dict[str, Rows]:
    loops: dict[str, Any] = {
        "bare loop": bare_loop,
        "this project": this_project,
        "Lightning alone": lightning_alone,
        "standard DataLoader baseline": standard_baseline,
    }
    if find_spec("tensorflow"):
        loops["Keras"] = keras_fit
    rows: Rows = {}
    arithmetic: Rows = {}
    for name, (overrides, steps) in ROWS.items():
        cfg = compose_settings(*overrides, f"data={data}", "epochs=1", f"trainer.limit_train_batches={steps}")
        images = load_data(cfg, at_least=steps * cfg.batch_size)
        count = (steps - WARM_UP_STEPS) * cfg.batch_size
        cells = {label: per_second(count, partial(loop, cfg, images, steps)) for label, loop in loops.items()}
        if name.startswith("prototype"):
            cells.pop("Keras", None)
        else:
            cells["matrix product"] = partial(matrix_product, cfg)
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # progress bars
            rows |= interleaved({name: cells}, rounds)
        if product := rows[name].pop("matrix product", None):
            flops = flops_per_image(cfg, images)
            achieved = [flops * speed / 1e12 for speed in rows[name]["this project"]]
            arithmetic[name] = {"achieved": achieved, "matrix product": product}
    return {"images per second": rows, "TFLOP/s": arithmetic}


def flops_per_image(cfg: DictConfig, data: ImageData) -> float:
    """Returns the floating-point operations of a training step per image, as PyTorch counts them."""
    model = build_model(cfg.model, data.class_names).train()
    with FlopCounterMode(display=False) as counter:
        model.loss(model(data.train_images[:32].cpu()), data.train_labels[:32].cpu()).backward()
    return counter.get_total_flops() / 32


def matrix_product(cfg: DictConfig) -> float:
    """Returns the TFLOP/s of a plain matrix product in the precision of `cfg`."""
    size, device = 4096, best_device()
    low = chosen_precision(cfg.precision, cfg.trainer.accelerator) == "bf16-mixed"
    matrix = torch.rand(size, size, device=device, dtype=torch.bfloat16 if low else torch.float32)
    return 2 * size**3 / seconds(lambda: matrix @ matrix)() / 1e12


class StepTimer(Callback):
    """Callback that measures the seconds of the steps after WARM_UP_STEPS."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == WARM_UP_STEPS:
            synchronize()
            self.start = perf_counter()

    def needs_step(self, step: int) -> bool:
        return step in (WARM_UP_STEPS, self.steps)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.steps:
            synchronize()
            self.seconds = perf_counter() - self.start


def make_optimizer(model: Classifier, network: nn.Module, fused: bool) -> torch.optim.Optimizer:
    learning_rate: Any = model.learning_rate
    if isinstance(model.network, PrototypeNetwork):
        return torch.optim.SGD(network.parameters(), lr=learning_rate)
    return torch.optim.Adam(network.parameters(), lr=learning_rate, fused=fused)


def bare_loop(cfg: DictConfig, data: ImageData, steps: int) -> float:
    """Trains with a minimal PyTorch loop; returns the seconds after WARM_UP_STEPS."""
    device = best_device()
    model = build_model(cfg.model, data.class_names).to(device).train()
    images, labels = data.train_images.to(device), data.train_labels.to(device)
    precision = chosen_precision(cfg.precision, cfg.trainer.accelerator)
    optimizer, start = make_optimizer(model, model, fused=True), 0.0
    for step, index in enumerate(epoch_order(len(images), 1, 0).to(device).split(cfg.batch_size)[:steps]):
        if step == WARM_UP_STEPS:
            synchronize()
            start = perf_counter()
        with autocast(precision, device):
            loss = model.loss(model(images[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if isinstance(model.network, PrototypeNetwork):
            model.network.prototypes.data.clamp_(0, 1)
    synchronize()
    return perf_counter() - start


def this_project(cfg: DictConfig, data: ImageData, steps: int) -> float:
    """Trains with this project's Trainer, callbacks and loggers; returns the seconds after WARM_UP_STEPS."""
    model, timer = build_model(cfg.model, data.class_names), StepTimer(steps)
    with tempfile.TemporaryDirectory() as folder:
        last = LastCheckpoint(Path(folder) / "last.ckpt")
        make_trainer(cfg, Path(folder), last, model, [timer]).fit(model, data)
    return timer.seconds


class Module(LightningModule):
    """LightningModule of a network. With `accuracy`, it logs accuracy and loss in each step, as in tutorials."""

    def __init__(self, network: nn.Module, loss: Callable[..., Tensor], optimizer: Any, accuracy: Any = None) -> None:
        super().__init__()
        self.network, self.loss, self.optimizer, self.accuracy = network, loss, optimizer, accuracy

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self.network(images)
        loss = self.loss(logits, labels)
        if self.accuracy is not None:
            self.accuracy(logits, labels)
            self.log("train_loss", loss, prog_bar=True)
            self.log("train_accuracy", self.accuracy)
        return loss

    def configure_optimizers(self) -> Any:
        return self.optimizer


def lightning_alone(cfg: DictConfig, data: ImageData, steps: int) -> float:
    """Trains the same network with a Trainer without loggers, checkpoints and metrics; returns the seconds."""
    model = build_model(cfg.model, data.class_names)
    module = Module(model, model.loss, make_optimizer(model, model, fused=True))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return fit(module, data, cfg, steps, limit_val_batches=0, **quiet)


def fit(module: LightningModule, data: Any, cfg: DictConfig, steps: int, **settings: Any) -> float:
    """Trains `steps` steps with a Trainer of these settings; returns the seconds after WARM_UP_STEPS."""
    precision: Any = chosen_precision(cfg.precision, cfg.trainer.accelerator)
    own = {"accelerator": cfg.trainer.accelerator, "devices": 1, "precision": precision, "enable_model_summary": False}
    timer = StepTimer(steps)
    Trainer(max_epochs=1, limit_train_batches=steps, callbacks=[timer], **own, **settings).fit(module, data)
    return timer.seconds


class PerImage(Dataset):
    """Dataset of single images, like torchvision's CIFAR10: applies `transform` to a PIL image."""

    def __init__(self, data: ImageData, transform: Callable[[Image.Image], Any]) -> None:
        self.images = data.train_images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
        self.labels, self.transform = data.train_labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class BroadcastPrototypes(nn.Module):
    """Nearest-prototype network in Lab that broadcasts every image against every prototype."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.rand(classes, 3, 32, 32))

    def forward(self, images: Tensor) -> Tensor:
        difference = to_lab(images)[:, None] - to_lab(self.prototypes)[None]
        return -difference.square().sum(2).add(1e-12).sqrt().mean((2, 3))


def standard_loader(data: ImageData, batch_size: int, *transform: Any) -> DataLoader:
    """Returns a shuffled DataLoader with two workers and per-image transforms."""
    data_set = PerImage(data, transforms.Compose([*transform, transforms.ToTensor()]))
    return DataLoader(data_set, batch_size, shuffle=True, num_workers=2)


def standard_baseline(cfg: DictConfig, data: ImageData, steps: int) -> float:
    """Trains with Lightning's defaults and `standard_loader`; returns the seconds after WARM_UP_STEPS."""
    model, classes = build_model(cfg.model, data.class_names), len(data.class_names)
    network: Any = BroadcastPrototypes(classes) if isinstance(model.network, PrototypeNetwork) else model.network.layers
    network.to(memory_format=torch.contiguous_format)
    accuracy = MulticlassAccuracy(classes, average="micro")
    module = Module(network, model.loss, make_optimizer(model, network, fused=False), accuracy)
    with tempfile.TemporaryDirectory() as folder:
        return fit(module, standard_loader(data, cfg.batch_size), cfg, steps, default_root_dir=folder)


def keras_fit(cfg: DictConfig, data: ImageData, steps: int) -> float:
    """Trains the study's network with Keras, on arrays in memory; the first steps compile it and are not counted."""
    import keras
    from keras import layers

    dense = [layers.Dense(300, "elu"), layers.Dense(150, "elu")]
    network: list[Any] = [layers.Flatten(), *dense]
    if "CNN" in cfg.model._target_:
        network = []
        for widths in ((64,), (128, 128), (256, 256)):
            network += [layers.Conv2D(width, 3, padding="same", activation="relu") for width in widths]
            network += [layers.MaxPooling2D()]
        network += [layers.Flatten(), layers.Dense(128, "relu"), layers.Dense(64, "relu")]
    model = keras.Sequential([layers.Input((32, 32, 3)), *network, layers.Dense(10, "softmax")])
    optimizer = keras.optimizers.Adam(cfg.model.learning_rate)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    images = (data.train_images[: steps * cfg.batch_size].permute(0, 2, 3, 1) / 255).cpu().numpy()
    labels, warm_up = data.train_labels.cpu().numpy(), WARM_UP_STEPS * cfg.batch_size
    model.fit(images[:warm_up], labels[:warm_up], cfg.batch_size, verbose=0)
    start = perf_counter()
    model.fit(images[warm_up:], labels[warm_up : len(images)], cfg.batch_size, verbose=0)
    return perf_counter() - start
