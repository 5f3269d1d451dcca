"""The two sweepers of `python train.py -m`. Hydra finds plugins only in a package named `hydra_plugins`."""

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
from cifar10.training.distributed import launched_world_size
from cifar10.training.run_folder import result_overrides, safe_name


@dataclass
class JobSweeper(Sweeper):
    """Sets up the launcher, checks the sweeper's own settings and parses its overrides: the base of both."""

    params: DictConfig | None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.jobs = JobLauncher(hydra_context, task_function, config)

    def parse(self, arguments: list[str]) -> list[Override]:
        """Returns the overrides of `params` and the command line; of equal keys the last one."""
        if (started := launched_world_size()) > 1:
            hint = "start one, whose jobs start theirs by trainer=ddp trainer.devices=N; docs/scale.md shows how"
            raise UserError(f"{started} processes were started, and each would run all jobs of -m: {hint}")
        settings = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "params"}
        check_arguments("hydra.sweeper", type(self), settings, ())
        params = {} if self.params is None else self.params
        if not isinstance(params, Mapping):
            raise UserError(f"hydra.sweeper.params={params}: expected a space, as in conf/search/mlp.yaml")
        lines = [*(f"{key}={value}" for key, value in params.items()), *arguments]
        parsed = OverridesParser.create(config_loader=self.jobs.config_loader).parse_overrides(lines)
        return list({override.get_key_element(): override for override in parsed}.values())


@dataclass
class Grid(JobSweeper):
    """Runs every combination of listed values. `conf/hydra/sweeper/grid.yaml` describes the settings."""

    max_batch_size: Annotated[int, Gt(0)] | None

    def sweep(self, arguments: list[str]) -> None:
        jobs = list(dict.fromkeys(product(*map(_values, self.parse(arguments)))))
        for job in jobs:
            self.jobs.check(job)  # before the first one is launched
        size = self.max_batch_size or len(jobs)
        for first in range(0, len(jobs), size):
            self.jobs.launch(jobs[first : first + size])
        summarize(self.jobs.results, arguments, self.jobs.config)


@dataclass
class Search(JobSweeper):
    """Runs trials that Optuna proposes, and prunes poor ones. `conf/search/custom.yaml` describes the settings."""

    study: str | None
    storage: str | None
    pruner: str | None
    startup_trials: Annotated[int, Gt(0)]
    n_trials: Annotated[int, Gt(0)]
    max_batch_size: Annotated[int, Gt(0)]
    seed: Annotated[int, Ge(0)]
    trial: int | None

    def sweep(self, arguments: list[str]) -> None:
        overrides, config = self.parse(arguments), self.jobs.config
        try:
            from cifar10.sweeps.search import search
            from cifar10.sweeps.study import StudyLocation, sqlite_url, storage_errors
        except ImportError:
            raise UserError("a search needs Optuna: pip install -e '.[search]'") from None
        # By default a function of the space: the same command continues its study, and another one starts its own.
        study = self.study or safe_name(" ".join(result_overrides(arguments)))
        location = StudyLocation(study, self.storage or sqlite_url(f"{config.runs}/searches/{study}.db"), self.pruner)
        limits = self.n_trials, self.startup_trials, self.max_batch_size, self.seed
        with storage_errors(location):
            results = search(overrides, self.jobs, location, config.monitor, *limits)
        summarize(results, arguments, config)


def _values(override: Override) -> list[str]:
    """Returns an override for each value of a list. Raises UserError for what a grid cannot enumerate."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise UserError(f"{override.input_line}: a grid needs a list; to search in it add search=custom")
    group, values = override.key_or_group, list(override.sweep_string_iterator())
    if not values:
        raise UserError(f"{override.input_line}: the list is empty; expected at least one value")
    if group == "search" or (group == "experiment" and "study" in values):
        raise UserError(f"{override.input_line}: a search and experiment=study are many runs; start each by itself")
    return [f"{override.get_key_element()}={value}" for value in values]
