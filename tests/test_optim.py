"""Rosenbrock's derivatives, GD and Newton, on several functions and on bad input; SGD against torch.optim.SGD."""

import warnings
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from optim import GD, SGD, Newton, Step, line_search, newton_direction, rosenbrock, rosenbrock_hessian

# -------------------------------------------------------------------------------------- Rosenbrock's function


def torch_rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def random_points(n, seed=0):
    return np.random.default_rng(seed).uniform(-5, 5, (n, 2))


def test_rosenbrock_derivatives_are_those_of_autograd():
    for x in random_points(100):
        t = torch.tensor(x)
        value, grad, hessian = rosenbrock_hessian(x)
        np.testing.assert_allclose(value, torch_rosenbrock(t), rtol=1e-12)
        np.testing.assert_allclose(grad, torch.autograd.functional.jacobian(torch_rosenbrock, t), rtol=1e-10)
        np.testing.assert_allclose(hessian, torch.autograd.functional.hessian(torch_rosenbrock, t), rtol=1e-10)
        assert value == rosenbrock(x)[0] and np.array_equal(grad, rosenbrock(x)[1])


def test_rosenbrock_takes_lists_integers_and_many_points_at_once():
    assert rosenbrock([0, 2])[0] == 401 and rosenbrock([0, 2])[1].tolist() == [-2, 400]
    assert rosenbrock_hessian(np.array([1, 1]))[2].tolist() == [[802, -400], [-400, 200]]
    points = random_points(7)
    value, grad, hessian = rosenbrock_hessian(points.T)
    assert value.shape == (7,) and grad.shape == (2, 7) and hessian.shape == (2, 2, 7)
    for i, x in enumerate(points):
        for many, one in zip((value, grad, hessian), rosenbrock_hessian(x), strict=True):
            np.testing.assert_allclose(many[..., i], one, rtol=1e-14)


@pytest.mark.parametrize("x", [[1.0], [1.0, 2.0, 3.0], 1.0, [[1.0, 2.0]], "ab", None, [[1.0], [2.0, 3.0]]])
def test_rosenbrock_has_two_variables(x):
    for f in rosenbrock, rosenbrock_hessian:
        with pytest.raises((TypeError, ValueError), match=r"expected (x|numbers) of shape \(2,\)"):
            f(x)


# ------------------------------------------------------------------------------------- other test functions


def with_autograd(f):
    """The function theta -> (value, grad, hessian) for a torch function f."""

    def value_grad_hessian(theta):
        t = torch.tensor(theta)
        return (
            f(t).item(),
            torch.autograd.functional.jacobian(f, t).numpy(),
            torch.autograd.functional.hessian(f, t).numpy(),
        )

    return value_grad_hessian


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def beale(x):
    return sum((c - x[0] + x[0] * x[1] ** k) ** 2 for k, c in ((1, 1.5), (2, 2.25), (3, 2.625)))


def long_rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def quadratic(n, seed=0):
    """1/2 x.A x - b.x with a positive definite A; returns (f, its minimum, A)."""
    rng = np.random.default_rng(seed)
    root, b = rng.normal(size=(n, n)), rng.normal(size=n)
    A = root @ root.T + np.eye(n)
    return lambda x: (x @ A @ x / 2 - b @ x, A @ x - b, A), np.linalg.solve(A, b), A


def without_hessian(f):
    return lambda theta: f(theta)[:2]


# ------------------------------------------------------------------------------------------ gradient descent


def test_gd_repeats_the_run_of_the_report():
    theta, history = GD(rosenbrock, [0.0, 2.0], alpha=1e-3, stop_tolerance=1e-10, max_steps=1e6)
    assert len(history) == 1 + 16_853
    np.testing.assert_allclose(theta, [0.99964674, 0.99929219], rtol=0, atol=5e-9)
    assert all(isinstance(step, Step) for step in history) and np.array_equal(history[-1].theta, theta)
    for before, after in pairwise(history):
        assert np.array_equal(after.theta, before.theta - 1e-3 * before.grad)
    changes = -np.diff([step.value for step in history])
    assert abs(changes[-1]) < 1e-10 and (np.abs(changes[:-1]) >= 1e-10).all()


