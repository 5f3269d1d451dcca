# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Classifying CIFAR-10 with three models
#
# A [notebook of 2019](https://github.com/swami84/CIFAR10-Image-Classification---TensorFlow-) classified the images of
# CIFAR-10 with three models of increasing capacity: the nearest class prototype, a fully connected network (MLP) and
# a convolutional network (CNN). This notebook asks the same questions in the same order. Then it goes further: exact
# and discriminative prototypes, tuned networks, calibration, corruptions, explanations, and a certificate for the
# predictions of prototypes.
#
# It trains the prototypes from scratch. The other weights were trained beforehand and are part of the project;
# section 6 lists the minutes. [results.md](results.md) has the results of all seeds, and [models.md](models.md) the
# formulas.
#
# To run the notebook, install the project with `pip install -e '.[notebook]'`, and open `docs/study.ipynb` in Jupyter
# or an editor. It takes about two minutes on two CPU cores. `python scripts/notebook.py` runs it from the command
# line.

# %%
import os
import sys
import warnings
from pathlib import Path

import pandas as pd
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

import cifar10
from cifar10.color.delta_e import mean_difference, to_color_space
from cifar10.data.cifar10 import CIFAR10Data
from cifar10.data.synthetic import SyntheticData
from cifar10.inference.attack import minimum_perturbation
from cifar10.inference.corruptions import PARAMETERS, corruption
from cifar10.inference.predictor import Predictions
from cifar10.networks.base import to_unit
from cifar10.results.figures.attribution import attribute, attribution_figure
from cifar10.results.figures.confusion import confusion_figure, confusions_figure
from cifar10.results.figures.curves import calibration, reliability_figure
from cifar10.results.figures.images import (
    captioned_figure,
    image_rows_figure,
    pair_figure,
    pixel_weights_figure,
    weights_figure,
)
from cifar10.results.figures.registry import FIGURES
from cifar10.results.figures.robustness import certified_radii, robustness_figure
from cifar10.results.saved_run import SavedRun

# %matplotlib inline
warnings.filterwarnings("ignore", "IProgress not found")  # of tqdm, which Captum imports

# %%
DATA = "cifar10"  # "synthetic" only tests that the cells run
IMAGES = 10_000  # test images for predictions
FEW_IMAGES = 1_000  # test images for the slower sections
ATTACKED = 100  # test images for the attack
PYTHON = sys.executable
RUNS = "runs/notebook"  # folder of the two runs that this notebook trains
OPTIONS = f"data={DATA} runs={RUNS} overwrite=true trainer.enable_progress_bar=false"

os.chdir(Path(cifar10.__file__).parent.parent)  # the commands below run in the project's folder

# %% [markdown]
# ## 1. Data
#
# CIFAR-10 has 50,000 training and 10,000 test images of 32 x 32 pixels, in ten classes of equal size. As in the
# study, the first 1,000 training images are the validation set. A classifier that always predicts the same class has
# an accuracy of 10%.

# %%
data = CIFAR10Data(os.environ.get("CIFAR10_ROOT", "data")) if DATA == "cifar10" else SyntheticData()
data.prepare_data()  # downloads 170 MB if files are missing
data.setup()
splits = {"training": data.train_labels, "validation": data.val_labels, "test": data.test_labels}
names, images, labels = data.class_names, data.test_images[:IMAGES], data.test_labels[:IMAGES]
print(
    f"{len(data.train_labels):,} training, {len(data.val_labels):,} validation, {len(data.test_labels):,} test images"
)

examples = torch.stack([data.train_images[data.train_labels == label][:8] for label in range(10)], 1)
image_rows_figure(to_unit(examples), [""] * 8, names, "The first training images of each class")

