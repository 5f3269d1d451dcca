"""Several processes for one run: started here, one for each device, where no launcher has started them already."""

import logging
import logging.config
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import sleep
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cifar10.errors import Interrupted, UserError, one_line
from cifar10.sweeps.study import Trial
from cifar10.training.signals import StopSignals

WATCH = "ends with its parent"
ROOT = Path(__file__).resolve().parents[2]


def processes_to_start(cfg: DictConfig) -> int:
    """How many processes this one has to start for `cfg.trainer`; 1 where it is to train itself.

    That is also where it is one of several already: of those below, of torchrun's or of srun's. Raises UserError for
    devices that there are not, and for several nodes without a launcher.
    """
    if cfg.trainer.devices in (1, "1") and cfg.trainer.get("num_nodes", 1) == 1:
        if (started := processes_started()) > 1:
            raise UserError(
                f"{started} processes were started, but trainer.devices=1: each would train alone in the same folder; "
                "set trainer=ddp trainer.devices=N, as many as a node has"
            )
        return 1
    from cifar10.training.trainer import bare_trainer

    trainer = bare_trainer(cfg)
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if environment is None:
        return 1
    if environment.creates_processes_externally:
        try:
            environment.validate_settings(trainer.num_devices, trainer.num_nodes)
        except ValueError as error:  # other numbers than SLURM was asked for
            raise UserError(f"trainer: {one_line(error)}; docs/scale.md shows numbers that fit") from error
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


def processes_started() -> int:
    """How many processes torchrun or srun started, of which this is one."""
    return max(int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))


def is_first_process() -> bool:
    """Whether this is the only process of its run, or the one that writes its files."""
    # In Lightning's order: within an interactive job SLURM_PROCID is the shell's.
    names = (name for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ)
    return os.environ.get(next(names, ""), "0") == "0"


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
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    place["OMP_NUM_THREADS"] = str(max(threads // count, 1))  # the cores shared out
    logs = OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True) if HydraConfig.initialized() else None
    settings, ranks, reports = OmegaConf.to_container(cfg, resolve=True), [], []
    for rank in range(count):
        report, end = context.Pipe(duplex=False)
        arguments = settings, folder, trial, place | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, logs, end
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
            if stop.asked:  # before there was one to tell
                pass_on()
            _wait(ranks, reports)
        except (Interrupted, UserError) as error:
            if stop.asked:  # to the ranks it is SIGTERM in any case, of which one dies that has not yet begun
                raise Interrupted(str(error), stop.status) from None
            raise
        finally:
            for rank in ranks:
                if rank.is_alive():
                    rank.kill()
                if rank.pid is not None:  # the last ones could not be started
                    rank.join()
    if stop.asked:
        ended = "is finished" if (folder / "metrics.json").exists() else "is not finished; the same command goes on"
        raise Interrupted(f"{folder} {ended}", stop.status)


def _wait(ranks: Sequence[BaseProcess], reports: Sequence[connection.Connection]) -> None:
    """Until all are done, or the first one fails: the others would wait for it in vain."""
    running = dict.fromkeys(ranks)
    while running:
        connection.wait([rank.sentinel for rank in running])
        for rank in [rank for rank in running if not rank.is_alive()]:
            del running[rank]
            if rank.exitcode == 0:
                continue
            # Of any rank: one that ends with no word lost its connection to the one that has something to say.
            raise next(filter(None, map(_said, reports)), None) or UserError(
                f"{rank.name} of {len(ranks)} processes ended with status {rank.exitcode}, the others were stopped; "
                "the same command goes on from the last checkpoint"
            )


def _said(report: connection.Connection) -> Exception | None:
    """What a rank reported, if it did."""
    try:
        return report.recv() if report.poll() else None
    except EOFError:  # it has ended
        return None


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
    end_with_parent()
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
    except (HydraException, OmegaConfBaseException) as error:  # which cannot be sent as they are
        report.send(UserError(one_line(error)))
        sys.exit(1)


def end_with_parent() -> None:
    """From here on this process ends when the one that started it does, however that ends."""
    started_by = os.getppid()

    def watch() -> None:
        if parent := parent_process():
            with suppress(ValueError):  # another library's, which has no such handle
                parent.join()
        while os.getppid() == started_by:
            sleep(1)
        os._exit(1)

    if not any(thread.name == WATCH for thread in threading.enumerate()):
        threading.Thread(target=watch, daemon=True, name=WATCH).start()
