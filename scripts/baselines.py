"""Measures simple classifiers on CIFAR-10, to compare the three models with; needs pip install -e '.[test]'.

python scripts/baselines.py               prints the table; half an hour on two CPU cores
python scripts/baselines.py --out docs    updates docs/baselines.json and the table in docs/results.md
"""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor

from cifar10.data.datamodule import ImageData
from cifar10.errors import require_packages
from cifar10.inference.command_line import make_parser, one_line_errors
from cifar10.results.markdown import find_table, markdown_table, replace_table
from cifar10.training.config import compose_settings

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Values of C, scikit-learn's inverse regularization strength of softmax regression; validation images select one."""


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data", choices=("cifar10", "synthetic"), default="cifar10", help="synthetic: a quick test")
    parser.add_argument("--out", type=Path, help="update baselines.json and results.md in this folder")
    args = parser.parse_args()
    with one_line_errors():
        require_packages("test", "sklearn")
        page = args.out and args.out / "results.md"
        if page:
            find_table(page, "baselines")  # a page without the table fails before the measurements
        rows = list(measure(args.data))
        print(table(rows))
        if page:
            page.with_name("baselines.json").write_text(json.dumps(rows, indent=1) + "\n")
            replace_table(page, "baselines", table(rows))


def measure(name: str) -> Iterator[dict[str, Any]]:
    """Yields a row per baseline: its name, and its test accuracy in [0, 1].

    name: data set, an option of `data=`.
    """
    settings = compose_settings("model=prototype", f"data={name}")
    data: ImageData = instantiate(settings["data"], _convert_="all")
    data.prepare_data()
    data.setup()
    for baseline, predict in BASELINES.items():
        predicted, detail = predict(data)
        accuracy = (predicted == data.test_labels).double().mean().item()
        print(f"{baseline}{detail}: {accuracy:.2%}", file=sys.stderr)
        yield {"baseline": baseline + detail, "accuracy": accuracy}


def most_frequent_class(data: ImageData) -> tuple[Tensor, str]:
    return data.train_labels.bincount().argmax().expand(len(data.test_labels)), ""


def nearest_class_mean(data: ImageData) -> tuple[Tensor, str]:
    from sklearn.neighbors import NearestCentroid

    model = NearestCentroid().fit(vectors(data.train_images), data.train_labels)
    return torch.from_numpy(model.predict(vectors(data.test_images))), ""


def softmax_regression(data: ImageData) -> tuple[Tensor, str]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fitted(penalty: float) -> Any:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=300))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # weak penalties need more iterations, and generalize worse
            return model.fit(vectors(data.train_images), data.train_labels)

    models = {penalty: fitted(penalty) for penalty in PENALTIES}
    best = max(models, key=lambda penalty: models[penalty].score(vectors(data.val_images), data.val_labels))
    predicted = torch.from_numpy(models[best].predict(vectors(data.test_images)))
    return predicted, f", C={best:g}, best of {len(PENALTIES)}"


def nearest_neighbor(norm: float) -> Callable[[ImageData], tuple[Tensor, str]]:
    """Returns the 1-nearest-neighbor classifier of RGB images under the L1 or L2 distance."""

    def predict(data: ImageData) -> tuple[Tensor, str]:
        train = torch.from_numpy(vectors(data.train_images))
        test = torch.from_numpy(vectors(data.test_images))
        with ThreadPool(torch.get_num_threads()) as pool:  # the L1 distance of PyTorch uses one thread
            nearest = pool.map(lambda block: torch.cdist(block, train, norm).argmin(1), test.split(250))
        return data.train_labels[torch.cat(nearest)], ""

    return predict


@torch.no_grad()
def nearest_neighbor_delta_e(data: ImageData) -> tuple[Tensor, str]:
    from cifar10.color.delta_e import mean_difference, to_lab
    from cifar10.color.kernels import can_compile, compiled_mean_difference
    from cifar10.networks.base import to_unit

    train, test = to_lab(to_unit(data.train_images)), to_lab(to_unit(data.test_images))
    difference = compiled_mean_difference if can_compile(train[:10], "cie76") else mean_difference
    smallest, nearest = torch.full((len(test),), torch.inf), torch.zeros(len(test), dtype=torch.int64)
    for first, block in zip(range(0, len(train), 10), train.split(10), strict=True):
        distance, index = difference(test, block, "cie76").min(1)
        nearer = distance < smallest
        smallest[nearer], nearest[nearer] = distance[nearer], index[nearer] + first
    return data.train_labels[nearest], ""


def vectors(images: Tensor) -> Any:
    """Returns images (N, 3, 32, 32) uint8 as a NumPy array (N, 3072), float32 in [0, 1]."""
    return (images.flatten(1) / 255).numpy()


BASELINES = {
    "most frequent class": most_frequent_class,
    "nearest class mean, RGB, L2": nearest_class_mean,
    "1-nearest neighbor, RGB, L1": nearest_neighbor(1.0),
    "1-nearest neighbor, RGB, L2": nearest_neighbor(2.0),
    "1-nearest neighbor, mean Delta E 1976": nearest_neighbor_delta_e,
    "softmax regression": softmax_regression,
}


def table(rows: list[dict[str, Any]]) -> str:
    """Renders the rows as a Markdown table."""
    cells = ([row["baseline"], f"{row['accuracy']:.1%}"] for row in rows)
    return markdown_table([["baseline", "test accuracy"], *cells])


if __name__ == "__main__":
    main()