# %% [markdown]
# ## 2. Class prototypes
#
# The first model compares images by perceived color. It converts pixels to CIE L\*a\*b\*, an approximately
# perceptually uniform color space: L\* is the lightness, a\* and b\* are the positions between green and red, and
# between blue and yellow. The distance between two pixels is Delta E 1976 (`cie76`), the Euclidean distance in this
# space. Observers notice differences of about 2, and black and white are 100 apart. The distance between two images
# is the mean over their pixels. These are the distances between the first test images:

# %%
first = to_color_space(to_unit(images[:10]), "cie76")
distances = pd.DataFrame(mean_difference(first, first, "cie76").numpy(), [names[label] for label in labels[:10]])
distances.round(1)

# %% [markdown]
# The prototype of a class is the image with the smallest mean distance to the training images of the class. The study
# calls it the typical image. Training starts from random noise and minimizes the distance by gradient descent.
# `train.py` trains every model of this project. A line that begins with `!` runs in a shell, and `{OPTIONS}` inserts
# a variable.

# %%
# !{PYTHON} train.py model=prototype {OPTIONS}

# %%
run = SavedRun(max(Path(RUNS).glob("prototype/**/seed=1"), key=os.path.getmtime))
FIGURES["snapshots"](run)

# %% [markdown]
# By about step 100, most of the noise is gone. Color artifacts remain until the learning rate has decayed. The result
# is a blur: one typical color per region of the image.

# %%
FIGURES["prototypes"](run)

# %% [markdown]
# The study remarks that "some clever averaging" could find the prototypes, too. The exact solution is the geometric
# median: at each pixel, the color with the smallest mean distance to the colors of the class. The problem is convex,
# and Weiszfeld's algorithm solves it in a few passes over the data. A duality gap bounds the remaining error
# ([models.md](models.md#typical-prototypes)).

# %%
# !{PYTHON} train.py experiment=prototype_exact {OPTIONS}

# %% [markdown]
# The accuracies of both runs differ by about as much as those of two seeds. The accuracy is limited by the
# model, not by its optimization.
#
# ### Predictions
#
# An image is classified as the class of the nearest prototype. The figure shows for each class the test images that
# are nearest to the prototype, and those that are farthest from it.

# %%
FIGURES["nearest_and_farthest"](run)

# %% [markdown]
# The nearest images have muted colors, like the prototypes. The farthest ones have saturated colors. The model has no
# notion of shape: it compares each pixel with the pixel at the same position of the prototype.
#
# The columns of the confusion matrix show which classes are predicted too often.

# %%
FIGURES["confusion"](run)

# %% [markdown]
# ## 3. Fully connected network
#
# The second model has layers of 300, 150 and 10 units. The activation is the exponential linear unit (ELU). The loss
# is the cross-entropy: the negative logarithm of the predicted probability of the true class. `python train.py
# model=mlp` trains it in about two minutes. Here, `cifar10.load` loads the published weights.


# %%
def predict(name: str, count: int = IMAGES) -> Predictions:
    return cifar10.load(name).predict(images[:count])


def accuracy(predictions: Predictions) -> float:
    return float((predictions.labels == labels[: len(predictions.labels)].numpy()).mean())


def confusion(predictions: Predictions) -> torch.Tensor:
    found = torch.from_numpy(predictions.labels)
    return multiclass_confusion_matrix(found, labels[: len(found)], len(names))


mlp = predict("mlp")
confusion_figure(confusion(mlp), names, f"MLP, {accuracy(mlp):.1%}")

# %% [markdown]
# Each unit of the first layer has a weight for each pixel and channel, which can be drawn as an image. Gray is zero.
# Most units have a coarse color pattern with noise; some resemble edges.

# %%
weights = cifar10.load("mlp", "cpu").network.first_layer().detach()
largest = weights.flatten(1).norm(dim=1).argsort(descending=True)[:60]
weights_figure(weights[largest], 20, "The 60 units of the largest weights")

# %% [markdown]
# ## 4. Convolutional network
#
# The third model has five convolutions of 3 x 3 pixels and three fully connected layers. A convolution uses the same
# weights at each position, so a shifted object gives shifted features.

