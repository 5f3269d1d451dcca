"""Where a study is kept."""

import sqlite3

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from sqlalchemy.exc import OperationalError

from cifar10.sweeps import study as studies
from cifar10.sweeps.study import StudyPlace


def test_a_study_is_of_one_monitor(search):
    assert search("hydra.sweeper.n_trials=1")[0] == 0
    assert search("hydra.sweeper.n_trials=2", "monitor=val/loss")[0].startswith(
        "train.py: study s was begun for monitor=val/accuracy, now it is val/loss; set it back, or begin another"
    )


def test_a_password_is_not_shown():
    shown = [StudyPlace("s", url, None).shown for url in ("postgresql://me:secret@host/db", "sqlite:///a.db")]
    assert shown == ["postgresql://me:***@host/db", "sqlite:///a.db"]


def test_a_name_of_a_study_may_hold_anything():
    for name in ("it's model=a,b", "a\\b", "a\\'b\\"):
        parsed = OverridesParser.create().parse_overrides(StudyPlace(name, "sqlite:///x.db", None).overrides())
        assert [override.value() for override in parsed] == [name, "sqlite:///x.db"]


def test_a_name_of_a_folder_may_hold_anything(search, tmp_path):
    status, _ = search("hydra.sweeper.n_trials=1", "runs='q?x#y%41'", "hydra.sweeper.storage=null")
    assert status == 0
    assert {path.name for path in tmp_path.iterdir()} == {"q?x#y%41"}
    assert [path.name for path in (tmp_path / "q?x#y%41/searches").iterdir()] == ["s.db"]


def test_a_study_in_memory_is_refused(search):
    for url in ("sqlite://", "sqlite:///:memory:"):
        status, _ = search(f"hydra.sweeper.storage={url}")
        assert status == (
            f"train.py: hydra.sweeper.storage={url}: a study in memory is none for its jobs; name a file, sqlite:///PATH"
        )


def test_another_program_s_study_is_left_alone(search, study):
    study().ask()
    assert search()[0] == "train.py: study s has trials of another program; begin one: hydra.sweeper.study=NAME"
    assert [trial.state.name for trial in study().trials] == ["RUNNING"]
    assert study().user_attrs == {}


def test_a_study_that_others_made_for_the_opposite_is_refused(search, tmp_path):
    optuna.create_study(study_name="s", storage=f"sqlite:///{tmp_path}/s.db", direction="minimize")
    assert search()[0] == (
        "train.py: study s was begun to minimize its values, but monitor=val/accuracy is to maximize; "
        "begin another with hydra.sweeper.study=NAME"
    )


def test_two_commands_make_a_study_at_once(study, monkeypatch):
    """One of them finds the tables, or a row of them, which were not there a moment before."""
    monkeypatch.setattr(studies, "sleep", lambda _: None)
    original = optuna.storages.RDBStorage.__init__
    said = iter(["UNIQUE constraint failed: a", "table b already exists"])

    def made(*args, **kwargs):
        for message in said:
            raise OperationalError("CREATE", {}, sqlite3.OperationalError(message))
        original(*args, **kwargs)

    monkeypatch.setattr(optuna.storages.RDBStorage, "__init__", made)
    assert study().trials == []


def test_a_file_that_is_no_study(search, tmp_path):
    (tmp_path / "s.db").write_text("no database " * 100)
    assert search()[0].startswith("train.py: the study in sqlite:///s.db cannot be used: file is not a database")


def test_a_locked_study(search, tmp_path, monkeypatch, study):
    monkeypatch.setattr(studies, "LOCK_SECONDS", 0.1)
    study()
    with sqlite3.connect(tmp_path / "s.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert search()[0].startswith("train.py: the study in sqlite:///s.db cannot be used: database is locked")