def test_gd_warns_where_it_stopped_at_no_minimum():
    """f is the same on both sides of the valley; the homework's rule stops there."""
    with pytest.warns(RuntimeWarning, match=r"changed f by only 0.0e\+00, .* alpha \|grad f\|\^2 = 3.6e\+01") as caught:
        theta, history = GD(lambda x: (x @ x, 2 * x), [3.0], alpha=1.0)
    assert theta.tolist() == [-3] and len(history) == 2
    assert Path(caught[0].filename).name == Path(__file__).name


def test_gd_goes_on_at_a_change_of_just_the_tolerance():
    with pytest.warns(RuntimeWarning, match="stopped after max_steps = 3 updates"):
        _, history = GD(lambda x: (x[0], np.ones(1)), [0.0], alpha=1.0, stop_tolerance=1.0, max_steps=3)
    assert len(history) == 4


def test_gd_warns_where_it_has_climbed():
    with pytest.warns(RuntimeWarning, match="f is larger at the end, 1, than at the start, 0.54.*wrong sign"):
        GD(lambda x: (np.cos(x[0]), np.sin(x)), [1.0], alpha=0.5)


@pytest.mark.parametrize("x", [np.array([1j, 2]), np.array(["1", "2"]), [True, False], np.array([1, True], object)])
def test_numbers_are_real_numbers(x):
    with pytest.raises(TypeError, match="expected numbers of shape"):
        rosenbrock(x)
    with pytest.raises(ValueError, match="theta0 must be a vector of finite numbers"):
        GD(rosenbrock, x, 1e-3)
    with pytest.raises(ValueError, match="f must return numbers and NumPy arrays: expected real numbers"):
        GD(lambda theta: (1.0, x), [1.0, 1.0], 1e-3)


def test_gd_warns_from_a_thousandfold_on():
    """A flat value and a slope: alpha |grad f|^2 just below and above 1000 times the tolerance."""
    for slope, warns in (0.999, False), (1.001, True):
        f = lambda x, slope=slope: (0.0, np.full(1, slope))  # noqa: E731
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            GD(f, [0.0], alpha=1.0, stop_tolerance=1e-3)
        assert len(caught) == warns


def test_gd_shrinks_each_eigenvector_of_a_quadratic_by_its_own_factor():
    f, minimum, A = quadratic(6)
    eigenvalues, vectors = np.linalg.eigh(A)
    alpha = 1.9 / eigenvalues.max()
    with pytest.warns(RuntimeWarning, match="stopped after max_steps = 20 updates"):
        theta, history = GD(without_hessian(f), np.ones(6), alpha, max_steps=20)
    expected = vectors @ ((1 - alpha * eigenvalues) ** 20 * (vectors.T @ (1 - minimum)))
    np.testing.assert_allclose(theta - minimum, expected, rtol=0, atol=1e-12)
    assert len(history) == 21


def test_gd_diverges_above_two_over_the_largest_eigenvalue_and_says_when():
    f, minimum, A = quadratic(6)
    limit = 2 / np.linalg.eigvalsh(A).max()
    theta, _ = GD(without_hessian(f), np.ones(6), 0.99 * limit, max_steps=10_000)
    np.testing.assert_allclose(theta, minimum, rtol=0, atol=1e-4)
    with pytest.raises(FloatingPointError, match=r"GD, update \d+: the value is inf; alpha = .* too large"):
        GD(without_hessian(f), np.ones(6), 1.5 * limit, max_steps=10_000)


# -------------------------------------------------------------------------------------------- Newton's method


def test_newton_reaches_the_minimum_from_everywhere_and_never_goes_up():
    corners = [[-5, -5], [-5, 5], [5, -5], [5, 5], [0, 2], [0, 0], [0, 5]]
    for start in [*random_points(50).tolist(), *corners]:
        theta, history = Newton(rosenbrock_hessian, start)
        np.testing.assert_allclose(theta, [1, 1], rtol=0, atol=1e-8)
        assert len(history) <= 101
        assert (np.diff([step.value for step in history]) <= 0).all(), start


