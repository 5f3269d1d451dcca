"""Predictions of all test images: file, confusion matrix, errors."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from cifar10.models.test_predictions import TestPredictions, most_confused


@pytest.fixture
def predictions():
    random = np.random.default_rng(0)
    return TestPredictions(random.dirichlet([1, 1, 1], 200).astype(np.float32), random.integers(3, size=200))


def test_save_and_load_are_bit_identical(predictions, tmp_path):
    predictions.save(tmp_path)
    again = TestPredictions.load(tmp_path)
    np.testing.assert_array_equal(again.probabilities, predictions.probabilities)
    np.testing.assert_array_equal(again.labels, predictions.labels)


def test_confusion_matrix_equals_scikit_learn(predictions):
    np.testing.assert_array_equal(predictions.confusion(3), confusion_matrix(predictions.labels, predictions.predicted))


def test_confident_errors_are_sorted_by_confidence(predictions):
    worst = predictions.confident_errors(10)
    wrong = [place for place in range(200) if predictions.probabilities[place].argmax() != predictions.labels[place]]
    assert list(worst) == sorted(wrong, key=lambda place: -predictions.probabilities[place].max())[:10]
    assert len(predictions.confident_errors(1000)) == len(wrong)


def test_cell_returns_one_cell_of_the_confusion_matrix(predictions):
    for true, guess in [(0, 0), (1, 2)]:
        cell = predictions.cell(true, guess)
        assert len(cell) == predictions.confusion(3)[true, guess]
        assert list(cell) == sorted(cell)
        assert set(predictions.labels[cell]) == {true}


@pytest.mark.parametrize(
    ("confusion", "pair"),
    [
        ([[8, 2, 0], [0, 9, 1], [3, 0, 7]], (0, 2)),
        ([[80, 0, 20], [0, 9, 3], [0, 3, 9]], (1, 2)),  # by share, not by count
        ([[1, 0, 0], [0, 0, 0], [1, 0, 1]], (0, 2)),  # a class without images
    ],
)
def test_most_confused(confusion, pair):
    assert most_confused(np.array(confusion)) == pair
