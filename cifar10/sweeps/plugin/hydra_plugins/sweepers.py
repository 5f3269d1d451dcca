"""The two sweepers of `python train.py -m`, in the namespace where Hydra looks for its plugins."""

from collections.abc import Mapping
from inspect import signature
from typing import Annotated, Any

from annotated_types import Ge, Gt
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cifar10.errors import UserError
from cifar10.sweeps.jobs import Outcome, distinct, finish, launched
from cifar10.training.config import check_arguments
from cifar10.training.distributed import launched_world_size
from cifar10.training.run_folder import safe_name, words


class Grid(BasicSweeper):
    """Every combination of what is listed, `model=mlp,cnn seed=1,2`. One failed job stops no other.

    params: such lists, which the command line may replace.
    """

    def __init__(self, max_batch_size: Annotated[int, Gt(0)] | None, params: DictConfig | None) -> None:
        super().__init__(max_batch_size, params)

    def sweep(self, arguments: list[str]) -> None:
        _check(self)
        overrides = _parsed(self.hydra_context, self.params, arguments)
        done: list[Outcome] = []
        for override in overrides:
            _check_list(override)
        for batch in self.split_arguments(overrides, self.max_batch_size):
            batch = distinct(batch)
            self.validate_batch_is_legal(batch)
            done += launched(self.launcher, batch, len(done))
        finish(done, arguments, self.config)


class Search(Sweeper):
    """Settings proposed by Optuna from the results so far; poor trials are ended early. See `cifar10.sweeps.search`.

    study, storage, pruner: of `StudyPlace`; by default a study is named by the command line and lies in
    `<runs>/searches`. n_trials: of the study in all, those of earlier or other commands included; startup_trials: the
    first of them, random. max_batch_size: trials that are launched together. seed: of what is proposed. params: the
    space, in Hydra's words, `interval(0, 1)`, `tag(log, interval(1e-4, 1))`, `choice(a, b)`, `range(1, 5)`. trial:
    tells each job which one it is.
    """

    def __init__(
        self,
        study: str | None,
        storage: str | None,
        pruner: str | None,
        startup_trials: Annotated[int, Gt(0)],
        n_trials: Annotated[int, Gt(0)],
        max_batch_size: Annotated[int, Gt(0)],
        seed: Annotated[int, Ge(0)],
        params: DictConfig | None,
        trial: int | None,
    ) -> None:
        self.study, self.storage, self.pruner = study, storage, pruner
        self.n_trials, self.startup_trials, self.max_batch_size = n_trials, startup_trials, max_batch_size
        self.seed, self.params = seed, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from cifar10.sweeps.search import search
        from cifar10.sweeps.study import StudyPlace, sqlite

        _check(self)
        overrides = _parsed(self.hydra_context, self.params, arguments)
        # By default a function of what is searched, so that the same command goes on and another one begins anew.
        study = self.study or safe_name(" ".join(words(arguments)))
        place = StudyPlace(study, self.storage or sqlite(f"{self.config.runs}/searches/{study}.db"), self.pruner)
        limits = self.n_trials, self.startup_trials, self.max_batch_size, self.seed
        done = search(overrides, self.launcher, self.config.monitor, place, *limits)
        finish(done, arguments, self.config)


def _check_list(override: Override) -> None:
    """Raises UserError for what a grid cannot go through."""
    if not override.is_sweep_override():
        return
    if not override.is_discrete_sweep():
        raise UserError(f"{override.input_line}: a grid needs a list; to search in it add search=custom")
    group = override.key_or_group
    if group == "search" or (group == "experiment" and "study" in override.sweep_string_iterator()):
        raise UserError(f"{override.input_line}: a search and experiment=study are many runs; start each by itself")


def _check(sweeper: Sweeper) -> None:
    """Raises UserError for an argument of a wrong type or out of its range, and in one of several processes."""
    if (started := launched_world_size()) > 1:
        raise UserError(
            f"{started} processes were started, and each would run all jobs of -m: start one, whose jobs start theirs, "
            "by trainer=ddp trainer.devices=N; docs/scale.md says how by SLURM"
        )
    names = signature(type(sweeper).__init__).parameters.keys() - {"self", "params", "trial"}
    check_arguments("hydra.sweeper", type(sweeper), {name: getattr(sweeper, name) for name in names}, ())


def _parsed(context: HydraContext, params: Any, arguments: list[str]) -> list[Override]:
    """What params and the command line set; of a key that is set twice the later one."""
    if not isinstance(params, Mapping):
        raise UserError(f"hydra.sweeper.params={params}: expected a space, as in conf/search/mlp.yaml")
    lines = [*(f"{key}={value}" for key, value in params.items()), *arguments]
    parsed = OverridesParser.create(config_loader=context.config_loader).parse_overrides(lines)
    return list({override.get_key_element(): override for override in parsed}.values())
