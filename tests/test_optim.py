"""Rosenbrock's derivatives; GD and Newton on several functions and on bad input; SGD against torch.optim.SGD."""

import re
from copy import deepcopy
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from optim import GD, SGD, Newton, Step, line_search, newton_direction, rosenbrock, rosenbrock_hessian

# ------------------------------------------------------------------------------------------------ functions


def torch_rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def long_rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def with_autograd(f):
    """theta -> (value, grad, hessian) of a torch function f."""

    def value_grad_hessian(theta):
        t = torch.tensor(theta, dtype=torch.float64)
        return f(t), torch.autograd.functional.jacobian(f, t), torch.autograd.functional.hessian(f, t)

    return value_grad_hessian


def quadratic(n):
    """1/2 x.A x - b.x with a positive definite A, as (f, its minimum, A)."""
    rng = np.random.default_rng(0)
    root, b = rng.normal(size=(n, n)), rng.normal(size=n)
    A = root @ root.T + np.eye(n)
    return lambda x: (x @ A @ x / 2 - b @ x, A @ x - b, A), np.linalg.solve(A, b), A


def square(x):
    return x @ x, 2 * x, 2 * np.eye(len(x))


def without_hessian(f):
    return lambda theta: f(theta)[:2]


def random_points(n):
    return np.random.default_rng(0).uniform(-5, 5, (n, 2))


def test_rosenbrock_derivatives_are_those_of_autograd():
    for x in random_points(100):
        value, grad, hessian = rosenbrock_hessian(x)
        for ours, torchs in zip((value, grad, hessian), with_autograd(torch_rosenbrock)(x), strict=True):
            np.testing.assert_allclose(ours, torchs, rtol=1e-10)
        assert value == rosenbrock(x)[0] and np.array_equal(grad, rosenbrock(x)[1])


def test_rosenbrock_takes_lists_integers_and_many_points_at_once():
    assert rosenbrock([0, 2])[0] == 401 and rosenbrock([0, 2])[1].tolist() == [-2, 400]
    assert rosenbrock_hessian(np.array([1, 1]))[2].tolist() == [[802, -400], [-400, 200]]
    points = random_points(7)
    together = rosenbrock_hessian(points.T)
    assert [part.shape for part in together] == [(7,), (2, 7), (2, 2, 7)]
    for i, x in enumerate(points):
        for many, one in zip(together, rosenbrock_hessian(x), strict=True):
            np.testing.assert_allclose(many[..., i], one, rtol=1e-14)


# ----------------------------------------------------------------------------------------- gradient descent


def test_gd_repeats_the_run_of_the_report():
    theta, history = GD(rosenbrock, [0.0, 2.0], alpha=1e-3, stop_tolerance=1e-10, max_steps=1e6)
    assert len(history) == 1 + 16_853
    np.testing.assert_allclose(theta, [0.99964674, 0.99929219], rtol=0, atol=5e-9)
    assert all(isinstance(step, Step) for step in history) and np.array_equal(history[-1].theta, theta)
    for before, after in pairwise(history):
        assert np.array_equal(after.theta, before.theta - 1e-3 * before.grad)
    changes = -np.diff([step.value for step in history])
    assert abs(changes[-1]) < 1e-10 and (np.abs(changes[:-1]) >= 1e-10).all()


def test_gd_shrinks_each_eigenvector_of_a_quadratic_by_its_own_factor():
    f, minimum, A = quadratic(6)
    eigenvalues, vectors = np.linalg.eigh(A)
    alpha = 1.9 / eigenvalues.max()
    with pytest.warns(RuntimeWarning, match="max_steps = 20 "):
        theta, history = GD(without_hessian(f), np.ones(6), alpha, max_steps=20)
    expected = vectors @ ((1 - alpha * eigenvalues) ** 20 * (vectors.T @ (1 - minimum)))
    np.testing.assert_allclose(theta - minimum, expected, rtol=0, atol=1e-12)
    assert len(history) == 21


