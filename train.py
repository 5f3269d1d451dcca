"""Trains, validates and tests one model: `python train.py model=cnn`. `--help` shows every choice."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cifar10.errors import Interrupted, UserError
from cifar10.messages import one_line
from cifar10.run import open_run, run_name

log = logging.getLogger("cifar10")
INTERRUPTED = 130  # the shell's exit status for Ctrl-C

OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def train(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Trains what `cfg` describes into `folder`, or goes on with what is there; returns the run's `metrics.json`.

    Raises UserError for what a user can mend, Interrupted after Ctrl-C.
    """
    from cifar10.settings import check_settings

    check_settings(cfg)
    if finished := open_run(folder, cfg):
        from cifar10.record import summary

        log.info("finished before (force=true does it again)\n%s", summary(finished, folder))
        return finished

    # Imported only now: PyTorch and Lightning take seconds, a typing error should not.
    from hydra.utils import instantiate
    from lightning import seed_everything
    from tqdm.contrib.logging import logging_redirect_tqdm

    from cifar10.files import write_json
    from cifar10.record import log_hyperparameters, make_record, summary
    from cifar10.trainer import make_trainer

    start = perf_counter()
    data = instantiate(cfg.data, _convert_="all", batch_size=cfg.batch_size, seed=cfg.seed)
    data.prepare_data()
    data.setup()
    seconds = {"data": perf_counter() - start}

    seed_everything(cfg.seed, verbose=False)
    model = instantiate(cfg.model, _convert_="all", class_names=data.class_names)
    trainer = make_trainer(cfg, folder, log_graph=model.example_input_array is not None)
    with logging_redirect_tqdm():
        last = folder / "last.ckpt"
        trainer.fit(model, data, ckpt_path=last if last.exists() else None, weights_only=True)
        start = perf_counter()
        trainer.test(model, data, ckpt_path=folder / "best.ckpt", weights_only=True, verbose=False)
        seconds["test"] = perf_counter() - start

    results = make_record(cfg, trainer, model, data, folder, seconds)
    log_hyperparameters(trainer, results)
    write_json(folder / "metrics.json", results)
    log.info("%s", summary(results, folder))
    return results


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the program with one line for what a user can mend; a bug keeps its stack trace."""
    try:
        yield
    except Interrupted as stop:
        print(f"\nstopped: {stop}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        sys.exit(f"train.py: {one_line(error)}")


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    with one_line_errors():  # within the job: Hydra would print a line of its own before
        train(cfg, Path(HydraConfig.get().runtime.output_dir))


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands on its exceptions, instead of printing several lines
    with one_line_errors():
        main()
