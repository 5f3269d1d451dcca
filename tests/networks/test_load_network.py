"""Tests loading networks without Lightning, also from damaged and malicious checkpoints."""

from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch

from cifar10.errors import UserError
from cifar10.networks.checkpoint import load_network, read_checkpoint
from cifar10.networks.cnn import CNNNetwork
from cifar10.networks.mlp import MLPNetwork
from cifar10.networks.prototype import PrototypeNetwork

IMAGES = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def save(path, network, **changes):
    content = {"class": type(network).__name__, "arguments": network.arguments} | changes
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"model": network.name, "network": content, "state_dict": weights | {"other": torch.ones(1)}}, path)
    return path


@pytest.mark.parametrize(
    "network",
    [
        MLPNetwork(["a", "b"], batch_norm=True, tta_shift_px=1),
        CNNNetwork(["a", "b", "c"], tta_flip=True),
        PrototypeNetwork(["a", "b"], "redmean", discriminative=True, prototypes_per_class=2, tta_flip=True),
    ],
    ids=lambda network: network.name,
)
def test_loaded_network_is_bit_identical(network, tmp_path):
    loaded = load_network(save(tmp_path / "a.ckpt", network))
    assert type(loaded) is type(network)
    assert (loaded.arguments, loaded.class_names) == (network.arguments, network.class_names)
    assert not loaded.training
    assert torch.equal(loaded(IMAGES), network.eval()(IMAGES))
    layouts = [[weight.stride() for weight in each.parameters()] for each in (loaded, network)]
    assert layouts[0] == layouts[1]


def test_half_precision_weights_are_loaded_as_float32(tmp_path):
    network = MLPNetwork(["a", "b"])
    loaded = load_network(save(tmp_path / "a.ckpt", network.half()))
    assert torch.equal(loaded(IMAGES), network.float().eval()(IMAGES))


@pytest.mark.parametrize(
    "changes",
    [
        {"class": "os.system"},
        {"class": "Network"},
        {"class": "ForgottenNetwork"},
        {"class": 3},
        {"arguments": {"layers": 1}},
        {"arguments": {"class_names": ["a"]}},
        {"arguments": None},
    ],
    ids=str,
)
def test_unknown_networks_raise_one_line(changes, tmp_path):
    with pytest.raises(UserError, match=r"a.ckpt: this version does not support the network") as raised:
        load_network(save(tmp_path / "a.ckpt", MLPNetwork(["a", "b"]), **changes))
    assert "\n" not in str(raised.value)


def test_huge_arguments_allocate_no_memory(tmp_path):
    network = PrototypeNetwork(["a", "b"])
    path = save(tmp_path / "a.ckpt", network, arguments=network.arguments | {"prototypes_per_class": 10**9})
    with pytest.raises(UserError, match=r"a.ckpt: this version does not support the network"):
        load_network(path)


def test_changed_byte_is_detected(tmp_path):
    """PyTorch itself loads it as another number."""
    path = tmp_path / "last.ckpt"
    torch.save({"weights": torch.full((1000,), 7.0)}, path)
    content = path.read_bytes()
    place = content.index(torch.full((10,), 7.0).numpy().tobytes())
    path.write_bytes(content[:place] + b"\1" + content[place + 1 :])
    assert not torch.equal(torch.load(path, weights_only=True)["weights"], torch.full((1000,), 7.0))
    with pytest.raises(UserError, match=r"last.ckpt: damaged, or not a checkpoint of this project"):
        read_checkpoint(path)


def test_compressed_checkpoints_are_refused(tmp_path):
    torch.save({"weights": torch.zeros(10**6)}, tmp_path / "whole.ckpt")
    with ZipFile(tmp_path / "whole.ckpt") as whole, ZipFile(tmp_path / "bomb.ckpt", "w", ZIP_DEFLATED) as bomb:
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    assert (tmp_path / "bomb.ckpt").stat().st_size < 10_000
    with pytest.raises(UserError, match=r"bomb.ckpt: damaged, or not a checkpoint of this project"):
        read_checkpoint(tmp_path / "bomb.ckpt")


def test_missing_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"none.ckpt"):
        read_checkpoint(tmp_path / "none.ckpt")


class Large:
    def __reduce__(self):
        return bytearray, (10**13,)


def test_checkpoints_that_allocate_memory_are_refused(tmp_path):
    """PyTorch's weights-only reader allocates a bytearray of any size on request."""
    torch.save({"model": "MLP", "weights": Large()}, tmp_path / "large.ckpt")
    with pytest.raises(UserError, match=r"large.ckpt: damaged, or not a checkpoint of this project"):
        read_checkpoint(tmp_path / "large.ckpt")
