"""The level grids, closed forms and gradients of the straight-through quantizers, against numpy and by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_hwcompress.training import quantizers as q


def run(function, *args, **kwargs):
    tensors = [ops.convert_to_tensor(a) if isinstance(a, np.ndarray) else a for a in args]
    return ops.convert_to_numpy(function(*tensors, **kwargs))


@pytest.mark.parametrize("levels", range(2, 17))
def test_a_grid_is_symmetric_with_unit_spacing_and_holds_zero_if_it_is_odd(levels):
    grid = q.level_grid(levels)
    assert grid.shape == (levels,) and grid.dtype == np.float32
    assert np.array_equal(grid, -grid[::-1]) and np.array_equal(np.diff(grid), np.ones(levels - 1))
    assert (0.0 in grid) == (levels % 2 == 1)


def test_the_nearest_level_is_the_one_that_an_exhaustive_search_finds():
    rng = np.random.default_rng(0)
    for levels in (2, 3, 4, 7, 16):
        weights, grid = rng.normal(size=(50, 6)).astype(np.float32), q.level_grid(levels)
        scale = rng.uniform(0.05, 1.0, (1, 6)).astype(np.float32)
        distance = np.abs(weights[..., None] - scale[..., None] * grid)
        assert np.array_equal(run(q.nearest_level, weights, scale, grid), grid[distance.argmin(-1)])


def test_the_ternary_closed_form_equals_one_worked_by_hand():
    weights = np.array([[0.1], [-1.0], [0.6], [-0.3]], np.float32)
    ones = np.ones_like(weights)
    # mean|w| = 2.0 / 4 = 0.5, threshold 0.35: -1.0 and 0.6 stay, the scale is their mean magnitude 0.8.
    threshold = run(q.ternary_threshold, weights, ones, axes=(0,))
    level = run(q.ternary_level, weights, threshold)
    assert np.allclose(threshold, 0.35) and level.ravel().tolist() == [0, -1, 1, 0]
    assert np.allclose(run(q.least_squares_scale, weights, level, axes=(0,)), 0.8)


@pytest.mark.parametrize("levels", [2, 4, 5, 8, 16])
@pytest.mark.parametrize("shape", ["normal", "uniform", "laplace"])
def test_the_fitted_scale_is_within_five_percent_of_the_best_squared_error(levels, shape):
    rng, grid = np.random.default_rng(levels), q.level_grid(levels)
    draw = rng.uniform(-1, 1, (800, 3)) if shape == "uniform" else getattr(rng, shape)(size=(800, 3))
    weights = draw.astype(np.float32)

    def error(scale):
        level = np.clip(np.round(weights / scale - grid[0]) + grid[0], grid[0], grid[-1])
        return ((weights - scale * level) ** 2).sum(0)

    widest = np.abs(weights).max(0, keepdims=True) / grid[-1]
    best = np.min([error(share * widest) for share in np.linspace(0.02, 1.6, 600)], axis=0)
    fitted = run(q.fit_scale, weights, np.ones_like(weights), grid, axes=(0,))
    assert fitted.shape == (1, 3) and np.all(error(fitted) <= 1.05 * best), (error(fitted) / best).tolist()


def test_masked_weights_do_not_move_the_fitted_scale():
    rng, grid = np.random.default_rng(3), q.level_grid(5)
    weights = rng.normal(size=(60, 2)).astype(np.float32)
    mask = np.ones_like(weights)
    mask[40:] = 0
    loud = np.where(mask > 0, weights, 100.0).astype(np.float32)
    fitted = run(q.fit_scale, loud, mask, grid, axes=(0,))
    assert np.allclose(fitted, run(q.fit_scale, weights[:40], mask[:40], grid, axes=(0,)))


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_a_row_of_zeros_gets_scale_zero_and_no_nan(levels):
    zeros, grid = np.zeros((9, 1), np.float32), q.level_grid(levels)
    scale = run(q.fit_scale, zeros, np.ones_like(zeros), grid, axes=(0,))
    assert np.array_equal(scale * run(q.nearest_level, zeros, scale, grid), zeros)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.99])
def test_the_magnitude_mask_keeps_an_exact_count_even_when_all_magnitudes_tie(share):
    for weights in (np.random.default_rng(0).normal(size=(5, 20)).astype(np.float32), np.ones((5, 20), np.float32)):
        mask = run(q.magnitude_mask, weights, share)
        assert np.count_nonzero(mask == 0) == round(share * 100) and set(np.unique(mask)) <= {0.0, 1.0}
        if np.ptp(weights) > 0 and share:
            assert np.abs(weights[mask == 0]).max() <= np.abs(weights[mask == 1]).min()


def test_strength_zero_and_one_are_exact_and_the_values_between_lie_between():
    rng = np.random.default_rng(5)
    latent, target = (rng.normal(size=1000).astype(np.float32) for _ in range(2))
    at = [run(q.straight_through, latent, target, np.float32(strength)) for strength in (0.0, 0.25, 1.0)]
    assert np.array_equal(at[0], latent) and np.array_equal(at[2], target)
    assert np.allclose(at[1], 0.75 * latent + 0.25 * target)
    naive = latent + np.float32(1) * (target - latent)
    assert np.any(naive != target), "the textbook form is exact here, so this test shows nothing"


class Product(keras.layers.Layer):
    """sum(c * scale * learned_level(w, scale)) with the scale as the only weight: shows the gradient of the scale."""

    def __init__(self, weights, factors, grid, **kwargs):
        super().__init__(**kwargs)
        self.constants = [ops.convert_to_tensor(a) for a in (weights, factors, grid)]

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), initializer=keras.initializers.Constant(0.5))

    def call(self, inputs):
        weights, factors, grid = self.constants
        return inputs * ops.sum(factors * self.scale * q.learned_level(weights, self.scale, grid))


def test_the_learned_scale_has_the_gradient_of_lsq():
    weights = np.array([0.1, 0.3, -0.6, 2.0, -3.0], np.float32)
    factors = np.array([1.0, 2.0, 3.0, 4.0, 5.0], np.float32)
    model = keras.Sequential([keras.Input((1,)), Product(weights, factors, q.level_grid(3))])
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, p: ops.sum(p), run_eagerly=True)
    model.fit(np.ones((1, 1)), np.ones((1, 1)), verbose=0)
    # w/s = 0.2, 0.6, -1.2, 4, -6; levels 0, 1, -1, 1, -1; level - w/s inside, the outermost level outside:
    # -0.2, 0.4, -1, 1, -1; times the factors: -0.2 + 0.8 - 3 + 4 - 5 = -3.4.
    assert np.isclose(float(ops.convert_to_numpy(model.weights[0])), 0.5 + 3.4)