# %%
cnn = predict("cnn")
confusion_figure(confusion(cnn), names, f"CNN, {accuracy(cnn):.1%}")

# %% [markdown]
# Cats and dogs are confused most often. These are examples of each cell of the matrix:

# %%
pair = names[3], names[5]
chosen = [[(labels == true) & (torch.from_numpy(cnn.labels) == found) for found in (3, 5)] for true in (3, 5)]
panels = [[to_unit(images[cell][:16]) for cell in row] for row in chosen]
counts = torch.tensor([[int(cell.sum()) for cell in row] for row in chosen])
pair_figure(panels, counts, pair)

# %% [markdown]
# ## 5. Comparison
#
# In the study, the accuracy rose from 28.8% to 50.7% and 75.9%. The prototypes here are more accurate because they
# use Delta E 1976; the study used another color difference, redmean. The confusion matrices are drawn without their
# diagonals, so that the errors are visible.

# %%
prototype = predict("prototype")
study = {"prototype": prototype, "MLP": mlp, "CNN": cnn}
titles = [f"{name}, {accuracy(predictions):.1%}" for name, predictions in study.items()]
confusions_figure([confusion(predictions) for predictions in study.values()], titles, names)

# %% [markdown]
# ## 6. Training recipes
#
# Four further networks are published. `mlp_best` and `cnn_best` have the widths, depth and kernels of the study, and
# add batch normalization. `prototype_best` adds pixel weights and nine more prototypes per class. These three also use
# augmentation, more epochs, and test-time augmentation (TTA): the logits are averaged over small shifts and, for the
# MLP and the CNN, over flips. `prototype_best` compares each image and its horizontal flip with the prototypes, also in
# training.
# `prototype_certified` is the subject of section 10. [recipes.md](recipes.md) reports what helped.

# %%
table = cifar10.list_weights()[["model", "accuracy", "parameters", "minutes", "device"]]
table.style.format({"accuracy": "{:.1%}", "parameters": "{:,}", "minutes": "{:.1f}"})

# %% [markdown]
# `prototype_best` is trained discriminatively: it minimizes the cross-entropy, not the distance to the images. Its
# prototypes start at the centers of clusters of the training images (k-means).

# %%
network = cifar10.load("prototype_best", "cpu").network
prototypes = network.prototype_images().unflatten(0, (10, -1)).transpose(0, 1)
image_rows_figure(prototypes, [""] * len(prototypes), network.class_names, "Ten discriminative prototypes per class")

# %%
pixel_weights_figure(network.weights().detach(), "Weights of the pixels")

# %% [markdown]
# The weights of the pixels are learned, too. The middle and the corners of the image have the highest weights.
#
# ## 7. Calibration
#
# A classifier is calibrated if 80% of the predictions with a confidence of 80% are correct, and likewise for every
# confidence. The confidence is the probability of the predicted class. The expected calibration error (ECE) is the
# mean absolute difference between confidence and accuracy over 15 bins of confidence, weighted by their number of
# images.

# %%
reliability_figure(calibration(cnn.probabilities, labels.numpy()), "CNN")

# %%
rows = {}
for name in ("prototype_best", "mlp", "mlp_best", "cnn", "cnn_best"):
    found = predict(name, FEW_IMAGES)
    error = calibration(found.probabilities, labels[:FEW_IMAGES].numpy()).ece
    rows[name] = {"accuracy": accuracy(found), "ECE": error}
pd.DataFrame(rows).T.style.format("{:.1%}")

# %% [markdown]
# ## 8. Corruptions
#
# How does the accuracy change if the test images are degraded? These are five corruptions of
# [CIFAR-10-C](https://github.com/hendrycks/robustness) at the third of five severities.

