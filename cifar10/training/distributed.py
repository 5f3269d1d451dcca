"""Distributed training: how many ranks a run needs, and starting them where no launcher has."""

import logging
import logging.config
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from time import sleep
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cifar10.errors import Interrupted, UserError, one_line
from cifar10.training.signals import StopSignals

GRACE_SECONDS = 1.0
"""How long the other ranks may take to end by themselves when one has, and again after SIGTERM."""


def ranks_to_start(cfg: DictConfig) -> int:
    """Returns how many ranks this process has to start for `cfg.trainer`; 1 if it trains itself, as a rank or alone.

    Raises UserError for devices that this machine does not have, and for several nodes without a launcher.
    """
    if cfg.trainer.devices in (1, "1") and cfg.trainer.get("num_nodes", 1) == 1:
        if (world_size := launched_world_size()) > 1:
            raise UserError(
                f"{world_size} processes were started, but trainer.devices=1: each would train alone in the same "
                "folder; set trainer=ddp trainer.devices=N, as many as a node has"
            )
        return 1
    from cifar10.training.trainer import bare_trainer

    trainer = bare_trainer(cfg)
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if environment is None:
        return 1
    devices, nodes, cores = trainer.num_devices, trainer.num_nodes, os.cpu_count() or 1
    if environment.creates_processes_externally:
        try:
            environment.validate_settings(devices, nodes)
        except ValueError as error:  # not the numbers that SLURM was asked for
            raise UserError(f"trainer: {one_line(error)}; docs/scale.md shows numbers that fit") from error
        return 1
    if nodes > 1:
        raise UserError(f"trainer.num_nodes={nodes}: start it on every node by torchrun or srun; see docs/scale.md")
    if trainer.strategy.root_device.type == "cpu" and devices > cores:
        raise UserError(f"trainer.devices={devices}: this machine has {cores} cores; choose as many at most")
    return devices


def launched_world_size() -> int:
    """Returns the number of processes that torchrun or srun started, this one included."""
    return max(int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))


def is_rank_zero() -> bool:
    """Returns whether this process writes the run's files."""
    # In Lightning's order: within an interactive job SLURM_PROCID is the shell's.
    names = (name for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ)
    return os.environ.get(next(names, ""), "0") == "0"


def spawn_ranks(world_size: int, train: Callable[[], Any]) -> None:
    """Calls `train`, which is pickled, in `world_size` new processes on this machine, and waits for them.

    None of them outlives this process. SIGINT and SIGTERM are passed on as SIGTERM. Raises UserError and Interrupted as
    `train` does, and UserError if a rank dies.
    """
    from torch.multiprocessing import ProcessExitedException, ProcessRaisedException, start_processes

    errors: SimpleQueue[BaseException] = get_context("spawn").SimpleQueue()
    logs = OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True) if HydraConfig.initialized() else None
    ranks: list[BaseProcess] = []

    def terminate() -> None:
        for rank in ranks:
            rank.terminate()

    stop = StopSignals(terminate)
    logging.getLogger("torch.multiprocessing").setLevel(logging.ERROR)  # it logs each process that it terminates
    with stop.caught():
        try:
            # New interpreters: a fork would share locks of this one's threads, and its accelerator.
            arguments = train, _environment(world_size), logs, errors
            context = start_processes(_run_rank, arguments, world_size, join=False)
            ranks += context.processes
            if stop.asked:  # before there were ranks to terminate
                terminate()
            while not context.join(grace_period=GRACE_SECONDS):
                pass
        except (ProcessExitedException, ProcessRaisedException) as error:
            # From any rank: the first one to end may only have lost its connection to the one that failed.
            reported = None if errors.empty() else errors.get()
            if stop.asked:  # a rank that has not yet begun to train dies of SIGTERM
                raise Interrupted(str(reported or "the same command goes on"), stop.status) from None
            if reported or isinstance(error, ProcessRaisedException):
                raise reported or error from None
            raise UserError(
                f"rank {error.error_index} of {world_size} processes ended with status {error.exit_code}, the others "
                "were stopped; the same command goes on from the last checkpoint"
            ) from None
        finally:
            for rank in ranks:
                rank.kill()
    if stop.asked:
        raise Interrupted("the run is finished", stop.status)


def _environment(world_size: int) -> dict[str, str]:
    """Returns torchrun's variables that all ranks share, with a free port and a part of the CPU threads each."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)) // world_size
    shared = {"MASTER_PORT": port, "NODE_RANK": 0, "WORLD_SIZE": world_size, "OMP_NUM_THREADS": max(threads, 1)}
    return {"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in shared.items()}}


def _run_rank(rank: int, train: Callable[[], Any], environment: dict[str, str], logs: Any, errors: SimpleQueue) -> None:
    # A terminal sends SIGINT to all processes; the parent passes it on as SIGTERM.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    end_with_parent()
    os.environ.update(environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    if rank > 0:
        logging.disable(logging.WARNING)
    elif logs is not None:
        logging.config.dictConfig(logs)
    try:
        train()
    except (UserError, Interrupted, OSError) as error:
        errors.put(error)
        sys.exit(1)
    except (HydraException, OmegaConfBaseException) as error:  # which cannot be pickled
        errors.put(UserError(one_line(error)))
        sys.exit(1)


def end_with_parent() -> None:
    """Starts a thread that ends this process when the one that started it ends, however that happens."""
    name, parent_id = "end with parent", os.getppid()

    def watch() -> None:
        while os.getppid() == parent_id:
            sleep(0.2)
        os._exit(1)

    if not any(thread.name == name for thread in threading.enumerate()):
        threading.Thread(target=watch, daemon=True, name=name).start()