def test_newton_solves_a_quadratic_in_one_step():
    for n in 1, 2, 7:
        f, minimum, _ = quadratic(n)
        theta, history = Newton(f, np.full(n, 3.0), stop_tolerance=1e-9)
        assert len(history) == 2
        np.testing.assert_allclose(theta, minimum, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("f", "start", "minimum"),
    [
        (himmelblau, [0, 0], [3, 2]),
        (himmelblau, [-4, 3], [-2.805118, 3.131313]),
        (himmelblau, [-4, -3], [-3.779310, -3.283186]),
        (himmelblau, [4, -2], [3.584428, -1.848127]),
        (beale, [1, 1], [3, 0.5]),
        (beale, [0.5, -1], [3, 0.5]),
        (long_rosenbrock, [0] * 10, [1] * 10),
    ],
)
def test_newton_finds_known_minima(f, start, minimum):
    g = with_autograd(f)
    theta, history = Newton(g, start)
    np.testing.assert_allclose(theta, minimum, rtol=0, atol=1e-6)
    assert np.linalg.norm(history[-1].grad) < 1e-10
    assert (np.linalg.eigvalsh(g(theta)[2]) > 0).all()
    assert (np.diff([step.value for step in history]) <= 0).all()


def test_newton_converges_with_order_two():
    """One update from a distance r of the minimum leaves an error proportional to r^2, in every direction."""
    r = np.array([1e-4, 1e-5, 1e-6])
    for angle in np.linspace(0, 2 * np.pi, 12):
        starts = 1 + r[:, None] * [np.cos(angle), np.sin(angle)]
        errors = [np.linalg.norm(Newton(rosenbrock_hessian, start)[1][1].theta - 1) for start in starts]
        orders = np.diff(np.log(errors)) / np.diff(np.log(r))
        assert (np.abs(orders - 2) < 0.1).all(), (angle, orders)
    errors = [np.linalg.norm(step.theta - 1) for step in Newton(rosenbrock_hessian, [3.0, -2.0])[1]][-4:]
    orders = np.diff(np.log(errors))
    assert (np.abs(orders[1:] / orders[:-1] - 2) < 0.1).all(), errors


def test_newton_finds_the_constant_of_theory_q6():
    """g = exp(x) - 2x: g'' = g''' = 2 at its minimum log 2, so e_{n+1} = C e_n^2 with C = g'''/(2 g'') = 1/2."""
    _, history = Newton(lambda x: (np.exp(x[0]) - 2 * x[0], np.exp(x) - 2, np.exp(x)[None]), [1.5])
    errors = np.array([step.theta[0] - np.log(2) for step in history])
    ratios = (errors[1:] / errors[:-1] ** 2)[errors[1:] > 1e-12]
    assert len(ratios) >= 3 and abs(ratios[-1] - 0.5) < 1e-3


def test_newton_halves_a_step_that_lowers_f_too_little():
    """x^2 with a claimed curvature of 1: full steps would go to and fro between 1 and -1."""
    _, history = Newton(lambda x: (x[0] ** 2, 2 * x, np.eye(1)), [1.0])
    assert [step.theta.tolist() for step in history] == [[1.0], [0.0]]


def test_newton_tries_alpha_first():
    """x^2 and alpha = 1/4: every update keeps 3/4 of the error."""
    _, history = Newton(lambda x: (x[0] ** 2, 2 * x, np.array([[2.0]])), [1.0], alpha=0.25)
    x = np.array([step.theta[0] for step in history])
    np.testing.assert_allclose(x[1:] / x[:-1], 3 / 4, rtol=1e-12)


def test_newton_stops_at_once_at_a_saddle():
    _, history = Newton(lambda x: (x[0] ** 2 - x[1] ** 2, np.array([2, -2]) * x, np.diag([2, -2])), [0.0, 0.0])
    assert len(history) == 1


def test_newton_survives_a_singular_an_indefinite_and_a_zero_hessian():
    for hessian in np.ones((2, 2)), np.zeros((2, 2)), np.diag([-3.0, 1.0]), np.array([[0.0, 5.0], [5.0, 0.0]]):
        grad = np.array([1.0, -2.0])
        p, tau = newton_direction(grad, hessian)
        assert tau > 0 and p @ grad < 0
        np.testing.assert_allclose((hessian + tau * np.eye(2)) @ p, -grad, rtol=0, atol=1e-9)
    flat = lambda x: ((x[0] + x[1] - 1) ** 2, np.full(2, 2 * (x[0] + x[1] - 1)), np.full((2, 2), 2.0))  # noqa: E731
    theta, _ = Newton(flat, [3.0, 4.0])
    assert abs(theta.sum() - 1) < 1e-9


