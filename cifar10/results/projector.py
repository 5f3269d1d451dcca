"""Writes embeddings of test images for TensorBoard's projector."""

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
    """Writes embeddings, labels and thumbnails of the first `images` test images; returns the number of images.

    The embeddings are the network's `embed`; the files go to `tensorboard/projector/` of the run. Raises UserError if
    weights or images are missing.
    """
    selected = run.data.test_images[:images]
    with torch.inference_mode():
        embeddings = torch.cat([run.network.embed(batch) for batch in selected.split(500)]).float()
    names, predictions = np.array(run.class_names), run.predictions
    table = pd.DataFrame({"class": names[predictions.labels], "prediction": names[predictions.predicted]})
    table["correct"] = predictions.labels == predictions.predicted
    table["confidence"] = predictions.confidence
    table["test image"] = table.index
    rows = table[: len(selected)].to_csv(sep="\t", index=False, float_format="%.3f", lineterminator="\n")
    side = ceil(sqrt(len(selected)))
    square = torch.cat([selected, selected.new_zeros(side**2 - len(selected), *selected.shape[1:])])
    sprite = make_grid(to_unit(square), nrow=side, padding=0)  # the projector requires a square

    log = run.folder / "tensorboard"
    write_atomically(log / FOLDER / "points.tsv", lambda file: np.savetxt(file, embeddings, "%.6g", delimiter="\t"))
    write_atomically(log / FOLDER / "images.tsv", lambda file: file.write(rows.encode()))
    write_atomically(log / FOLDER / "images.png", lambda file: save_image(sprite, file, format="png"))
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add(
        tensor_name="test images", tensor_path=f"{FOLDER}/points.tsv", metadata_path=f"{FOLDER}/images.tsv"
    )
    embedding.sprite.image_path = f"{FOLDER}/images.png"
    embedding.sprite.single_image_dim.extend(selected.shape[:1:-1])
    projector.visualize_embeddings(str(log), config)
    return len(selected)
