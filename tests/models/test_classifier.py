"""What a new model has without a line of its own."""

import torch

from cifar10.models.classifier import CIFAR10_CLASSES, Classifier, to_unit


class Linear(Classifier):
    def __init__(self) -> None:
        super().__init__(CIFAR10_CLASSES)
        self.layer = torch.nn.Linear(3 * 32 * 32, 10)

    def forward(self, images):
        return self.layer(to_unit(images).flatten(1))


def test_the_projector_shows_the_logits_of_a_model_that_names_nothing_else():
    images = torch.arange(2 * 3 * 32 * 32, dtype=torch.uint8).reshape(2, 3, 32, 32)
    model = Linear()
    torch.testing.assert_close(model.embed(images), model.layer((images / 255).flatten(1)))
