"""Training throughput: a bare loop, this project's Trainer, and the way that tutorials teach, turn and turn about."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassAccuracy
from torchvision import transforms

from benchmarks.measure import compose, interleaved, quietly, read_images, synchronize
from cifar10.color.delta_e import to_lab
from cifar10.data.batches import epoch_order
from cifar10.data.datamodule import ImageData
from cifar10.models.classifier import Classifier
from cifar10.models.prototype import Prototype
from cifar10.training.checkpoints import LastCheckpoint
from cifar10.training.precision import chosen_precision
from cifar10.training.trainer import make_trainer

STEPS = {"prototype": 60, "mlp": 400, "cnn": 30}
WARM_UP_STEPS = 10


def training(data: str, rounds: int) -> dict[str, Any]:
    """Model -> way -> images per second, one value a round."""
    found = {}
    for name, steps in STEPS.items():
        cfg = compose(f"model={name}", f"data={data}", "epochs=1", f"+trainer.limit_train_batches={steps}")
        images = read_images(cfg, at_least=steps * cfg.batch_size)
        ways: dict[str, Callable[[], float]] = {
            "bare loop": lambda: bare_loop(cfg, images, steps),  # noqa: B023 (called within this turn)
            "this project": lambda: this_project(cfg, images, steps),  # noqa: B023
            "Lightning alone": lambda: lightning_alone(cfg, images, steps),  # noqa: B023
            "the usual way": lambda: usual_way(cfg, images, steps),  # noqa: B023
        }
        seconds = interleaved(ways, rounds)
        trained = (steps - WARM_UP_STEPS) * cfg.batch_size
        found[name] = {way: [trained / value for value in values] for way, values in seconds.items()}
    return found


def bare_loop(cfg: DictConfig, data: ImageData, steps: int) -> float:
    """Seconds of the steps after the warm-up, as lean as PyTorch allows: the floor."""
    model = instantiate(cfg.model, _convert_="all", class_names=data.class_names)
    with tempfile.TemporaryDirectory() as folder, quietly():
        trainer = make_trainer(cfg, Path(folder), LastCheckpoint(Path(folder) / "last.ckpt"), model)
    device, precision = trainer.strategy.root_device, trainer.precision_plugin
    model.to(device)
    images, labels = data.train_images.to(device), data.train_labels.to(device)
    optimizer = plain_optimizer(model)
    model.train()
    start = 0.0
    for step, index in enumerate(epoch_order(len(images), 1, 0).to(device).split(cfg.batch_size)[:steps]):
        batch, target = images[index], labels[index]
        if step == WARM_UP_STEPS:
            synchronize()
            start = perf_counter()
        with precision.forward_context():
            loss = model.loss(model(batch), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if isinstance(model, Prototype):
            with torch.no_grad():
                model.network.prototypes.clamp_(0, 1)
    synchronize()
    return perf_counter() - start


def plain_optimizer(model: Classifier) -> Any:
    """The model's own, without the prototypes' schedule, which asks for a Trainer."""
    if isinstance(model, Prototype):
        return torch.optim.SGD(model.parameters(), lr=model.learning_rate)
    return model.configure_optimizers()


class Clock(Callback):
    """Seconds of the steps after the warm-up."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.seconds = 0.0

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARM_UP_STEPS:
            synchronize()
            self.start = perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.steps - 1:
            synchronize()
            self.seconds = perf_counter() - self.start


def this_project(cfg: DictConfig, data: ImageData, steps: int) -> float:
    """The same under this project's Trainer, with all its callbacks and loggers."""
    model: Classifier = instantiate(cfg.model, _convert_="all", class_names=data.class_names)
    with tempfile.TemporaryDirectory() as folder, quietly():
        trainer = make_trainer(cfg, Path(folder), LastCheckpoint(Path(folder) / "last.ckpt"), model)
        trainer.callbacks.append(clock := Clock(steps))
        trainer.fit(model, data)
    return clock.seconds


def lightning_alone(cfg: DictConfig, data: ImageData, steps: int) -> float:
    """The same network under a Trainer with nothing in it, nothing counted: what remains is Lightning's own."""
    model = Minimal(instantiate(cfg.model, _convert_="all", class_names=data.class_names))
    with quietly():
        trainer = Trainer(
            max_epochs=1,
            limit_train_batches=steps,
            limit_val_batches=0,
            precision=chosen_precision(cfg.precision, cfg.trainer.accelerator),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[clock := Clock(steps)],
            accelerator=cfg.trainer.accelerator,
            devices=1,
        )
        trainer.fit(model, data)
    return clock.seconds


class Minimal(LightningModule):
    """The least that Lightning trains."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.model.loss(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return plain_optimizer(self.model)


class PerImage(Dataset):
    """Images one by one, as torchvision's CIFAR10 hands them out: a PIL image through per-image transforms."""

    def __init__(self, data: ImageData, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images = data.train_images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = data.train_labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class Usual(LightningModule):
    """The LightningModule of tutorials: loss and metric are logged in each step."""

    def __init__(self, network: nn.Module, optimizer: Callable[[Iterator[nn.Parameter]], Any], classes: int) -> None:
        super().__init__()
        self.network, self.make_optimizer = network, optimizer
        self.accuracy = MulticlassAccuracy(classes, average="micro")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self.network(images)
        if isinstance(self.network, BroadcastPrototypes):
            loss = -logits.gather(1, labels[:, None]).mean()
        else:
            loss = F.cross_entropy(logits, labels)
        self.accuracy(logits, labels)
        self.log("train_loss", loss, prog_bar=True)
        self.log("train_accuracy", self.accuracy)
        return loss

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.parameters())


class BroadcastPrototypes(nn.Module):
    """Nearest prototypes as one writes them down: every image against every prototype by broadcasting."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.rand(classes, 3, 32, 32))

    def forward(self, images: Tensor) -> Tensor:
        difference = to_lab(images)[:, None] - to_lab(self.prototypes)[None]
        return -difference.square().sum(2).add(1e-12).sqrt().mean((2, 3))


def usual_way(cfg: DictConfig, data: ImageData, steps: int) -> float:
    """Lightning's defaults, per-image transforms, a DataLoader with two workers, logging and metrics in each step."""
    steps_of_image: list[Callable] = [transforms.ToTensor()]
    if cfg.model._target_.endswith("Prototype"):
        network: nn.Module = BroadcastPrototypes(len(data.class_names))
        optimizer: Callable[..., Any] = lambda parameters: torch.optim.SGD(parameters, lr=10)  # noqa: E731
    else:
        model = instantiate(cfg.model, _convert_="all", class_names=data.class_names)
        network = model.network.layers.to(memory_format=torch.contiguous_format)
        optimizer = lambda parameters: torch.optim.Adam(parameters, lr=1e-3)  # noqa: E731
        if cfg.model._target_.endswith("CNN"):
            steps_of_image.append(transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)))
    loader = DataLoader(PerImage(data, transforms.Compose(steps_of_image)), cfg.batch_size, shuffle=True, num_workers=2)
    with tempfile.TemporaryDirectory() as folder, quietly():
        trainer = Trainer(
            max_epochs=1,
            limit_train_batches=steps,
            precision=chosen_precision(cfg.precision, cfg.trainer.accelerator),
            default_root_dir=folder,
            callbacks=[clock := Clock(steps)],
            enable_model_summary=False,
            accelerator=cfg.trainer.accelerator,
            devices=1,
        )
        trainer.fit(Usual(network, optimizer, len(data.class_names)), loader)
    return clock.seconds