def test_gd_warns_where_it_stopped_at_no_minimum():
    """f is the same on both sides of the valley; the homework's rule stops there."""
    with pytest.warns(RuntimeWarning, match=r"from 9 to 9, alpha \|grad f\|\^2 is 3.6e\+01") as caught:
        theta, history = GD(without_hessian(square), [3.0], alpha=1.0)
    assert theta.tolist() == [-3] and len(history) == 2
    assert Path(caught[0].filename).name == Path(__file__).name


def test_gd_warns_where_it_has_climbed():
    with pytest.warns(RuntimeWarning, match="from 0.540302 to 1, .* wrong .its sign"):
        GD(lambda x: (np.cos(x[0]), np.sin(x)), [1.0], alpha=0.5)


# ----------------------------------------------------------------------------------------- Newton's method


def test_newton_reaches_the_minimum_from_everywhere_and_never_goes_up():
    corners = [[-5, -5], [-5, 5], [5, -5], [5, 5], [0, 2], [0, 0], [0, 5]]
    for start in [*random_points(50).tolist(), *corners]:
        theta, history = Newton(rosenbrock_hessian, start)
        np.testing.assert_allclose(theta, [1, 1], rtol=0, atol=1e-8)
        assert len(history) <= 101
        assert (np.diff([step.value for step in history]) <= 0).all(), start


@pytest.mark.parametrize("n", [1, 2, 7])
def test_newton_solves_a_quadratic_in_one_step(n):
    f, minimum, _ = quadratic(n)
    theta, history = Newton(f, np.full(n, 3.0), stop_tolerance=1e-9)
    assert len(history) == 2
    np.testing.assert_allclose(theta, minimum, rtol=0, atol=1e-9)


def test_newton_in_ten_dimensions():
    theta, history = Newton(with_autograd(long_rosenbrock), np.zeros(10))
    np.testing.assert_allclose(theta, np.ones(10), rtol=0, atol=1e-6)
    assert np.linalg.norm(history[-1].grad) < 1e-10


def test_newton_finds_the_constant_of_theory_q6():
    """g = exp(x) - 2x: g'' = g''' = 2 at its minimum log 2, so e_{n+1} = C e_n^2 with C = g'''/(2 g'') = 1/2."""
    _, history = Newton(lambda x: (np.exp(x[0]) - 2 * x[0], np.exp(x) - 2, np.exp(x)[None]), [1.5])
    errors = np.array([step.theta[0] - np.log(2) for step in history])
    ratios = (errors[1:] / errors[:-1] ** 2)[errors[1:] > 1e-12]
    assert len(ratios) >= 3 and abs(ratios[-1] - 0.5) < 1e-3


def test_newton_tries_alpha_first():
    """x^2 and alpha = 1/4: every update keeps 3/4 of the error."""
    _, history = Newton(square, [1.0], alpha=0.25)
    x = np.array([step.theta[0] for step in history])
    np.testing.assert_allclose(x[1:] / x[:-1], 3 / 4, rtol=1e-12)


def test_newton_stops_at_once_at_a_saddle():
    _, history = Newton(lambda x: (x[0] ** 2 - x[1] ** 2, np.array([2, -2]) * x, np.diag([2, -2])), [0.0, 0.0])
    assert len(history) == 1


def test_newton_comes_back_from_points_where_f_is_not_finite():
    """-log x + x: from 3 the full step lands at -3, where the logarithm is nan."""
    theta, history = Newton(lambda x: (x[0] - np.log(x[0]), 1 - 1 / x, 1 / x[None] ** 2), [3.0])
    assert abs(theta[0] - 1) < 1e-10 and history[1].theta[0] == pytest.approx(3 - 6 / 4, rel=1e-12)


