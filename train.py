"""Trains, validates and tests one model: `python train.py model=cnn`. `--help` shows every choice."""

import json
import logging
import multiprocessing
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cifar10.errors import CTRL_C, Busy, Interrupted, Pruned, UserError, one_line
from cifar10.sweeps.jobs import Outcome
from cifar10.sweeps.study import StudyPlace, Trial
from cifar10.training.distributed import end_with_parent
from cifar10.training.run_folder import STATUS, claim, finished_result, monitored, run_name
from cifar10.training.signals import sigterm_interrupts

log = logging.getLogger("cifar10")

sys.path.append(str(Path(__file__).resolve().parent / "cifar10/sweeps/plugin"))  # where Hydra finds our sweepers
OmegaConf.register_new_resolver("run_name", run_name, replace=True)
OmegaConf.register_new_resolver("under", lambda folder, path: str(Path(folder) / str(path)), replace=True)


def train(cfg: DictConfig, folder: Path, trial: Trial | None = None) -> dict[str, Any]:
    """Trains what `cfg` describes into `folder`, or goes on with what is there; returns the run's `metrics.json`.

    trial: of the search that the run is part of. Raises UserError for what a user can mend, Interrupted after Ctrl-C or
    SIGTERM.
    """
    from cifar10.training.config import check_settings
    from cifar10.training.distributed import is_first_process, processes_to_start, train_in_processes
    from cifar10.training.lock import held

    check_settings(cfg)
    if finished := _finished(folder, cfg):
        return finished

    if (count := processes_to_start(cfg)) > 1:
        try:
            train_in_processes(cfg, folder, trial, count)
        except UserError as error:  # of a rank, or of one that died without a word
            if not isinstance(error, Busy):
                _tell(folder / STATUS, error)
            raise
        return json.loads((folder / "metrics.json").read_text())
    if not is_first_process():
        return _train(cfg, folder, trial)
    with held(folder):
        if finished := _finished(folder, cfg):  # by another process, while this one started
            return finished
        stopped = folder / STATUS
        stopped.unlink(missing_ok=True)
        try:
            return _train(cfg, folder, trial)
        except Exception as error:
            _tell(stopped, error)
            raise


def _finished(folder: Path, cfg: DictConfig) -> dict[str, Any] | None:
    """What the folder's run came to, shown; None where there is something to do."""
    from cifar10.training.distributed import is_first_process

    if finished := finished_result(folder, cfg):
        from cifar10.training.record import summary

        if is_first_process():
            log.info("finished before (overwrite=true does it again)\n%s", summary(finished, folder))
    return finished


def _tell(stopped: Path, error: Exception) -> None:
    """Keeps why a run ended that was not interrupted."""
    with suppress(OSError):
        stopped.write_text(f"{_ending(error)}: {one_line(error) or type(error).__name__}\n")


def _ending(error: Exception) -> str:
    return "pruned" if isinstance(error, Pruned) else "failed"


def _train(cfg: DictConfig, folder: Path, trial: Trial | None) -> dict[str, Any]:
    # PyTorch and Lightning take seconds to import: not for --help, not for a typing error.
    from lightning import seed_everything
    from tqdm.contrib.logging import logging_redirect_tqdm

    from cifar10.files import epochs_done, write_json
    from cifar10.training.checkpoints import LastCheckpoint
    from cifar10.training.loggers.events import forget_after
    from cifar10.training.loggers.tensorboard import log_hyperparameters
    from cifar10.training.record import git_commit, make_record, summary
    from cifar10.training.signals import StopSignals
    from cifar10.training.trainer import make_trainer

    phases: dict[str, Any] = {"commit": git_commit()}
    data = _built(cfg.data, batch_size=cfg.batch_size, seed=cfg.seed)
    data.prepare_data()
    start = perf_counter()
    data.setup()
    phases["data"] = perf_counter() - start

    seed_everything(cfg.seed, verbose=False)
    os.environ.pop("PL_GLOBAL_SEED")  # of several processes each would begin anew with it, after the model is made
    model = _built(cfg.model, class_names=data.class_names)
    stop = StopSignals()
    last = LastCheckpoint(folder / "last.ckpt", stop, cfg.stop_on_divergence, **cfg.checkpoint)
    trainer = make_trainer(cfg, folder, last, model, _pruning(trial, cfg, folder))
    if trainer.is_global_zero:
        claim(folder, cfg)  # only now: with overwrite=true it removes what is there
    resume = None if cfg.overwrite or not last.path.exists() else last.path  # of several processes one removes the file
    if trainer.is_global_zero:
        forget_after(epochs_done(resume) if resume else None, folder / "tensorboard")
    with logging_redirect_tqdm(), stop.caught():
        trainer.fit(model, data, ckpt_path=resume, weights_only=True)
        start = perf_counter()
        trainer.test(model, data, ckpt_path=folder / "best.ckpt", weights_only=True, verbose=False)
        phases["test"] = perf_counter() - start
        record = make_record(cfg, trainer, model, data, folder, phases)
        if trainer.is_global_zero:
            model.test_predictions.save(folder)
            log_hyperparameters(trainer, record)
            write_json(folder / "metrics.json", record)
            log.info("%s", summary(record, folder))
    if stop.asked:  # too late for this run, not for the sweep that it may be part of
        raise Interrupted(f"{folder} is finished", stop.status)
    return record


