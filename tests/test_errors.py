"""Tests the one-line form of errors."""

import errno
import subprocess
import sys

import pytest
from hydra.errors import HydraException, MissingConfigException

from cifar10.errors import UserError, one_line, shorten

HEAVY = {"hydra", "omegaconf", "numpy", "torch", "lightning"}


@pytest.mark.parametrize("module", ["cifar10.errors", "cifar10.files"])
def test_lowest_layer_imports_only_the_standard_library(module):
    code = f"import sys, {module}; print({HEAVY} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("epochs=-1: choose more"), "epochs=-1: choose more"),
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "/a/b: No space left on device"),
        (OSError("odd"), "odd"),
        (
            MissingConfigException("no\nlist", missing_cfg_file="model/resnet", options=["cnn", "mlp"]),
            "invalid model=resnet: expected one of cnn, mlp",
        ),
        (MissingConfigException("Cannot find it\nConfig search path:\n  here"), "Cannot find it"),
        (HydraException("Missing value\n    full_key: a.b\n    object_type=dict\n at a.b"), "Missing value at a.b"),
    ],
)
def test_one_line(error, line):
    assert one_line(error) == line


@pytest.mark.parametrize(
    ("names", "text"),
    [(["a"], "'a'"), (["a\nb", "c", "d"], r"'a\nb', 'c', 'd'"), ([*"abcde"], "'a', 'b', 'c' and 2 more")],
)
def test_shorten_quotes_and_counts_names(names, text):
    assert shorten(names) == text