@pytest.mark.parametrize(
    ("f", "start"),
    [
        (lambda x: (1.0, np.array([1e-9]), np.eye(1)), 1e8),  # 1e8 - 1e-9 is 1e8
        (lambda x: (x @ x, -2 * x, 2 * np.eye(1)), 1.0),
    ],
    ids=["rounding", "wrong sign"],
)
def test_newton_warns_where_no_step_lowers_f(f, start):
    with pytest.warns(RuntimeWarning, match="no step lowers f.* rounding.* sign.* noisy f") as caught:
        theta, history = Newton(f, [start])
    assert theta.tolist() == [start] and len(history) == 1
    assert Path(caught[0].filename).name == Path(__file__).name


# ------------------------------------------------------------------------- Newton's direction and step length


def test_newton_direction_is_pure_where_the_hessian_is_positive_definite():
    f, _, A = quadratic(5)
    grad = f(np.ones(5))[1]
    p, tau = newton_direction(grad, A)
    assert tau == 0
    np.testing.assert_allclose(p, -np.linalg.solve(A, grad), rtol=1e-10)


HESSIANS = [np.ones((2, 2)), np.zeros((2, 2)), np.diag([-3.0, 1.0]), np.array([[0.0, 5.0], [5.0, 0.0]])]


@pytest.mark.parametrize("hessian", HESSIANS, ids=str)
def test_newton_direction_goes_downhill_where_the_hessian_is_not_positive_definite(hessian):
    grad = np.array([1.0, -2.0])
    p, tau = newton_direction(grad, hessian)
    assert tau > 0 and p @ grad < 0
    np.testing.assert_allclose((hessian + tau * np.eye(2)) @ p, -grad, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-308])
def test_newton_direction_is_finite_where_the_hessian_is_almost_zero(scale):
    """A thousandth of the smallest is 0, and the gradient divided by the others is infinite."""
    p, tau = newton_direction(np.array([1.0, 2.0]), scale * np.diag([1.0, -1.0]))
    assert tau > 0 and np.isfinite(p).all() and (p < 0).all()


@pytest.mark.parametrize(("diagonal", "tau"), [([-3.0, 1.0], 3.003), ([-1.0, 4.0], 1.004), ([0.0, 0.0], 1e-3)])
def test_the_smallest_eigenvalue_is_raised_by_a_thousandth_of_the_largest_entry(diagonal, tau):
    assert newton_direction(np.ones(2), np.diag(diagonal))[1] == pytest.approx(tau, rel=1e-12)


def test_a_hessian_is_symmetric_but_for_rounding():
    """Up to 1e-4 of its largest entry; its symmetric part is used."""
    H = np.array([[2, 1.5e-4], [0, 2]])
    p, _ = newton_direction(np.ones(2), H)
    np.testing.assert_allclose((H + H.T) / 2 @ p, -np.ones(2), rtol=1e-12)
    with pytest.raises(ValueError, match="symmetric"):
        newton_direction(np.ones(2), 2 * H - 2 * np.eye(2))


@pytest.mark.parametrize(
    ("grad", "hessian", "message"),
    [
        ([1.0, 2.0], [[1.0]], r"shape \(2, 2\).*got \(1, 1\)"),  # would be broadcast
        ([1.0, 2.0], [[1.0, 1.0]], r"shape \(2, 2\).*got \(1, 2\)"),
        ([1.0, 2.0], [1.0, 2.0], r"shape \(2, 2\).*got \(2,\)"),
        ([1.0], [[np.nan]], "NaN"),
        ([np.inf], [[1.0]], "inf"),
        ([1.0, 1.0], [[1.0, 0.0], [5.0, 4.0]], "symmetric"),
    ],
)
def test_newton_direction_of_impossible_derivatives(grad, hessian, message):
    with pytest.raises(ValueError, match=message):
        newton_direction(np.array(grad), hessian)


def start_at(theta):
    return Step(np.array([theta]), 0.0, np.ones(1))


@pytest.mark.parametrize(("share", "enough"), [(1.1e-4, True), (0.9e-4, False)])
def test_armijos_condition_is_the_textbooks(share, enough):
    """A step is long enough if f falls by 1e-4 of what the slope promises."""
    f = lambda x: (share * (x[0] - 1), x, 5 * np.eye(1))  # noqa: E731
    found = line_search(f, start_at(1.0), -np.ones(1), t=1.0)
    assert (found is not None) == enough
    if enough:
        step, hessian = found
        assert (step.theta, step.value, step.grad, hessian) == ([0.0], -share, [0.0], [[5.0]])


