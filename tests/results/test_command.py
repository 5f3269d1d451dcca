"""The command that is told for a run gives the run's settings."""

import json
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize
from omegaconf import OmegaConf

from cifar10.errors import UserError
from cifar10.results.command import changes, command
from cifar10.results.table import settings_key

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = sorted((ROOT / "docs/results").glob("*.json"))


def composed(overrides):
    with initialize(version_base="1.3", config_path="../../conf"):
        return OmegaConf.to_container(compose("train", overrides), resolve=True)


def record(*overrides):
    config = composed(list(overrides))
    data = config["data"]["_target_"].split(".")[2]
    return {"seed": config["seed"], "config": config, "model": "", "data_sha256": data, "device": "", "precision": ""}


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_commands_of_published_runs_give_their_settings(path):
    published = json.loads(path.read_text())
    python, script, *overrides = shlex.split(command(published))
    config = composed(overrides)
    assert (python, script, config["seed"]) == ("python", "train.py", published["seed"])
    assert settings_key(published | {"config": config}) == settings_key(published)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model=cnn"], "python train.py model=cnn seed=1"),
        (["model=mlp", "data=synthetic", "seed=3"], "python train.py model=mlp data=synthetic seed=3"),
        (["experiment=mlp_fast", "model=cnn"], "python train.py experiment=mlp_fast model=cnn seed=1"),
        (["experiment=cnn_fast", "epochs=2"], "python train.py experiment=cnn_fast seed=1 epochs=2"),
        (
            [
                "experiment=cnn_fast",
                "~trainer.limit_train_batches",
                "model.warmup_fraction=null",
                "model.whitening_init=false",
            ],
            "python train.py experiment=cnn_fast seed=1 model.warmup_fraction=null model.whitening_init=false "
            "'~trainer.limit_train_batches'",
        ),
        (
            [
                "model=cnn",
                "+trainer.gradient_clip_val=0.5",
                "trainer.devices=[0,1]",
                "trainer.enable_progress_bar=false",
            ],
            "python train.py model=cnn seed=1 'trainer.devices=[0, 1]' +trainer.gradient_clip_val=0.5",
        ),
        (
            ["model=cnn", "data=folder", "data.root='my cats, and \\'dogs\\''", "trainer.devices='2'"],
            "python train.py model=cnn data=folder 'data.root='\"'\"'my cats, and \\'\"'\"'dogs\\'\"'\"''\"'\"'' "
            "seed=1 'trainer.devices='\"'\"'2'\"'\"''",
        ),
    ],
)
def test_the_command_tells_what_differs_and_nothing_else(overrides, told):
    run = record(*overrides)
    assert command(run) == told
    again = composed(shlex.split(told)[2:])
    assert settings_key(run | {"config": again}) == settings_key(run)
    assert again["data"].get("root") == run["config"]["data"].get("root")


def test_changes_leave_out_what_names_the_run():
    assert changes(record("model=mlp", "data=synthetic", "seed=3", "epochs=5")) == ["epochs=5"]


def test_a_published_run_on_one_s_own_images_leaves_the_place_open():
    run = record("model=mlp", "data=folder", "data.root=cats")
    del run["config"]["data"]["root"]
    assert command(run) == "python train.py model=mlp data=folder data.root=PATH seed=1"


def test_a_model_that_no_file_describes_is_one_line():
    run = record("model=mlp")
    run["config"]["model"]["_target_"] = "cifar10.models.feed_forward.FeedForward"
    with pytest.raises(UserError, match=r"no file in conf/model/ has _target_: cifar10.models.feed_forward\."):
        command(run)
