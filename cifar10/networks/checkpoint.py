"""Reads checkpoints, also a stranger's, without running code of theirs and without Lightning."""

import pickletools
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar
from zipfile import ZIP_STORED, ZipFile

import torch

from cifar10.errors import UserError
from cifar10.networks.base import Network

Class = TypeVar("Class")
TENSORS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch (\w+Storage|Size|device)"
)
"""The globals that a checkpoint's pickle may import, as its opcode has them: module and name."""
OTHER_IMPORTS = ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")
"""The opcodes that import in other ways than PyTorch's."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Returns the content of a checkpoint of this project, on the CPU: tensors and plain Python.

    Runs no code of the file and takes no more memory than the file is large. Raises UserError for a file that is
    missing, damaged, or not such a checkpoint.
    """
    checkpoint, cause = None, None
    try:
        checkpoint = _read(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged file makes the readers of archives and pickles raise anything
        cause = error
    if not isinstance(checkpoint, dict) or "model" not in checkpoint:
        raise UserError(
            f"{path}: not a whole checkpoint of this project; what holds more than tensors and plain values could run "
            "code and is not opened"
        ) from cause
    return checkpoint


def _read(path: Path) -> Any:
    """Checks the archive before PyTorch reads it. Raises ValueError where it holds more than tensors need.

    PyTorch writes checksums, but does not compare them. Its weights-only reader runs no code, but allocates a bytearray
    or a legacy tensor of any size on request.
    """
    with ZipFile(path) as archive:
        if any(record.compress_type != ZIP_STORED for record in archive.infolist()):
            raise ValueError("compressed, unlike PyTorch's own files")
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} is wrong")
        pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
    for operation, name, _ in chain.from_iterable(map(pickletools.genops, pickles)):
        if operation.name in OTHER_IMPORTS or (operation.name == "GLOBAL" and not TENSORS.fullmatch(str(name))):
            raise ValueError(f"it imports {name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, on pickles that it refuses
        return torch.load(path, map_location="cpu", weights_only=True)


def weights_path(folder: Path) -> Path:
    """Returns a finished run's `best.ckpt`. Raises UserError if it is missing."""
    path = folder / "best.ckpt"
    if not path.is_file():
        raise UserError(f"{path} is missing; the run's weights are needed")
    return path


def load_network(path: Path) -> Network:
    """Returns the network of a checkpoint with its weights, on the CPU, in evaluation mode.

    Raises UserError for a file that `read_checkpoint` refuses, and for a network that this version does not have.
    """
    checkpoint = read_checkpoint(path)
    with version_errors(path, "network"):
        saved, weights = checkpoint["network"], checkpoint["state_dict"]
        cls = find_class(saved["class"], "cifar10.networks", Network)
        with torch.device("meta"):  # no memory for what a stranger's arguments ask for
            network = cls(**saved["arguments"])
        own = {name.removeprefix("network."): weights[name] for name in weights if name.startswith("network.")}
        network.load_state_dict(own, assign=True)
    return network.eval()


def find_class(name: str, package: str, base: type[Class]) -> type[Class]:
    """Returns the class `NAME` or `NAMENetwork` of the module `package.name`, a subclass of `base`."""
    found: type[Class] = getattr(import_module(f"{package}.{name.removesuffix('Network').lower()}"), name)
    if not issubclass(found, base):
        raise TypeError(f"{name} is not a {base.__name__}")
    return found


@contextmanager
def version_errors(path: Path, kind: str) -> Iterator[None]:
    """Raises UserError for the errors of constructing a class that is missing or has other arguments or weights."""
    try:
        yield
    except (ImportError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: not a {kind} of this version ({reason})") from error