def test_a_step_is_halved_until_f_falls():
    tried = []

    def f(x):
        tried.append(x.item())
        return (-1.0 if x > 0.6 else np.nan), x, np.eye(1)

    step, _ = line_search(f, start_at(1.0), -np.ones(1), t=2.0)
    assert tried == [-1, 0, 0.5, 0.75] and step.theta == [0.75]


@pytest.mark.parametrize("theta", [1.0, 0.0, np.inf, np.nan])
def test_a_line_search_that_finds_nothing_ends(theta):
    assert line_search(lambda x: (np.nan, x, np.eye(1)), start_at(theta), -np.ones(1), 1.0) is None


@pytest.mark.parametrize(
    ("p", "t", "message"),
    [(1.0, 1.0, "grad .* got 1.0"), (0.0, 1.0, "grad"), (np.nan, 1.0, "grad"), (-np.inf, 1.0, "grad")]
    + [(-1.0, t, f"t must be .* got {t}") for t in (0, -1.0, np.inf, np.nan)],
)
def test_a_line_search_that_would_go_uphill(p, t, message):
    with pytest.raises(ValueError, match=f"line_search: .*{message}"):
        line_search(lambda x: (0.0, x, np.eye(1)), start_at(1.0), np.array([p]), t)


# ----------------------------------------------------------------------------------------------- both of them


def run_gd(f=rosenbrock, theta0=(0.0, 2.0), alpha=1e-3, **options):
    return GD(f, theta0, alpha, **options)


def run_newton(f=rosenbrock_hessian, theta0=(0.0, 2.0), alpha=1.0, **options):
    return Newton(f, theta0, alpha, **options)


both = pytest.mark.parametrize("run", [run_gd, run_newton], ids=["GD", "Newton"])


@both
@pytest.mark.parametrize("dtype", [int, np.int8, np.float32, np.longdouble])
def test_theta0_of_any_type_is_left_alone(run, dtype):
    theta0 = np.array([0, 2], dtype=dtype)
    theta, history = run(theta0=theta0, stop_tolerance=1e-3)
    assert theta0.tolist() == [0, 2] and theta0.dtype == dtype and theta.dtype == float
    assert [step.value for step in history] == [step.value for step in run(stop_tolerance=1e-3)[1]]


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
@pytest.mark.parametrize("alpha", [Fraction(1, 1000), np.float32(1e-3), 1], ids=repr)
def test_reaching_max_steps_is_a_warning(run, alpha):
    with pytest.warns(RuntimeWarning, match="max_steps = 3 updates; raise max_steps or stop_tol") as caught:
        theta, history = run(alpha=alpha, max_steps=3)
    assert len(history) == 4 and theta.dtype == float
    assert Path(caught[0].filename).name == Path(__file__).name


NUMBERS = "alpha", "stop_tolerance", "max_steps"
BAD_NUMBERS = [(name, bad) for name in NUMBERS for bad in (0, -1, np.nan, np.inf, "1", True)] + [("max_steps", 2.5)]


@both
@pytest.mark.parametrize(("name", "bad"), BAD_NUMBERS)
def test_numbers_are_positive_and_finite_and_max_steps_is_whole(run, name, bad):
    with pytest.raises((TypeError, ValueError), match=f"{name} must be .* got {bad!r}"):
        run(**{name: bad})


@both
@pytest.mark.parametrize("theta0", [[], [[0.0, 2.0]], 3.0, [0.0, np.nan], [np.inf, 0.0], None], ids=str)
def test_theta0_is_a_finite_vector(run, theta0):
    with pytest.raises(ValueError, match="theta0 must be a vector of finite numbers, got"):
        run(theta0=theta0)