def test_newton_survives_a_hessian_close_to_the_smallest_float():
    """log cosh far out: its curvature at 356 is 1e-308, and the gradient divided by it is infinite."""

    def log_cosh(x):
        a = abs(x[0])
        return a + np.log1p(np.exp(-2 * a)) - np.log(2), np.tanh(x), np.cosh(x[:, None]) ** -2.0

    for start in 356.0, 700.0:
        theta, _ = Newton(log_cosh, [start], stop_tolerance=1e-7)
        assert abs(theta[0]) < 1e-6


def test_the_smallest_eigenvalue_is_raised_by_a_thousandth_of_the_largest_entry():
    for hessian, tau in (np.diag([-3.0, 1.0]), 3.003), (np.diag([-1.0, 4.0]), 1.004), (np.zeros((2, 2)), 1e-3):
        assert newton_direction(np.ones(2), hessian)[1] == pytest.approx(tau, rel=1e-12)


def test_newton_direction_is_pure_where_the_hessian_is_positive_definite():
    f, _, A = quadratic(5)
    grad = f(np.ones(5))[1]
    p, tau = newton_direction(grad, A)
    assert tau == 0
    np.testing.assert_allclose(p, -np.linalg.solve(A, grad), rtol=1e-10)


def test_newton_comes_back_from_points_where_f_is_not_finite():
    """-log x + x: from 3 the full step lands at -3, where the logarithm is nan."""
    theta, history = Newton(lambda x: (x[0] - np.log(x[0]), 1 - 1 / x, 1 / x[None] ** 2), [3.0])
    assert abs(theta[0] - 1) < 1e-10 and history[1].theta[0] == pytest.approx(3 - 6 / 4, rel=1e-12)


def test_newton_says_why_no_step_lowers_f():
    f = lambda x: (1e20 + x[0] ** 2, 2 * x, np.array([[2.0]]))  # noqa: E731
    assert abs(Newton(f, [1.0])[0][0]) < 1e-10
    lost = lambda x: (1.0, np.array([1e-9]), np.array([[1.0]]))  # noqa: E731  (1e8 - 1e-9 is 1e8)
    coarse = lambda x: (np.float32(1 + 1e-3 * (x[0] != 1e8)), np.array([1e-3]), np.eye(1))  # noqa: E731
    with pytest.warns(RuntimeWarning, match="rounding leaves no step that lowers f"):
        theta, history = Newton(lost, [1e8])
    assert theta.tolist() == [1e8] and len(history) == 1
    with pytest.warns(RuntimeWarning, match="rounding leaves no step that lowers f"):
        Newton(coarse, [1e8])
    wrong_sign = lambda x: (x[0] ** 2, -2 * x, np.array([[2.0]]))  # noqa: E731
    noise = np.random.default_rng(0)
    noisy = lambda x: (x[0] ** 2 + noise.uniform(1, 2) * (x[0] != 1), 2 * x, np.array([[2.0]]))  # noqa: E731
    for g in wrong_sign, noisy:
        with pytest.warns(RuntimeWarning, match=r"gradient is wrong \(its sign\?\), or f is noisy; the norm") as caught:
            theta, history = Newton(g, [1.0])
        assert theta.tolist() == [1] and len(history) == 1 and "rounding" not in str(caught[0].message)
        assert Path(caught[0].filename).name == Path(__file__).name


def test_newton_survives_a_hessian_of_subnormal_numbers():
    """Its entries times 1e-3 are 0; tau must grow all the same."""
    for scale in 5e-324, 1e-310, 1e-308:
        p, tau = newton_direction(np.array([1.0, 2.0]), scale * np.array([[1.0, 0.0], [0.0, -1.0]]))
        assert tau > 0 and np.isfinite(p).all() and p[0] < 0 and p[1] < 0
    with pytest.warns(RuntimeWarning, match="Newton: stopped"):
        Newton(lambda x: (x[0], np.ones(1), np.array([[-5e-324]])), [0.0], max_steps=3)


@pytest.mark.parametrize(
    ("grad", "hessian", "error"),
    [
        ([1.0], [[np.nan]], FloatingPointError),
        ([np.inf], [[1.0]], FloatingPointError),
        ([1.0, 2.0], [[1.0]], ValueError),
        (1.0, 1.0, ValueError),
        ("x", [[1.0]], TypeError),
        ([], np.ones((0, 0)), ValueError),
        ([1.0, 1.0], [[1.0, 0.0], [5.0, 4.0]], ValueError),
    ],
)
def test_newton_direction_of_impossible_derivatives(grad, hessian, error):
    with pytest.raises(error, match="expected "):
        newton_direction(grad, hessian)


