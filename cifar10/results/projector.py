"""Writes embeddings of test images for TensorBoard's PROJECTOR."""

from math import ceil, sqrt

import numpy as np
import pandas as pd
import torch
from tensorboard.plugins import projector
from torchvision.utils import make_grid, save_image

from cifar10.files import write_atomically
from cifar10.networks.base import to_unit
from cifar10.results.saved_run import SavedRun

FOLDER = "projector"


def write_embedding(run: SavedRun, images: int) -> int:
    """Writes points, labels and thumbnails of the first `images` test images into `tensorboard/`; returns their number.

    Points are the network's `embed`. Raises UserError where weights or images are missing.
    """
    shown = run.data.test_images[:images]
    with torch.inference_mode():
        points = torch.cat([run.network.embed(block) for block in shown.split(500)]).float()
    names, found = np.array(run.class_names), run.predictions
    table = pd.DataFrame({"class": names[found.labels], "prediction": names[found.predicted]})
    table["right"] = np.where(found.labels == found.predicted, "right", "wrong")
    table["confidence"] = found.confidence
    table["test image"] = table.index
    rows = table[: len(shown)].to_csv(sep="\t", index=False, float_format="%.3f", lineterminator="\n")
    side = ceil(sqrt(len(shown)))
    square = torch.cat([shown, shown.new_zeros(side**2 - len(shown), *shown.shape[1:])])  # as the projector wants it
    sprite = make_grid(to_unit(square), nrow=side, padding=0)

    log = run.folder / "tensorboard"
    write_atomically(log / FOLDER / "points.tsv", lambda file: np.savetxt(file, points, "%.6g", delimiter="\t"))
    write_atomically(log / FOLDER / "images.tsv", lambda file: file.write(rows.encode()))
    write_atomically(log / FOLDER / "images.png", lambda file: save_image(sprite, file, format="png"))
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add(
        tensor_name="test images", tensor_path=f"{FOLDER}/points.tsv", metadata_path=f"{FOLDER}/images.tsv"
    )
    embedding.sprite.image_path = f"{FOLDER}/images.png"
    embedding.sprite.single_image_dim.extend(shown.shape[:1:-1])
    projector.visualize_embeddings(str(log), config)
    return len(shown)
