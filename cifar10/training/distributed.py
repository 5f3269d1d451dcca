"""Distributed training: counts the ranks of a run, and starts them if no launcher has."""

import logging
import logging.config
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from multiprocessing import get_context, parent_process
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

RANK_VARIABLES = ["WORLD_SIZE", "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "TORCHELASTIC_RUN_ID"]
RANK_VARIABLES += ["SLURM_NTASKS", "SLURM_PROCID", "JSM_NAMESPACE_RANK"]
"""Environment variables from which Lightning detects a launcher and the rank (Lightning 2.6.6)."""
GRACE_SECONDS = 1.0
"""Seconds that the other ranks have to exit after one has, and again after SIGTERM."""


def ranks_to_start(cfg: DictConfig) -> int:
    """Returns the number of ranks to start for `cfg.trainer`; 1 if this process trains, alone or as a rank.

    Raises UserError if this machine lacks the devices, and for several nodes without a launcher.
    """
    if cfg.trainer.devices in (1, "1") and cfg.trainer.num_nodes == 1:
        if (world_size := launched_rank()[1]) > 1:
            raise UserError(
                f"{world_size} processes were launched, but trainer.devices=1: each would train alone in the same "
                "folder; set trainer=ddp trainer.devices=N, with N processes per node"
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
        except ValueError as error:  # other numbers than those requested from SLURM
            raise UserError(f"trainer: {one_line(error)}; docs/scale.md lists matching numbers") from error
        return 1
    if nodes > 1:
        raise UserError(
            f"trainer.num_nodes={nodes}: launch the command on each node with torchrun or srun; see docs/scale.md"
        )
    if trainer.strategy.root_device.type == "cpu" and devices > cores:
        raise UserError(f"trainer.devices={devices}: expected at most {cores}, the cores of this machine")
    return devices


def launched_rank() -> tuple[int, int]:
    """Returns (rank, world size) as set by torchrun or srun. The rank of a launcher of one process is ignored."""
    for world_size, rank in (("WORLD_SIZE", "RANK"), ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID")):
        if (count := _read_int(world_size, 1)) > 1:
            return _read_int(rank, 0), count
    return 0, 1


def unset_stale_rank_variables() -> None:
    """Removes rank variables, which Lightning would obey, unless a launcher has started several processes.

    Job scripts, shells of SLURM jobs and Kubernetes leave such variables.
    """
    if launched_rank()[1] == 1:
        for name in RANK_VARIABLES:
            os.environ.pop(name, None)


def _read_int(variable: str, default: int) -> int:
    """Returns an environment variable, or its first number as in OMP_NUM_THREADS=4,2. Ignores an invalid value."""
    try:
        return int(os.environ.get(variable, "").partition(",")[0])
    except ValueError:
        return default


def spawn_ranks(world_size: int, train: Callable[[], Any]) -> None:
    """Calls `train`, which is pickled, in `world_size` new processes on this machine, and waits for them.

    The ranks exit with this process. SIGINT and SIGTERM are forwarded as SIGTERM. Raises UserError and Interrupted as
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
            # start_processes spawns new interpreters: a fork would share locks of other threads, and the accelerator.
            arguments = train, _environment(world_size), logs, errors
            context = start_processes(_run_rank, arguments, world_size, join=False)
            ranks += context.processes
            if stop.requested:  # before the ranks existed
                terminate()
            while not context.join(grace_period=GRACE_SECONDS):
                pass
        except (ProcessExitedException, ProcessRaisedException) as error:
            # From any rank: the first one to exit may only have lost the connection to the rank that failed.
            reported = None if errors.empty() else errors.get()
            if stop.requested:  # before training, SIGTERM kills a rank
                raise Interrupted(str(reported or "the same command resumes the run"), stop.status) from None
            if reported or isinstance(error, ProcessRaisedException):
                raise reported or error from None
            raise UserError(
                f"rank {error.error_index} of {world_size} exited with status {error.exit_code}, and the others were "
                "stopped; the same command resumes from the last checkpoint"
            ) from None
        finally:
            for rank in ranks:
                rank.kill()
    if stop.requested:
        raise Interrupted("after the run has finished", stop.status)


def _environment(world_size: int) -> dict[str, str]:
    """Returns the environment variables of torchrun that all ranks share: a free port, and CPU threads per rank."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    threads = _read_int("OMP_NUM_THREADS", os.cpu_count() or 1) // world_size
    shared = {"MASTER_PORT": port, "NODE_RANK": 0, "WORLD_SIZE": world_size, "OMP_NUM_THREADS": max(threads, 1)}
    return {"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in shared.items()}}


def _run_rank(rank: int, train: Callable[[], Any], environment: dict[str, str], logs: Any, errors: SimpleQueue) -> None:
    # A terminal sends SIGINT to all processes; the parent forwards it as SIGTERM.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    exit_with_parent()
    os.environ.update(environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    logging.raiseExceptions = False  # as in train.py
    if rank > 0:
        logging.disable(logging.WARNING)
    elif logs is not None:
        logging.config.dictConfig(logs)
    try:
        train()
    except (UserError, Interrupted, OSError) as error:
        errors.put(error)
        sys.exit(1)
    except (HydraException, OmegaConfBaseException) as error:  # cannot be pickled
        errors.put(UserError(one_line(error)))
        sys.exit(1)


def exit_with_parent() -> None:
    """Starts a thread that exits this process when its parent process has ended."""
    parent = parent_process()
    assert parent is not None
    name, parent_id = "exit with parent", parent.pid  # getppid() is wrong if the parent ended during the imports

    def watch() -> None:
        while os.getppid() == parent_id:
            sleep(0.2)
        os._exit(1)

    if not any(thread.name == name for thread in threading.enumerate()):
        threading.Thread(target=watch, daemon=True, name=name).start()