def _pruning(trial: Trial | None, cfg: DictConfig, folder: Path) -> list[Any]:
    if trial is None:
        return []
    from cifar10.sweeps.pruning import Pruning

    return [Pruning(trial, folder / "metrics.csv", cfg.monitor)]


def _built(settings: DictConfig, **rest: Any) -> Any:
    """What the settings describe. A UserError of its constructor comes as it is, not in one of Hydra's."""
    from hydra.utils import instantiate

    try:
        return instantiate(settings, _convert_="all", **rest)
    except InstantiationException as error:
        raise error.__cause__ if isinstance(error.__cause__, UserError) else error from None


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the program with one line for what a user can mend; a bug keeps its stack trace."""
    try:
        yield
    except Interrupted as stop:
        print(f"\nstopped: {stop}", file=sys.stderr)
        sys.exit(stop.status)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(CTRL_C)
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        from cifar10.training.config import explain

        sys.exit(f"train.py: {explain(error)}")
    except (ValueError, TypeError, AttributeError, AssertionError) as error:
        place = traceback.extract_tb(error.__traceback__)[-1].filename
        if not Path(place).is_relative_to(Path(hydra.__file__).parent):
            raise
        # How Hydra meets words that it has not thought of, such as model=[1].
        sys.exit(f"train.py: the command line is no list of settings: {one_line(error)}; --help shows all")


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> Outcome | None:
    config = HydraConfig.get()
    folder = Path(config.runtime.output_dir)
    if config.mode == RunMode.MULTIRUN:
        return job(cfg, folder, config.sweeper)
    with one_line_errors():  # within the job: Hydra would print a line of its own before
        check_is_one_run(config.runtime.choices)
        train(cfg, folder)
    return None


def check_is_one_run(choices: DictConfig) -> None:
    """Raises UserError where groups are chosen that only say what to sweep over."""
    several = {"search": choices.get("search"), "experiment": choices.get("experiment") == "study" and "study"}
    for group, name in several.items():
        if name:
            raise UserError(f"{group}={name} is of many runs: python train.py -m {group}={name}")


def job(cfg: DictConfig, folder: Path, sweeper: DictConfig) -> Outcome:
    """One job of a sweep. What a user can cause is told, not raised: it is no reason to stop the others."""
    if HydraConfig.get().launcher._target_.endswith("JoblibLauncher") and multiprocessing.parent_process():
        end_with_parent()  # joblib's own workers would train on when the sweep is killed
        multiprocessing.set_start_method("spawn", force=True)  # the ranks of a run do not know joblib's way
    trial = None
    if sweeper.get("trial") is not None:
        study = StudyPlace(sweeper.study, sweeper.storage, sweeper.pruner)
        trial = Trial(study, sweeper.trial)
    try:
        os.chdir(HydraConfig.get().runtime.cwd)  # a worker of Ray's was started elsewhere
        record = train(cfg, folder, trial)
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        status = "lost" if isinstance(error, Busy) else _ending(error)
        log.error("%s: %s", status, one_line(error))
        return Outcome(folder, status, one_line(error))
    except Exception:
        log.exception("failed")
        raise
    return Outcome(folder, "finished", value=monitored(record))


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands on its exceptions, instead of printing several lines
    with one_line_errors(), sigterm_interrupts():
        main()
