"""What a run said of each test image: kept whole, read back, and what is asked of it."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from cifar10.models.test_predictions import TestPredictions, most_confused


@pytest.fixture
def said():
    random = np.random.default_rng(0)
    return TestPredictions(random.dirichlet([1, 1, 1], 200).astype(np.float32), random.integers(3, size=200))


def test_they_come_back_to_the_bit(said, tmp_path):
    said.save(tmp_path)
    again = TestPredictions.load(tmp_path)
    np.testing.assert_array_equal(again.probabilities, said.probabilities)
    np.testing.assert_array_equal(again.labels, said.labels)


def test_the_confusion_matrix_is_scikit_learn_s(said):
    np.testing.assert_array_equal(said.confusion(3), confusion_matrix(said.labels, said.predicted))


def test_mistakes_are_wrong_and_the_surest_come_first(said):
    worst = said.confident_errors(10)
    wrong = [place for place in range(200) if said.probabilities[place].argmax() != said.labels[place]]
    assert list(worst) == sorted(wrong, key=lambda place: -said.probabilities[place].max())[:10]
    assert len(said.confident_errors(1000)) == len(wrong)


def test_taken_are_the_images_of_one_cell_in_their_order(said):
    for true, guess in [(0, 0), (1, 2)]:
        taken = said.taken(true, guess)
        assert len(taken) == said.confusion(3)[true, guess]
        assert list(taken) == sorted(taken)
        assert set(said.labels[taken]) == {true}


@pytest.mark.parametrize(
    ("confusion", "pair"),
    [
        ([[8, 2, 0], [0, 9, 1], [3, 0, 7]], (0, 2)),
        ([[80, 0, 20], [0, 9, 3], [0, 3, 9]], (1, 2)),  # by share, not by count
        ([[1, 0, 0], [0, 0, 0], [1, 0, 1]], (0, 2)),  # a class without images
    ],
)
def test_the_pair_that_is_confused_most(confusion, pair):
    assert most_confused(np.array(confusion)) == pair