def asymmetric(difference, dtype):
    """x.x/2 and its Hessian, whose off-diagonal entries differ by so much."""
    H = np.array([[1, difference], [0, 1]], dtype=dtype)
    return lambda x: (x @ x / 2, x, H)


def test_a_hessian_is_symmetric_but_for_rounding():
    """Up to half of the digits of its type: 1.5e-8 for float64, 3.5e-4 for float32."""
    for difference, dtype in (1e-8, np.float64), (2e-4, np.float32), (9.5e-7, np.float32):
        theta, _ = Newton(asymmetric(difference, dtype), [1.0, 1.0])
        assert np.abs(theta).max() < 1e-9
    for difference, dtype in (2e-8, np.float64), (1e-3, np.float32), (9.5e-7, np.float64):
        with pytest.raises(ValueError, match=r"expected a symmetric hessian \(theory Q4\)"):
            Newton(asymmetric(difference, dtype), [1.0, 1.0])
    half = lambda x: (x @ x / 2, x, np.array([[1.0, 1e-8], [-1e-8, 1.0]]))  # noqa: E731
    with pytest.raises(ValueError, match="2e-08 apart"):
        Newton(half, [1.0, 1.0])


def test_a_hessian_of_float32_from_autograd():
    def f(theta):
        t = torch.tensor(theta, dtype=torch.float32)
        g = lambda t: torch.exp(t).sum() ** 2 + (t**4).sum()  # noqa: E731
        return g(t), torch.autograd.functional.jacobian(g, t), torch.autograd.functional.hessian(g, t)

    theta, _ = Newton(f, [0.3, -0.7, 1.1], stop_tolerance=1e-3)
    assert np.linalg.norm(f(theta)[1]) < 1e-3


def test_armijos_condition_is_the_textbooks():
    """A step is long enough if f falls by 1e-4 of what the slope promises."""
    for share, enough in (1.1e-4, True), (0.9e-4, False):
        f = lambda x, share=share: (share * (x[0] - 1), np.ones(1), np.eye(1))  # noqa: E731
        found, theta, value, *_ = line_search(f, np.ones(1), -np.ones(1), t=1.0, value=0.0, slope=-1.0)
        assert found == enough
        if found:
            assert theta.tolist() == [0] and value == -share


@pytest.mark.parametrize(
    ("theta", "p", "t", "slope"),
    [
        ([1.0], [np.nan], 1.0, -1.0),
        ([1.0], [1.0, 2.0], 1.0, -1.0),
        ([[1.0]], [[1.0]], 1.0, -1.0),
        ([1.0], [1.0], np.inf, -1.0),
        ([1.0], [1.0], -1.0, -1.0),
        ([1.0], [1.0], 1.0, 0.0),
        ([1.0], [1.0], 1.0, np.nan),
    ],
)
def test_a_line_search_that_would_not_end(theta, p, t, slope):
    with pytest.raises(ValueError, match="line_search: "):
        line_search(lambda x: (0.0, x, np.eye(1)), theta, p, t, 1.0, slope)


def test_the_norm_of_the_gradient_is_euclidean():
    """(0.8, 0.8): its largest entry is below 1, its norm above."""
    f = lambda x: (x @ x / 2, x, np.eye(2))  # noqa: E731
    assert len(Newton(f, [0.8, 0.8], stop_tolerance=1.0)[1]) == 2
    assert len(Newton(f, [0.7, 0.7], stop_tolerance=1.0)[1]) == 1


# ------------------------------------------------------------------------------------------------- both of them


def run_gd(f=rosenbrock, theta0=(0.0, 2.0), alpha=1e-3, **options):
    return GD(f, theta0, alpha, **options)


def run_newton(f=rosenbrock_hessian, theta0=(0.0, 2.0), alpha=1.0, **options):
    return Newton(f, theta0, alpha, **options)


both = pytest.mark.parametrize("run", [run_gd, run_newton], ids=["GD", "Newton"])


