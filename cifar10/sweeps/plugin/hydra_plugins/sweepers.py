"""The two sweepers of `python train.py -m`. Hydra finds plugins only in a package named `hydra_plugins`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import product
from typing import Annotated, Any

from annotated_types import Ge, Gt
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cifar10.errors import UserError
from cifar10.sweeps.jobs import JobLauncher
from cifar10.sweeps.summary import summarize
from cifar10.training.config import check_arguments
from cifar10.training.distributed import processes_started
from cifar10.training.run_folder import safe_name, words


class JobSweeper(Sweeper):
    """The base of both: sets up the launcher, checks the sweeper's own settings and parses its overrides."""

    params: Any

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.jobs = JobLauncher(hydra_context, task_function, config)

    def parse(self, arguments: list[str]) -> list[Override]:
        """Returns the overrides of `params` and the command line; of equal keys the last one.

        Raises UserError for invalid settings of the sweeper, and in one of several processes.
        """
        if (started := processes_started()) > 1:
            raise UserError(
                f"{started} processes were started, and each would run all jobs of -m: start one, whose jobs start "
                "theirs, by trainer=ddp trainer.devices=N; docs/scale.md shows how with SLURM"
            )
        settings = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "params"}
        check_arguments("hydra.sweeper", type(self), settings, ())
        params = {} if self.params is None else self.params
        if not isinstance(params, Mapping):
            raise UserError(f"hydra.sweeper.params={params}: expected a space, as in conf/search/mlp.yaml")
        lines = [*(f"{key}={value}" for key, value in params.items()), *arguments]
        parsed = OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(lines)
        return list({override.get_key_element(): override for override in parsed}.values())


@dataclass
class Grid(JobSweeper):
    """Runs every combination of the listed values, `model=mlp,cnn seed=1,2`. A failed job does not stop the others.

    max_batch_size: jobs that are launched together; None for all. params: lists that the command line may replace.
    """

    max_batch_size: Annotated[int, Gt(0)] | None
    params: DictConfig | None

    def sweep(self, arguments: list[str]) -> None:
        jobs = list(dict.fromkeys(product(*map(_values, self.parse(arguments)))))
        self.validate_batch_is_legal(jobs)
        size = self.max_batch_size or len(jobs)
        for first in range(0, len(jobs), size):
            self.jobs.launch(jobs[first : first + size])
        summarize(self.jobs.results, arguments, self.config)


@dataclass
class Search(JobSweeper):
    """Runs trials that Optuna proposes from the results so far, and prunes poor ones. See `cifar10.sweeps.search`.

    study, storage, pruner: as in `StudyLocation`; by default the study is named by the overrides and stored in
    `<runs>/searches`. n_trials: of the study, including those of earlier or other processes; the first startup_trials
    are random. max_batch_size: trials that are launched together. seed: of the proposals. params: the space, as Hydra's
    sweeps: `interval(0, 1)`, `tag(log, interval(1e-4, 1))`, `choice(a, b)`, `range(1, 5)`. trial: the number of the
    trial that a job is; set for each job.
    """

    study: str | None
    storage: str | None
    pruner: str | None
    startup_trials: Annotated[int, Gt(0)]
    n_trials: Annotated[int, Gt(0)]
    max_batch_size: Annotated[int, Gt(0)]
    seed: Annotated[int, Ge(0)]
    params: DictConfig | None
    trial: int | None

    def sweep(self, arguments: list[str]) -> None:
        overrides = self.parse(arguments)
        try:
            from cifar10.sweeps.search import search
            from cifar10.sweeps.study import StudyLocation, sqlite_url, storage_errors
        except ImportError:
            raise UserError("a search needs Optuna: pip install -e '.[search]'") from None
        # By default a function of the space: the same command continues its study, and another one starts its own.
        study = self.study or safe_name(" ".join(words(arguments)))
        storage = self.storage or sqlite_url(f"{self.config.runs}/searches/{study}.db")
        location = StudyLocation(study, storage, self.pruner)
        limits = self.n_trials, self.startup_trials, self.max_batch_size, self.seed
        with storage_errors(location):
            results = search(overrides, self.jobs, location, self.config.monitor, *limits)
        summarize(results, arguments, self.config)


def _values(override: Override) -> list[str]:
    """Returns an override for each value of a list. Raises UserError for what a grid cannot enumerate."""
    if not override.is_sweep_override():
        return [override.input_line]
    if not override.is_discrete_sweep():
        raise UserError(f"{override.input_line}: a grid needs a list; to search in it add search=custom")
    group, values = override.key_or_group, list(override.sweep_string_iterator())
    if group == "search" or (group == "experiment" and "study" in values):
        raise UserError(f"{override.input_line}: a search and experiment=study are many runs; start each by itself")
    return [f"{override.get_key_element()}={value}" for value in values]
