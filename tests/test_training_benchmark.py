"""benchmarks/constrained.py and tasks.py: what the arms are fed, and how arms are named."""

import argparse
import dataclasses
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import constrained  # noqa: E402
import tasks  # noqa: E402

IMAGES = np.arange(8 * 2 * 3, dtype=np.float32).reshape(8, 2, 3, 1)


def test_mirrored_images_come_with_the_answers_to_what_is_shown():
    plain, mirrored = np.arange(8.0).repeat(2).reshape(8, 2), 100 + np.arange(8.0).repeat(2).reshape(8, 2)
    batches = tasks.Mirrored(IMAGES.copy(), np.arange(8), 4, seed=0, teacher=np.stack([plain, mirrored]))
    sides = []
    for images, labels in (batches[0], batches[1]):
        for image, (number, first, _) in zip(images, labels, strict=True):
            own = IMAGES[int(number)]
            sides.append(first >= 100)
            assert first == number + 100 * sides[-1] and np.array_equal(image, own[:, ::-1] if sides[-1] else own)
    assert 0 < sum(sides) < 8


def test_the_images_themselves_stay_as_they_are():
    images = IMAGES.copy()
    batch, labels = tasks.Mirrored(images, np.arange(8), 8, seed=0)[0]
    assert np.array_equal(images, IMAGES) and not np.array_equal(batch, IMAGES[labels])


def test_distillation_is_the_weighted_sum_of_both_cross_entropies():
    logits, teacher = np.array([[2.0, -1.0, 0.5]]), np.array([[1.0, 1.5, -2.0]])

    def log_softmax(values):
        return values - np.log(np.exp(values).sum())

    soft = -(np.exp(log_softmax(teacher / 2)) * log_softmax(logits / 2)).sum()
    expected = 0.7 * 4 * soft - 0.3 * log_softmax(logits)[0, 2]
    found = tasks.distillation_loss(np.float32([[2.0, *teacher[0]]]), logits.astype(np.float32))
    assert np.allclose(np.asarray(found), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["float", "twn", "ternary", "prune-80", "constrained-all-70", "layerwise5-45"])
def test_arms_are_found_by_name(name):
    assert callable(constrained.arm_of(name))


@pytest.mark.parametrize("name", ["int8", "layerwise", "layerwise-100", "layerwise-x", "sparse-80", ""])
def test_other_names_are_refused(name):
    with pytest.raises(argparse.ArgumentTypeError, match="expected one of float, .* Received: " + name):
        constrained.arm_of(name)


def test_networks_are_made_once_and_the_teacher_is_the_mean_of_the_float_arms_of_all_folds(monkeypatch):
    trained = []

    def record(task, fold, model, epochs):
        trained.append(fold.teacher)
        return model

    def base(fold, number, task, checkpoints):
        bias = keras.initializers.Constant(number)
        return keras.Sequential([keras.Input((2, 3, 1)), keras.layers.Flatten(), keras.layers.Dense(3, bias_initializer=bias)])

    monkeypatch.setattr(constrained, "train", record)
    fold = tasks.Fold(*(IMAGES / 48, np.arange(8) % 3) * 3)
    task = dataclasses.replace(tasks.TASKS["digits"], folds=(0, 1), load=lambda number, folder: fold, base=base, distilled=("distilled",))
    options = constrained.parse([])
    runs = {}
    runs.update((number, constrained.FoldRun(task, number, options, runs)) for number in task.folds)
    model = runs[0].arm("distilled")[0]
    assert runs[0].arm("distilled")[0] is model and len(trained) == 3 and trained[:2] == [None, None]
    for side, images in enumerate((fold.x, fold.x[:, :, ::-1])):
        answers = [runs[number].arm("float")[0].predict(images, verbose=0) for number in task.folds]
        assert np.allclose(trained[2][side], np.mean(answers, axis=0), atol=1e-6) and not np.allclose(*answers)
    assert len(trained) == 3