@both
@pytest.mark.parametrize("dtype", [int, np.int8, np.float16, np.float32, np.float64, np.longdouble])
def test_theta0_of_any_type_is_left_alone(run, dtype):
    theta0 = np.array([0, 2], dtype=dtype)
    theta, history = run(theta0=theta0, stop_tolerance=1e-3)
    assert theta0.tolist() == [0, 2] and theta0.dtype == dtype and theta.dtype == np.float64
    reference = run(theta0=[0, 2], stop_tolerance=1e-3)[1]
    assert [step.value for step in history] == [step.value for step in reference]
    assert history[0].theta.tolist() == [0, 2]


@both
def test_a_function_may_reuse_its_arrays_or_write_into_its_argument(run):
    buffer = np.zeros(1)

    def f(theta):
        buffer[0] = 2 * theta[0]
        value = theta[0] ** 2
        theta[0] = 99
        return (value, buffer) if run is run_gd else (value, buffer, np.array([[2.0]]))

    _, history = run(f, [1.0], 0.25)
    assert all(step.grad[0] == 2 * step.theta[0] and step.value == step.theta[0] ** 2 for step in history)


@both
@pytest.mark.parametrize("name", ["alpha", "stop_tolerance", "max_steps"])
@pytest.mark.parametrize("number", [0, -1, float("nan"), float("inf")])
def test_numbers_must_be_positive_and_finite(run, name, number):
    with pytest.raises(ValueError, match=f"{name} must be positive and finite, got {number}"):
        run(**{name: number})


@both
@pytest.mark.parametrize("name", ["alpha", "stop_tolerance", "max_steps"])
@pytest.mark.parametrize("thing", ["1", None, True, [1.0], 1j])
def test_numbers_must_be_numbers(run, name, thing):
    with pytest.raises(TypeError, match=f"{name} must be a number"):
        run(**{name: thing})
    with pytest.raises(TypeError, match=r"f must be a function theta -> \(value, grad"):
        run(f=thing)


@both
def test_max_steps_is_a_whole_number_and_reaching_it_is_a_warning(run):
    with pytest.raises(ValueError, match=r"max_steps must be a whole number, got 2\.5"):
        run(max_steps=2.5)
    with pytest.warns(
        RuntimeWarning, match="stopped after max_steps = 3 updates.*; raise max_steps or stop_tol"
    ) as caught:
        _, history = run(max_steps=3)
    assert len(history) == 4 and Path(caught[0].filename).name == Path(__file__).name


@both
@pytest.mark.parametrize(
    "theta0", [[], [[0.0, 2.0]], 3.0, [0.0, np.nan], [np.inf, 0.0], "two", [1.0, "x"], [[1.0], 2.0], None]
)
def test_theta0_must_be_a_finite_vector(run, theta0):
    with pytest.raises(ValueError, match="theta0 must be a vector of finite numbers"):
        run(theta0=theta0)


@both
def test_f_must_return_the_right_number_of_results(run):
    other = rosenbrock_hessian if run is run_gd else rosenbrock
    with pytest.raises(ValueError, match=r"f must return \(value, grad.*\), got [23] of them"):
        run(other)
    with pytest.raises(ValueError, match=r"f must return \(value, grad.*\), got float"):
        run(lambda theta: 1.0)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ((np.ones(1), np.ones(2), np.eye(2)), r"returned a value of \(1,\), not \(\)"),
        ((1.0, np.ones(3), np.eye(2)), r"returned a grad of \(3,\), not \(2,\)"),
        ((1.0, np.ones((2, 1)), np.eye(2)), r"returned a grad of \(2, 1\), not \(2,\)"),
        ((1.0, np.ones(2), np.ones(2)), r"returned a hessian of \(2,\), not \(2, 2\)"),
        (
            (1.0, np.ones(2), np.array([[1.0, 2.0], [3.0, 4.0]])),
            "expected a symmetric hessian .theory Q4., got one that is not symmetric",
        ),
    ],
)
def test_f_must_return_the_right_shapes(result, message):
    with pytest.raises(ValueError, match=message):
        run_newton(lambda theta: result)
    if "hessian" not in message:
        with pytest.raises(ValueError, match=message):
            run_gd(lambda theta: result[:2])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("part", "name"), [(0, "value"), (1, "grad"), (2, "hessian")])