# %%
changed = {kind: corruption(kind, 3)(images[:FEW_IMAGES]) for kind in PARAMETERS}
rows = torch.stack([images[:8], *(batch[:8] for batch in changed.values())])
image_rows_figure(to_unit(rows), ["original", *changed], [names[label] for label in labels[:8]])

# %%
rows = {}
for name in ("prototype", "mlp", "mlp_best", "cnn"):
    predictor = cifar10.load(name)
    found = {kind: predictor.predict(batch) for kind, batch in {"original": images[:FEW_IMAGES], **changed}.items()}
    rows[name] = {kind: accuracy(predictions) for kind, predictions in found.items()}
pd.DataFrame(rows).style.format("{:.1%}")

# %% [markdown]
# Under noise and blur, the CNN loses more accuracy than the other models. These corruptions change edges, but hardly
# the mean colors of regions. Less contrast reduces the accuracy of every model.
#
# ## 9. Explanations
#
# Which pixels support a prediction? Each row explains one model: in occlusion and integrated
# gradients, red pixels support the prediction, and blue pixels oppose it. Only the maps of occlusion have a common
# scale: the decrease of the probability if a patch is replaced by the image's mean color.
# [models.md](models.md#explanations) describes the other methods.

# %%
explained = {name: cifar10.load(name, "cpu").network for name in ("prototype_best", "mlp_best", "cnn_best")}
image = images[7]
attributions = [attribute(network, image) for network in explained.values()]
titles = [
    f"{name}: {names[one.label]} {one.probability:.0%}" for name, one in zip(explained, attributions, strict=True)
]
attribution_figure(image, titles, attributions, f"test image 7: {names[labels[7]]}")

# %% [markdown]
# ## 10. Certified robustness
#
# How large a perturbation changes a prediction? For prototypes, a lower bound follows without a search.
# Mean Delta E is a norm. If the image changes by some amount, its distance to each prototype changes by at most that
# amount. The prediction cannot change while the change is smaller than half the difference between the distances to
# the nearest and the second nearest class. This is the certified radius. The [proof](models.md#certified-radius)
# covers several prototypes per class, flips, shifts and rounding.

# %%
typical = cifar10.load("prototype", "cpu").network
radii = typical.certified_radius(images[:10])
captions = [f"{names[label]}\nradius {radius:.2f}" for label, radius in zip(prototype.labels[:10], radii, strict=True)]
captioned_figure(
    to_unit(images[:10]), captions, columns=5, title="Predictions and their certified radii, in mean Delta E"
)

# %% [markdown]
# `prototype_certified` is trained for large radii: a low, fixed inverse temperature of its scores rewards large
# margins. The MLP and the CNN have no comparably cheap certificate. All models are attacked: projected gradient
# descent in L\*a\*b\* searches for minimum-norm adversarial perturbations. Solid lines show the accuracy under attack,
# an upper bound of the robust accuracy. Dashed lines show the certified accuracy, a lower bound. The unit is the mean
# over pixels, so a few pixels can change visibly at a small mean.

# %%
attacked, certified = {}, {}
for name in ("prototype", "prototype_certified", "mlp", "cnn"):
    network = cifar10.load(name, "cpu").network
    attacked[name] = minimum_perturbation(network, images[:ATTACKED], labels[:ATTACKED], steps=30).numpy()
    if name.startswith("prototype"):
        certified[name] = certified_radii(network, images[:ATTACKED], attacked[name] > 0)
robustness_figure(attacked, certified, f"Accuracy on {ATTACKED} test images under attack")

# %% [markdown]
# The CNN is the most accurate model on unchanged images, and loses its accuracy at the smallest perturbations.
# Prototypes lose accuracy the most slowly.
#
# ## Next steps
#
# - `python train.py experiment=cnn_best` trains the most accurate model. `python train.py --help` lists all settings.
# - `python scripts/predict.py cnn_best photo.jpg` classifies your own images. `python scripts/demo.py` opens a page.
# - [results.md](results.md) has all published runs. [recipes.md](recipes.md) reports which methods helped.
