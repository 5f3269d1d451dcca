"""Trains, validates and tests one model: `python train.py model=cnn`. `--help` lists all settings."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cifar10.errors import EXIT_SIGINT, Interrupted, UserError, one_line
from cifar10.sweeps.jobs import JobResult, run_job
from cifar10.training.run_folder import run_name
from cifar10.training.signals import sigterm_interrupts

log = logging.getLogger("cifar10")

sys.path.append(str(Path(__file__).resolve().parent / "cifar10/sweeps/plugin"))  # Hydra finds the sweepers there
OmegaConf.register_new_resolver("run_name", run_name, replace=True)
OmegaConf.register_new_resolver("under", lambda base, path: str(Path(base, Path(str(path)).expanduser())), replace=True)


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> JobResult | None:
    config = HydraConfig.get()
    folder = Path(config.runtime.output_dir)
    if config.mode == RunMode.MULTIRUN:
        return run_job(cfg, folder)
    from cifar10.results.figures import log_figures
    from cifar10.training.run import train

    with one_line_errors():  # not only around main(): Hydra would print its own line first
        check_is_one_run(config)
        train(cfg, folder, overrides=list(config.overrides.task), on_finish=log_figures)
    return None


def check_is_one_run(config: DictConfig) -> None:
    """Raises UserError for a search or a list of runs, unless each setting that it varies has one value."""
    given = {text.partition("=")[0] for text in config.overrides.task}
    if missing := sorted((config.sweeper.get("params") or {}).keys() - given):
        group = "search" if config.runtime.choices.get("search") else "experiment"
        choice = f"{group}={config.runtime.choices[group]}"
        raise UserError(f"{choice} runs many jobs: python train.py -m {choice}; for one run, set {', '.join(missing)}")


def check_encoding(arguments: list[str]) -> None:
    """Raises UserError for arguments that are not text, such as a path in another encoding."""
    try:
        " ".join(arguments).encode()
    except UnicodeEncodeError:
        raise UserError("the command line is not UTF-8: rename the folder, or set LC_ALL=C.UTF-8") from None


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Exits with one line for errors that a user can fix. A bug keeps its stack trace."""
    try:
        yield
    except Interrupted as stop:
        print(f"\nstopped: {stop}", file=sys.stderr)
        sys.exit(stop.status)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(EXIT_SIGINT)
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        from cifar10.training.config import explain

        sys.exit(f"train.py: {explain(error)}")
    except (ValueError, TypeError, AttributeError, AssertionError) as error:
        place = traceback.extract_tb(error.__traceback__)[-1].filename
        if not Path(place).is_relative_to(Path(hydra.__file__).parent):
            raise
        # Bugs of Hydra with unexpected input, such as model=[1].
        sys.exit(f"train.py: invalid settings: {one_line(error)}; --help lists all settings")


if __name__ == "__main__":
    logging.raiseExceptions = False  # a closed pipe or a full disk must not print a stack trace per message
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors instead of printing several lines
    sys.stdout.reconfigure(errors="backslashreplace")  # class names that its encoding cannot represent
    with one_line_errors(), sigterm_interrupts():
        check_encoding(sys.argv)
        main()
