"""Where a study is kept."""

import sqlite3

from hydra.core.override_parser.overrides_parser import OverridesParser

from cifar10 import study as studies
from cifar10.study import StudyPlace


def test_a_study_is_of_one_monitor(search):
    assert search("hydra.sweeper.n_trials=1")[0] == 0
    assert search("hydra.sweeper.n_trials=2", "monitor=val/loss")[0].startswith(
        "train.py: study s was begun for monitor=val/accuracy, now it is val/loss; set it back, or begin another"
    )


def test_a_password_is_not_shown():
    shown = [StudyPlace("s", url, None).shown for url in ("postgresql://me:secret@host/db", "sqlite:///a.db")]
    assert shown == ["postgresql://me:***@host/db", "sqlite:///a.db"]


def test_a_name_of_a_study_may_hold_anything():
    study_of = StudyPlace("it's model=a,b", "sqlite:///x.db", None)
    parsed = OverridesParser.create().parse_overrides(study_of.overrides())
    assert [override.value() for override in parsed] == ["it's model=a,b", "sqlite:///x.db"]


def test_a_file_that_is_no_study(search, tmp_path):
    (tmp_path / "s.db").write_text("no database " * 100)
    assert search()[0].startswith("train.py: the study in sqlite:///s.db cannot be used: file is not a database")


def test_a_locked_study(search, tmp_path, monkeypatch, study):
    monkeypatch.setattr(studies, "LOCK_SECONDS", 0.1)
    study()
    with sqlite3.connect(tmp_path / "s.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert search()[0].startswith("train.py: the study in sqlite:///s.db cannot be used: database is locked")
