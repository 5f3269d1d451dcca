"""Several processes for one run: started here, one for each device, where no launcher has started them already."""

import logging
import logging.config
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from cifar10.errors import Interrupted, UserError
from cifar10.signals import StopSignals
from cifar10.study import Trial

ROOT = Path(__file__).resolve().parent.parent


def processes_to_start(cfg: DictConfig) -> int:
    """How many processes this one has to start for `cfg.trainer`; 1 where it is to train itself.

    That is also where it is one of several already: of those below, of torchrun's or of srun's. Raises UserError for
    devices that there are not, and for several nodes without a launcher.
    """
    if cfg.trainer.devices in (1, "1") and cfg.trainer.get("num_nodes", 1) == 1:
        return 1
    from cifar10.trainer import bare_trainer

    trainer = bare_trainer(cfg)
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if environment is None or environment.creates_processes_externally:
        return 1
    if trainer.num_nodes > 1:
        raise UserError(
            f"trainer.num_nodes={trainer.num_nodes}: start it on every node by torchrun or srun; docs/scale.md says how"
        )
    cores = os.cpu_count() or 1
    if trainer.strategy.root_device.type == "cpu" and trainer.num_devices > cores:
        raise UserError(
            f"trainer.devices={trainer.num_devices}: this machine has {cores} cores; choose as many at most"
        )
    return trainer.num_devices


def is_first_process() -> bool:
    """Whether this is the only process of its run, or the one that writes its files."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", os.environ.get("LOCAL_RANK", "0"))) == "0"


def train_in_processes(cfg: DictConfig, folder: Path, trial: Trial | None, count: int) -> None:
    """Runs `train(cfg, folder, trial)` in `count` new processes, the ranks of one run, and waits for them.

    They live as long as this one at most. Ctrl-C and SIGTERM are passed on. Raises UserError, Interrupted as `train`.
    """
    # A new interpreter for each: a copy of this one would share its threads' locks and its accelerator.
    context = get_context("spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": str(count)}
    logs = OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True) if HydraConfig.initialized() else None
    settings, ranks, reports = OmegaConf.to_container(cfg, resolve=True), [], []
    for rank in range(count):
        report, end = context.Pipe(duplex=False)
        arguments = settings, folder, trial, place | {"LOCAL_RANK": str(rank)}, logs, end
        ranks.append(context.Process(target=_train_as_rank, args=arguments, name=f"rank {rank}"))
        reports.append(report)

    def pass_on() -> None:
        for rank in ranks:
            if rank.is_alive():
                rank.terminate()

    stop = StopSignals(pass_on)
    with stop.caught():
        try:
            for rank in ranks:
                rank.start()
            _wait(ranks, reports)
        except (Interrupted, UserError) as error:
            if stop.asked:  # to the ranks it is SIGTERM in any case, of which one dies that has not yet begun
                raise Interrupted(str(error), stop.status) from None
            raise
        finally:
            for rank in ranks:
                if rank.is_alive():
                    rank.kill()
                rank.join()


def _wait(ranks: Sequence[BaseProcess], reports: Sequence[connection.Connection]) -> None:
    """Until all are done, or the first one fails: the others would wait for it in vain."""
    running = dict(zip(ranks, reports, strict=True))
    while running:
        connection.wait([rank.sentinel for rank in running])
        for rank in [rank for rank in running if not rank.is_alive()]:
            report = running.pop(rank)
            if rank.exitcode == 0:
                continue
            error = report.recv() if report.poll() else None
            raise error or UserError(
                f"{rank.name} of {len(ranks)} processes ended with status {rank.exitcode}, the others were stopped; "
                "the same command goes on from the last checkpoint"
            )


def _train_as_rank(
    settings: dict[str, Any],
    folder: Path,
    trial: Trial | None,
    place: dict[str, str],
    logs: dict[str, Any] | None,
    report: connection.Connection,
) -> None:
    """The life of one rank. What a user can mend goes to the parent as an exception, through `report`."""
    signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT}
    )  # a terminal sends it to all; the parent passes on SIGTERM
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(place)
    sys.path.insert(0, str(ROOT))
    if not is_first_process():
        logging.disable(logging.WARNING)
    elif logs is not None:
        logging.config.dictConfig(logs)
    from train import train

    try:
        train(OmegaConf.create(settings), folder, trial)
    except (UserError, Interrupted, OSError) as error:
        report.send(error)
        sys.exit(1)


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