def test_results_must_be_finite_from_the_first_on(part, name, bad):
    results = [1.0, np.ones(2), np.ones((2, 2))]
    results[part] = results[part] * bad
    with pytest.raises(FloatingPointError, match=rf"(?s)Newton, update 0: the {name} is .*; choose a theta0"):
        run_newton(lambda theta: tuple(results))
    if name != "hessian":
        with pytest.raises(FloatingPointError, match=rf"(?s)GD, update 0: the {name} is .*; choose a theta0"):
            run_gd(lambda theta: tuple(results[:2]))


def test_the_update_at_which_f_stops_being_finite_is_named():
    with pytest.raises(FloatingPointError, match=r"GD, update 8: the value is inf; alpha = 0.01 is probably too large"):
        GD(rosenbrock, [0.0, 2.0], alpha=0.01)
    only_at_the_start = lambda x: (0.0 if x[0] == 1 else np.nan, np.ones(1), np.eye(1))  # noqa: E731
    with pytest.raises(FloatingPointError, match="Newton, update 1: the value is nan"):
        Newton(only_at_the_start, [1.0])
    no_gradient = lambda x: (x[0], np.ones(1) if x[0] > -1 else [np.nan], np.eye(1))  # noqa: E731
    with pytest.raises(FloatingPointError, match="Newton, update 2: the grad is"):
        Newton(no_gradient, [1.0])


# ------------------------------------------------------------------------------------------------------- SGD


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def test_sgd_makes_the_steps_of_torch_optim_sgd():
    ours, theirs = small_model(), small_model()
    optimizers = SGD(ours.parameters(), 0.3), torch.optim.SGD(theirs.parameters(), 0.3)
    for step in range(20):
        torch.manual_seed(step)
        X, Y = torch.randn(8, 5, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64)
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            ((model(X) - Y) ** 2).mean().backward()
            optimizer.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


def test_zero_grad_forgets_and_gradients_accumulate_without_it():
    p = nn.Parameter(torch.tensor([1.0]))
    sgd = SGD([p], 0.5)
    (2 * p).backward()
    (2 * p).backward()
    sgd.step()
    assert p.item() == 1 - 0.5 * 4
    sgd.zero_grad()
    assert p.grad is None


def test_a_parameter_with_no_gradient_stops_the_step_before_any_update():
    p, q = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    p.grad = torch.ones(2)
    with pytest.raises(RuntimeError, match=r"a parameter of shape \(3,\) has no gradient"):
        SGD([p, q], 0.1).step()
    assert p.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("rate", [0, -0.1, float("nan"), float("inf")])
def test_learning_rate_must_be_positive_and_finite(rate):
    with pytest.raises(ValueError, match="learning_rate must be positive and finite"):
        SGD(small_model().parameters(), rate)


def test_parameters_are_needed():
    with pytest.raises(ValueError, match="no parameters"):
        SGD(nn.ReLU().parameters(), 0.1)
    with pytest.raises(TypeError, match="one tensor"):
        SGD(torch.ones(3), 0.1)
    with pytest.raises(TypeError, match="got str"):
        SGD(["W"], 0.1)
    with pytest.raises(TypeError, match="expected parameters, got Linear"):
        SGD(nn.Linear(2, 2), 0.1)
    p = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="comes twice"):
        SGD([p, p], 0.1)
    for wrong in 2 * p, torch.ones(2).long():
        with pytest.raises(TypeError, match="a computed or torch"):
            SGD([wrong], 0.1)
    with pytest.raises(TypeError, match=r"learning_rate must be a number, got '0.1'"):
        SGD([p], "0.1")


def test_step_builds_no_graph_and_leaves_the_gradient_alone():
    p = nn.Parameter(torch.ones(2))
    p.grad = torch.tensor([1.0, 2.0])
    SGD([p], 0.5).step()
    assert p.tolist() == [0.5, 0.0] and p.grad.tolist() == [1, 2] and p.is_leaf and p.requires_grad


@pytest.mark.parametrize(("method", "f"), [(GD, rosenbrock), (Newton, rosenbrock_hessian)])
def test_a_step_size_of_any_real_type(method, f):
    for alpha in Fraction(1, 1000), np.float32(1e-3), np.float64(1e-3), 1e-3, 1:
        with pytest.warns(RuntimeWarning, match="max_steps"):
            theta, _ = method(f, [0.0, 2.0], alpha, max_steps=1)
        assert theta.dtype == float
