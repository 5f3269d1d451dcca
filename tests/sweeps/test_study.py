"""Tests of the storage of a study."""

import sqlite3

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cifar10.errors import StorageError, UserError

optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
errors = pytest.importorskip("sqlalchemy.exc")
studies = pytest.importorskip("cifar10.sweeps.study")

pytestmark = pytest.mark.usefixtures("fake_train", "no_wait")


@pytest.fixture
def no_wait(monkeypatch):
    monkeypatch.setattr(studies, "sleep", lambda _: None)


def test_study_name_may_contain_any_character():
    for name in ("it's model=a,b", "a\\b", "a\\'b\\"):
        parsed = OverridesParser.create().parse_overrides(studies.StudyLocation(name, "sqlite:///x.db").overrides())
        assert [override.value() for override in parsed] == [name, "sqlite:///x.db"]


def test_folder_name_may_contain_any_character(search, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    status, _ = search("hydra.sweeper.n_trials=1", "runs='~/q?x#y%41'", "hydra.sweeper.storage=null")
    assert status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert [path.name for path in (tmp_path / "home/q?x#y%41/searches").iterdir()] == ["s.db"]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_in_memory_study_is_refused(url):
    with pytest.raises(UserError, match=f"hydra.sweeper.storage={url}: an in-memory study cannot be shared"):
        studies.StudyLocation("s", url).connect()


def test_trials_of_another_program_are_not_changed(search, study):
    study().ask()
    assert search()[0].startswith("train.py: study s has trials with other settings")
    assert [trial.state.name for trial in study().trials] == ["RUNNING"]
    assert study().user_attrs == {}


def test_two_processes_create_a_study_simultaneously(study, monkeypatch):
    """Connects once more if another process inserted a row first."""
    original = optuna.storages.RDBStorage.__init__
    messages = iter(["UNIQUE constraint failed: a"])

    def connect(*args, **kwargs):
        for message in messages:
            raise errors.OperationalError("CREATE", {}, sqlite3.OperationalError(message))
        original(*args, **kwargs)

    monkeypatch.setattr(optuna.storages.RDBStorage, "__init__", connect)
    assert study().trials == []


@pytest.mark.parametrize(
    ("url", "cause"), [("abc", "Could not parse"), ("postgresql+none://a/b", "Can't load"), ("sqlite:////proc/x", "")]
)
def test_invalid_storage_is_refused(url, cause):
    location = studies.StudyLocation("s", url)
    with pytest.raises(StorageError, match=f"study s cannot be used: {cause}"), studies.storage_errors(location):
        location.connect()


def test_file_that_is_not_a_database_is_refused(tmp_path, location):
    (tmp_path / "s.db").write_text("no database " * 100)
    with pytest.raises(StorageError, match="file is not a database"), studies.storage_errors(location):
        location.connect()


def test_locked_database_is_reported(tmp_path, monkeypatch, study, location):
    monkeypatch.setattr(studies, "LOCK_SECONDS", 0.1)
    study()
    with sqlite3.connect(tmp_path / "s.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="database is locked"), studies.storage_errors(location):
            location.open("val/loss")