@pytest.mark.parametrize(
    ("run", "results", "got"),
    [
        (run_newton, rosenbrock([0, 2]), "2"),
        (run_gd, rosenbrock_hessian([0, 2]), "3"),
        (run_gd, 1.0, "float"),
        (run_gd, None, "NoneType"),
    ],
)
def test_f_returns_the_right_number_of_results(run, results, got):
    with pytest.raises(ValueError, match=rf"f must return \(value, grad.*\), got {got}"):
        run(lambda theta: results)


RESULTS = {"value": 1.0, "grad": np.ones(2), "hessian": np.eye(2)}


@pytest.mark.parametrize(("part", "shape"), [("value", (1,)), ("grad", (3,)), ("grad", (2, 1)), ("hessian", (2,))])
def test_f_returns_the_right_shapes(part, shape):
    results = RESULTS | {part: np.ones(shape)}
    with pytest.raises(ValueError, match=re.escape(f"a {part} of shape {shape}")):
        run_newton(lambda theta: tuple(results.values()))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", RESULTS)
def test_results_are_finite_from_the_first_on(part, bad):
    results = RESULTS | {part: np.full_like(RESULTS[part], bad)}
    with pytest.raises(FloatingPointError, match=f"(?s)update 0: the {part} is .* not exist near theta0"):
        run_newton(lambda theta: tuple(results.values()))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_update_at_which_f_stops_being_finite_is_named(bad):
    with pytest.raises(FloatingPointError, match=f"Newton, update 1: the value is {bad}"):
        Newton(lambda x: (0.0 if x[0] == 1 else bad, np.ones(1), np.eye(1)), [1.0])
    steep = lambda x: (x[0], np.full(1, 1.0 if x[0] > -1 else bad), np.eye(1))  # noqa: E731
    with pytest.raises(FloatingPointError, match="Newton, update 2: the norm of the grad is"):
        Newton(steep, [1.0])
    with pytest.raises(FloatingPointError, match=r"GD, update 2: the grad is .* alpha too large"):
        GD(without_hessian(steep), [1.0], alpha=1.0)


# ------------------------------------------------------------------------------------------------------- SGD


def test_sgd_makes_the_steps_of_torch_optim_sgd():
    ours = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    theirs = deepcopy(ours)
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


def test_gradients_accumulate_until_zero_grad_and_a_step_builds_no_graph():
    p = nn.Parameter(torch.tensor([1.0]))
    sgd = SGD([p], 0.5)
    (2 * p).backward()
    (2 * p).backward()
    sgd.step()
    assert p.item() == 1 - 0.5 * 4 and p.grad.item() == 4 and p.is_leaf and p.requires_grad
    sgd.zero_grad()
    assert p.grad is None


def test_a_parameter_with_no_gradient_stops_the_step_before_any_update():
    p, q = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    p.grad = torch.ones(2)
    with pytest.raises(RuntimeError, match=r"shape \(3,\) has no gradient"):
        SGD([p, q], 0.1).step()
    assert p.tolist() == [1.0, 1.0]


P = nn.Parameter(torch.ones(2))


@pytest.mark.parametrize("rate", [0, -0.1, np.nan, np.inf, 1e39, "0.1", None])  # the largest float32 is 3.4e38
def test_the_learning_rate_is_positive_and_finite(rate):
    with pytest.raises((TypeError, ValueError), match="learning_rate must be"):
        SGD([P], rate)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (nn.ReLU().parameters(), TypeError, r"pass model\.parameters\(\), not yet used"),
        ([P, P], ValueError, "comes twice"),
        (P, TypeError, r"pass model\.parameters\(\)"),
        (nn.Sequential(nn.Linear(2, 2)), TypeError, r"pass model\.parameters\(\)"),
        ([2 * P], TypeError, "expected parameters"),
        ([torch.ones(2).long()], TypeError, "expected parameters"),
    ],
    ids=["none", "twice", "a tensor", "a model", "computed", "integers"],
)
def test_sgd_takes_parameters(params, error, message):
    with pytest.raises(error, match=message):
        SGD(params, 0.1)
