"""Loads checkpoints, also untrusted ones, without running code in them and without Lightning."""

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
from cifar10.networks.weights import SUFFIX, read_weights

Class = TypeVar("Class")
TENSORS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch (\w+Storage|Size|device)"
)
"""Globals that a checkpoint's pickle may import: module and name, as in the GLOBAL opcode."""
OTHER_IMPORTS = ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")
"""Opcodes that import a global, but that PyTorch does not write."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Returns the content of a checkpoint or of published weights, on the CPU: tensors and plain Python.

    Runs no code in the file and allocates no more memory than the size of the file. Raises UserError if the file is
    missing, damaged, or not a checkpoint of this project.
    """
    checkpoint, cause = None, None
    try:
        checkpoint = read_weights(path) if path.suffix == SUFFIX else _read(path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # zipfile and pickle raise any exception on damaged files
        cause = error
    if not isinstance(checkpoint, dict) or "model" not in checkpoint:
        raise UserError(
            f"{path}: damaged, or not a checkpoint of this project; a file with more than tensors and plain values "
            "could run code and is not opened"
        ) from cause
    return checkpoint


def _read(path: Path) -> Any:
    """Verifies the archive, then loads it with PyTorch. Raises ValueError if it contains more than tensors need.

    PyTorch writes checksums, but does not verify them. Its weights-only unpickler runs no code, but allocates
    bytearrays and legacy tensors of any requested size.
    """
    with ZipFile(path) as archive:
        if any(record.compress_type != ZIP_STORED for record in archive.infolist()):
            raise ValueError("compressed; PyTorch writes uncompressed files")
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} is wrong")
        pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
    for operation, name, _ in chain.from_iterable(map(pickletools.genops, pickles)):
        if operation.name in OTHER_IMPORTS or (operation.name == "GLOBAL" and not TENSORS.fullmatch(str(name))):
            raise ValueError(f"it imports {name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickles that PyTorch refuses
        return torch.load(path, map_location="cpu", weights_only=True)


def weights_path(folder: Path) -> Path:
    """Returns a finished run's `best.ckpt`. Raises UserError if it is missing."""
    path = folder / "best.ckpt"
    if not path.is_file():
        raise UserError(f"{path} not found; restore it, or train again with overwrite=true")
    return path


def load_network(path: Path) -> Network:
    """Loads the network of a checkpoint, on the CPU, in evaluation mode.

    Raises UserError for a file that `read_checkpoint` refuses, and for a network that this version does not support.
    """
    checkpoint = read_checkpoint(path)
    with version_errors(path, "network"):
        saved, weights = checkpoint["network"], checkpoint["state_dict"]
        cls = find_class(saved["class"], "cifar10.networks", Network)
        with torch.device("meta"):  # allocates no memory, whatever the arguments of an untrusted file
            network = cls(**saved["arguments"])
        state = {name.removeprefix("network."): weights[name] for name in weights if name.startswith("network.")}
        network.load_state_dict(state, assign=True)
    return network.float().eval()  # the weights may be of half precision


def find_class(name: str, package: str, base: type[Class]) -> type[Class]:
    """Returns the class NAME or NAMENetwork of `package.name`. Raises TypeError if it is not a subclass of `base`."""
    found: type[Class] = getattr(import_module(f"{package}.{name.removesuffix('Network').lower()}"), name)
    if not issubclass(found, base):
        raise TypeError(f"{name} is not a {base.__name__}")
    return found


@contextmanager
def version_errors(path: Path, kind: str) -> Iterator[None]:
    """Raises UserError for a missing class and for other arguments or weights. kind: "network" or "model"."""
    try:
        yield
    except (ImportError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: this version does not support the {kind} ({reason})") from error
