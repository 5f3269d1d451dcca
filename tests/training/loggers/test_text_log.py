"""Tests train.log."""

import logging

from cifar10.training.loggers.text_log import RunLogHandler


def test_messages_are_appended(tmp_path):
    for text in ("first", "\u00e4 \udcff"):
        handler = RunLogHandler(str(tmp_path / "train.log"))
        handler.emit(logging.makeLogRecord({"msg": text}))
        handler.close()
    assert (tmp_path / "train.log").read_text(encoding="utf-8") == "first\n\u00e4 \\udcff\n"


def test_file_that_cannot_be_opened_drops_messages(tmp_path, capsys):
    RunLogHandler(str(tmp_path)).emit(logging.makeLogRecord({"msg": "lost"}))
    assert capsys.readouterr() == ("", "")
