"""Entry points of torch.hub: the published networks, from raw images to logits.

>>> network = torch.hub.load(PATH, "cnn_best", weights="default", source="local")  # PATH: folder of this file
>>> logits = network(images)  # (N, 3, 32, 32) uint8 or float in [0, 1] to (N, 10); network.class_names names them
"""

from importlib.util import find_spec as _find_spec  # torch.hub.list shows each name without an underscore

from cifar10.networks.base import Network as _Network

dependencies = ["torch", "safetensors"]


def prototype(weights: str | None = "default") -> _Network:
    """Nearest-prototype classifier of one prototype per class, in L*a*b*. Needs kornia.

    weights: "default" loads the published weights; None initializes the network at random.
    """
    return _prototypes("prototype", weights)


def prototype_best(weights: str | None = "default") -> _Network:
    """Nearest-prototype classifier of several prototypes per class, trained discriminatively. Needs kornia.

    weights: "default" loads the published weights; None initializes the network at random.
    """
    return _prototypes("prototype_best", weights)


def prototype_certified(weights: str | None = "default") -> _Network:
    """Nearest-prototype classifier of one prototype per class, trained for large certified radii. Needs kornia.

    weights: "default" loads the published weights; None initializes the network at random.
    """
    return _prototypes("prototype_certified", weights)


def mlp(weights: str | None = "default") -> _Network:
    """MLP of three layers, trained as in the study of 2019.

    weights: "default" loads the published weights; None initializes the network at random.
    """
    return _load("mlp", weights)


def mlp_best(weights: str | None = "default") -> _Network:
    """MLP of three layers, trained by `experiment=mlp_best`.

    weights: "default" loads the published weights; None initializes the network at random.
    """
    return _load("mlp_best", weights)


def cnn(weights: str | None = "default") -> _Network:
    """CNN of five convolutions and three dense layers, trained as in the study of 2019.

    weights: "default" loads the published weights; None initializes the network at random.
    """
    return _load("cnn", weights)


def cnn_best(weights: str | None = "default") -> _Network:
    """CNN of five convolutions and three dense layers, trained by `experiment=cnn_best`.

    weights: "default" loads the published weights; None initializes the network at random.
    """
    return _load("cnn_best", weights)


def _prototypes(name: str, weights: str | None) -> _Network:
    if _find_spec("kornia") is None:
        raise RuntimeError("Missing dependencies: kornia")  # as torch.hub for `dependencies`
    return _load(name, weights)


def _load(name: str, weights: str | None) -> _Network:
    from cifar10.networks.checkpoint import load_network
    from cifar10.networks.weights import published_path

    if weights not in ("default", None):
        raise ValueError(f"weights={weights!r}: expected 'default' or None")
    path = published_path(name)
    if path is None:
        raise ValueError(f"{name}: no weights are published")
    network = load_network(path)
    return network if weights else type(network)(**network.arguments)
