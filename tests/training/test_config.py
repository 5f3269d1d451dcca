"""Tests the validation of settings."""

from pathlib import Path

import pytest
from hydra.errors import HydraException
from hydra.utils import get_class

from cifar10.errors import UserError
from cifar10.training.config import (
    CheckpointSettings,
    TrainerSettings,
    check_settings,
    compose_settings,
    fill_defaults,
    settable_arguments,
)


@pytest.mark.parametrize("data", ["cifar10", "cifar100", "synthetic", "folder"])
@pytest.mark.parametrize("model", ["prototype", "mlp", "cnn"])
def test_all_models_and_data_sets_are_valid(model, data):
    check_settings(
        compose_settings(f"model={model}", f"data={data}", *(["data.root=birds"] if data == "folder" else []))
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs=-1", "epochs=-1: input should be greater than 0"),
        ("epochs=many", "epochs=many: input should be a valid integer"),
        ("epochs=2.5", "epochs=2.5: input should be a valid integer"),
        ("epochs=true", "epochs=true: input should be a valid integer"),
        ("batch_size=0", "batch_size=0: input should be greater than 0"),
        ("seed=-1", "seed=-1: input should be greater than or equal to 0"),
        ("precision=8", "precision=8: input should be 'auto', '32-true'"),
        ("model.learning_rate=0", "model.learning_rate=0: input should be greater than 0"),
        ("model.learning_rate=fast", "model.learning_rate=fast: input should be a valid number"),
        ("model.learning_rate=nan", "model.learning_rate=nan: input should be"),
        ("data.val_size=0", "data.val_size=0: input should be greater than 0"),
        ("data.val_split=last", "data.val_split=last: input should be 'first' or 'stratified'"),
        ("data.mirrors=http://one", "data.mirrors=http://one: "),
        ("data=cifar100 data.labels=all", "data.labels=all: input should be 'fine' or 'coarse'"),
        ("data.random_shift_px=17", "data.random_shift_px=17: input should be less than or equal to 16"),
        ("data.random_flip=1", "data.random_flip=1: input should be a valid boolean"),
        ("model.tta_shift_px=-1", "model.tta_shift_px=-1: input should be greater than or equal to 0"),
        ("model.warmup_fraction=1", "model.warmup_fraction=1: input should be less than 1"),
        ("model.optimizer=lion", "model.optimizer=lion: input should be 'adam', 'adamw', 'sgd' or 'muon'"),
        ("model.label_smoothing=1", "model.label_smoothing=1: input should be less than 1"),
        ("runs=2024", "runs=2024: input should be a valid string; quote it: \"runs='2024'\""),
        ("+model.width=2", "invalid setting model.width: CNN expects"),
        ("+model.layers=1", "invalid setting model.layers: CNN expects batch_norm, "),
        ("+data.seed=5", "invalid setting data.seed: CIFAR10Data expects"),
        ("+trainer.max_steps=5", "trainer.max_steps=5: extra inputs are not permitted"),
        ("trainer.devices=1.5", "trainer.devices=1.5: input should be a valid integer"),
        ("ema_decay=0", "ema_decay=0: input should be greater than 0"),
        ("ema_decay=1", "ema_decay=1: input should be less than 1"),
        ("seed=4294967296", "seed=4294967296: input should be less than 4294967296"),
        ("model.learning_rate=inf", "model.learning_rate=inf: input should be less than inf"),
        ("+color=red", "color=red: extra inputs are not permitted"),
    ],
)
def test_invalid_value_is_named(override, message):
    with pytest.raises(UserError) as error:
        check_settings(compose_settings(*override.split()))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("override", ["epoch=3", "model=resnet", "model.lr=1", "trainer.device=2", "experiment=best"])
def test_unknown_key_or_choice_does_not_compose(override):
    with pytest.raises(HydraException):
        compose_settings(override)


def test_failed_import_in_the_module_of_a_class_is_reported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    lines = {"needs_module": "import no_such_package", "needs_name": "from math import no_such_name", "bad": "1 +"}
    for name, line in lines.items():
        (tmp_path / f"{name}.py").write_text(f"{line}\nclass Net: pass\n")
    for name, text in {"needs_module": "no_such_package", "needs_name": "no_such_name", "bad": "SyntaxError"}.items():
        with pytest.raises(UserError, match=rf"^model._target_={name}.Net: the import failed: .*{text}"):
            check_settings(compose_settings(f"model._target_={name}.Net"))
    for target in ("cifar10.models.mlp.NoSuch", "cifar10.models.nothing.MLP", "no_such_package.MLP"):
        with pytest.raises(UserError, match=rf"^model._target_={target}: class not found"):
            check_settings(compose_settings(f"model._target_={target}"))


def test_fill_defaults_adds_defaults_of_constructors_and_trainer():
    settings = {"trainer": {"devices": 2}, "data": {"_target_": "cifar10.data.synthetic.SyntheticData", "val_size": 3}}
    full = fill_defaults(settings)
    assert full["trainer"].items() >= {"devices": 2, "strategy": "auto", "limit_train_batches": 1.0}.items()
    assert full["data"].items() >= {"val_size": 3, "random_flip": False}.items()
    assert list(full["data"])[:3] == ["_target_", "val_size", "train_size"]  # the order is that of the constructor


@pytest.mark.parametrize("group", [TrainerSettings, CheckpointSettings])
def test_conf_lists_all_settings_of_trainer_and_checkpoint(group):
    values = compose_settings()[group.__name__.removesuffix("Settings").lower()]
    assert values.keys() == group.model_fields.keys()


def test_batch_norm_with_batch_size_1_is_refused():
    with pytest.raises(UserError, match=r"^batch_size=1: model.batch_norm=true needs at least two images"):
        check_settings(compose_settings("model=mlp", "batch_size=1", "model.batch_norm=true"))
    check_settings(compose_settings("model=mlp", "batch_size=1"))


CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("[!s]*.yaml")), ids=lambda path: path.stem)
def test_all_experiments_are_valid_and_named_as_their_file(path):
    cfg = compose_settings(f"experiment={path.stem}")
    check_settings(cfg)
    assert cfg.experiment == path.stem
    assert f"# python train.py experiment={path.stem} " in path.read_text()


@pytest.mark.parametrize("path", sorted((CONF / "search").glob("*.yaml")), ids=lambda path: path.stem)
def test_all_searches_are_valid_and_named_as_their_file(path):
    cfg = compose_settings(f"search={path.stem}")
    check_settings(cfg)
    assert cfg.experiment == f"search_{path.stem}"
    assert f"# python train.py -m search={path.stem} " in path.read_text()


def test_study_only_defines_a_sweep():
    assert compose_settings("experiment=study") == compose_settings()
    assert "# python train.py -m experiment=study " in (CONF / "experiment/study.yaml").read_text()


@pytest.mark.parametrize("model", ["prototype", "mlp", "cnn"])
def test_conf_lists_all_settings_of_a_model(model):
    """Otherwise the command line would reject it as unknown."""
    settings = compose_settings(f"model={model}").model
    assert set(settings) - {"_target_"} == set(settable_arguments(get_class(settings._target_)))
