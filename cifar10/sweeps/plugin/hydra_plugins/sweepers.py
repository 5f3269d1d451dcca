"""Sweepers of `python train.py -m`. Hydra searches for plugins in a package named `hydra_plugins`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import product
from typing import Annotated

from annotated_types import Ge, Gt
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cifar10.errors import UserError
from cifar10.sweeps.jobs import JobLauncher, summarize
from cifar10.training.config import check_arguments
from cifar10.training.distributed import launched_rank
from cifar10.training.run_folder import result_overrides, safe_name


@dataclass
class JobSweeper(Sweeper):
    """Base of both sweepers: creates the launcher, checks the sweeper's settings and parses the overrides."""

    params: DictConfig | None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.jobs = JobLauncher(hydra_context, task_function, config)

    def parse(self, arguments: list[str]) -> list[Override]:
        """Returns the overrides of `params` and the command line, which takes precedence."""
        if (started := launched_rank()[1]) > 1:
            hint = "start one process; its jobs start their ranks with trainer=ddp trainer.devices=N (docs/scale.md)"
            raise UserError(f"-m was started in {started} processes, and each would run all jobs: {hint}")
        settings = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "params"}
        check_arguments("hydra.sweeper", type(self), settings, ())
        params = {} if self.params is None else self.params
        if not isinstance(params, Mapping):
            raise UserError(f"hydra.sweeper.params={params}: expected a mapping, as in conf/search/mlp.yaml")
        lines = [*(f"{key}={value}" for key, value in params.items()), *arguments]
        parsed = OverridesParser.create(config_loader=self.jobs.config_loader).parse_overrides(lines)
        return list({override.get_key_element(): override for override in parsed}.values())


@dataclass
class Grid(JobSweeper):
    """Sweeper that runs every combination of listed values. `conf/hydra/sweeper/grid.yaml` documents its settings."""

    max_batch_size: Annotated[int, Gt(0)] | None

    def sweep(self, arguments: list[str]) -> None:
        jobs = list(dict.fromkeys(product(*map(_values, self.parse(arguments)))))
        size = self.max_batch_size or len(jobs)
        for first in range(0, len(jobs), size):
            self.jobs.launch(jobs[first : first + size])
        from cifar10.results import load
        from cifar10.results.table import aggregate, best_first, to_csv, to_text

        runs = load(dict.fromkeys(result.folder for result in self.jobs.results if result.status == "finished"))
        rows = best_first(aggregate(runs)) if len(runs) else None
        csv, text = ("", "") if rows is None else (to_csv(rows), to_text(rows))
        summarize(
            self.jobs.results, self.jobs.runs, " ".join(result_overrides(arguments)), csv, text, runs.attrs["skipped"]
        )


@dataclass
class Search(JobSweeper):
    """Sweeper that runs trials proposed by Optuna. `conf/search/custom.yaml` documents its settings."""

    study_name: str | None
    storage: str | None
    pruner: str | None
    n_startup_trials: Annotated[int, Gt(0)]
    n_trials: Annotated[int, Gt(0)]
    max_batch_size: Annotated[int, Gt(0)]
    seed: Annotated[int, Ge(0)]
    trial: int | None

    def sweep(self, arguments: list[str]) -> None:
        overrides = self.parse(arguments)
        try:
            from cifar10.sweeps.search import search
            from cifar10.sweeps.study import StudyLocation, sqlite_url, storage_errors
        except ImportError:
            raise UserError("a search needs Optuna: pip install -e '.[search]'") from None
        # The default name is a function of the overrides, so the same command resumes its study.
        study = self.study_name or safe_name(" ".join(result_overrides(arguments)))
        storage = self.storage or sqlite_url(f"{self.jobs.runs}/searches/{study}.db")
        location = StudyLocation(study, storage, self.pruner)
        limits = self.n_trials, self.n_startup_trials, self.max_batch_size, self.seed
        with storage_errors(location):
            search(overrides, self.jobs, location, self.jobs.config.monitor, *limits)


def _values(override: Override) -> list[str]:
    """Returns one override per value of the list. Raises UserError for an empty list or an interval."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise UserError(f"{override.input_line}: a grid needs a list; to search an interval, add search=custom")
    group, values = override.key_or_group, list(override.sweep_string_iterator())
    if not values:
        raise UserError(f"{override.input_line}: the list is empty; expected at least one value")
    if group == "search" or (group == "experiment" and "study" in values):
        raise UserError(f"{override.input_line}: search= and experiment=study are sweeps; start each by itself")
    return [f"{override.get_key_element()}={value}" for value in values]
