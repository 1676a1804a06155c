"""Gaussian-process regression: likelihood, fit, leave-one-out error, and outputs at their bounds."""

import numpy as np
import pytest

from iqlearn.networks.gaussian_process import Covariance, GaussianProcess, most_likely, negative_log_likelihood


def drawn(seed: int, n: int, inputs: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, inputs))


def smooth(x: np.ndarray) -> np.ndarray:
    """Two outputs within the bounds. The last coordinate has no effect."""
    return np.stack([0.8 * np.sin(1.5 * x[:, 0]), 0.4 * np.tanh(x[:, 0] * x[:, 1])], axis=1)


def fitted(x: np.ndarray, y: np.ndarray) -> GaussianProcess:
    return GaussianProcess.fit(x, y, np.array([[-1.0], [1.0]]) * np.ones(y.shape[1]), np.random.default_rng(0))


def test_gradient_matches_finite_differences():
    x, theta = drawn(0, 30), drawn(1, 1, 6)[0] * 0.3
    y, step = smooth(x), 1e-5
    _, gradient = negative_log_likelihood(theta, x, y)
    shifts = step * np.eye(6)
    numeric = [
        (negative_log_likelihood(theta + d, x, y)[0] - negative_log_likelihood(theta - d, x, y)[0]) / (2 * step)
        for d in shifts
    ]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5)


def test_the_likelihood_is_the_density_of_the_outputs():
    """Compared with a normal distribution that is written out in full."""
    x = drawn(0, 5)
    y, covariance = smooth(x)[:, :1], Covariance(np.array([1.0, 2.0, 3.0]), 0.5, 0.2, 0.01)
    theta = np.log([1.0, 2.0, 3.0, 0.5, 0.2, 0.01])
    matrix = covariance.between(x, x) + (0.01 + 1e-4) * np.eye(5)
    density = 0.5 * y[:, 0] @ np.linalg.solve(matrix, y[:, 0]) + 0.5 * np.linalg.slogdet(matrix)[1]
    assert negative_log_likelihood(theta, x, y)[0] == pytest.approx(density, rel=1e-9)


def test_fit_recovers_a_smooth_function_and_its_relevant_inputs():
    x, new = drawn(0, 200), drawn(1, 200)
    process = fitted(x, smooth(x))
    inside = np.abs(new).max(axis=1) < 2.0
    error = (process(new) - smooth(new))[inside]
    assert np.sqrt(np.mean(error**2)) < 0.02 * smooth(new).std()
    lengths = process.covariance.lengths
    assert lengths[2] > 5 * lengths[:2].max()


def test_fitted_covariance_is_likelier_than_the_start():
    x = drawn(0, 60)
    y, start = smooth(x), Covariance(np.full(3, 3.0), 1.0, 0.1, 1e-4)
    found = most_likely(start, x, y)

    def told(c: Covariance) -> float:
        return negative_log_likelihood(np.log([*c.lengths, c.variance, c.slope, c.noise]), x, y)[0]

    assert told(found) < told(start) - 10.0


def test_noise_is_separated_from_the_function():
    x = drawn(0, 300)
    noise = 0.1 * np.random.default_rng(2).normal(size=(300, 2))
    process = fitted(x, smooth(x) + noise)
    assert 0.05**2 < process.covariance.noise * process.scale**2 < 0.2**2
    assert np.sqrt(np.mean((process(x) - smooth(x)) ** 2)) < 0.07


def test_outputs_at_a_bound_are_censored():
    """The latent function may go beyond ±1 where that is smoother. Predictions are clipped to ±1."""
    x = np.linspace(-2.0, 2.0, 81)[:, None]
    y = np.clip(1.5 * x, -1.0, 1.0)
    process = fitted(x, y)
    np.testing.assert_allclose(process(x), y, atol=0.05)
    mean = process.covariance.between(x, process.x) @ process.weights
    assert mean.max() > 1.02
    assert np.abs(process(np.array([[5.0], [-5.0]]))).max() <= 1.0


def test_fit_is_deterministic_and_predictions_do_not_depend_on_the_block_size(monkeypatch):
    x, new = drawn(0, 50), drawn(1, 23)
    one, two = fitted(x, smooth(x)), fitted(x, smooth(x))
    np.testing.assert_array_equal(one(new), two(new))
    monkeypatch.setattr("iqlearn.networks.gaussian_process.BLOCK", 7)
    np.testing.assert_allclose(one(new), two(new), atol=1e-12)


def test_constant_inputs_and_outputs_are_fitted():
    x = drawn(0, 40)
    x[:, 1] = 0.0
    process = fitted(x, np.full((40, 1), 1.0))
    np.testing.assert_allclose(process(x), 1.0, atol=1e-3)


def test_leave_one_out_error_matches_predictions_from_the_other_rows():
    """Compared with the process without each row, with the same covariance. Some outputs are at a bound."""
    x = drawn(0, 25)
    y = np.clip(2.0 * smooth(x), -1.0, 1.0)
    process = fitted(x, y)
    covariance, noise = process.covariance, process.covariance.noise + 1e-4
    targets = (covariance.between(x, x) + noise * np.eye(25)) @ process.weights
    assert np.any(process.scale * targets > 1.0)
    errors = []
    for i in range(25):
        others = np.delete(np.arange(25), i)
        known = covariance.between(x[others], x[others]) + noise * np.eye(24)
        told = covariance.between(x[[i]], x[others]) @ np.linalg.solve(known, targets[others])
        errors.append(np.clip(process.scale * told[0], -1.0, 1.0) - y[i])
    expected = np.sqrt(np.mean(np.square(errors)) / process.scale**2 - noise)
    assert process.leave_one_out_error == pytest.approx(expected, rel=1e-6)
    assert expected > 0.05


def test_leave_one_out_error_is_large_for_few_rows_and_ignores_noise():
    few, many = drawn(0, 20), drawn(1, 300)
    noise = 0.1 * np.random.default_rng(2).normal(size=(300, 2))
    known, noisy = (
        fitted(many, smooth(many)).leave_one_out_error,
        fitted(many, smooth(many) + noise).leave_one_out_error,
    )
    assert known < 0.07
    assert noisy < 0.14
    assert fitted(few, smooth(few)).leave_one_out_error > 0.15


def test_outputs_within_rounding_of_a_bound_are_censored():
    x = np.linspace(-2.0, 2.0, 60)[:, None]
    y = np.clip(2.0 * x, -1.0, 1.0)
    rounded = np.where(np.abs(y) == 1.0, y * (1.0 - 1e-7), y)
    np.testing.assert_allclose(fitted(x, rounded).weights, fitted(x, y).weights, rtol=1e-3, atol=1e-3)


def test_a_request_to_stop_ends_the_fit(monkeypatch):
    """The search for the covariance takes long with many rows."""
    asked = []

    def check():
        asked.append(None)
        if len(asked) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("iqlearn.interrupts.check", check)
    x = drawn(0, 30)
    with pytest.raises(KeyboardInterrupt):
        fitted(x, smooth(x))
