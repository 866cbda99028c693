"""Every boxed answer and every worked example of theory/ checked, and the PDFs fresh and complete.

A check is registered under the label of its box (\\answer{label}{...}). ``printed`` reads the box's text out of the
.tex and evaluates that, on random inputs in float64, against autograd or a definition; where a box is words rather than
a formula, ``pinned`` holds its text next to the code that checks it, so that neither changes alone.
"""

import re
import subprocess
import sys
from itertools import pairwise, permutations, product
from math import lgamma
from pathlib import Path

import nbformat
import numpy as np
import pytest
import sympy
import torch
from torch.autograd.functional import hessian, jacobian
from torch.nn.functional import logsigmoid, softplus

from evaluator import Values, evaluate, statements
from optim import Newton
from printed import (
    BOXES,
    EXAMPLES,
    SKELETONS,
    SOURCES,
    THEORY,
    Remainder,
    entered,
    given,
    grad,
    pinned,
    printed,
    randn,
    real,
    worked,
)

ROOT = Path(__file__).parents[1]
ANSWERS, WORKED = {}, {}


def proves(label, skeleton=""):
    """Register the check of a box, with the box's relations and words (printed.py), if it is evaluated."""
    SKELETONS[label] = skeleton
    return entered(ANSWERS, label)


def hold_in(problems, skeletons):
    """Register boxes, as {label: skeleton}, that hold in each of the problems (names, sizes, draws) as it is."""
    for label, skeleton in skeletons.items():

        @proves(label, skeleton)
        def check(label=label):
            for problem in problems():
                printed(label, *problem)


def works(label):
    """Register the check of an example."""
    return entered(WORKED, label)


def close(ours, truth, tolerance=1e-10):
    """The largest difference is below the tolerance, relative to the largest entry of the truth (or to 1)."""
    assert ours.shape == truth.shape, (ours.shape, truth.shape)
    assert size(ours, truth) <= tolerance * max(1.0, truth.abs().max().item())


def size(a, b):
    """The largest difference."""
    return (a - b).abs().max().item()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# ------------------------------------------------------------------------------- Q1: binary logistic regression


class Logistic:
    """E as in the question, as a function of the logits and of theta = (w, b), with autograd's derivatives at theta."""

    def __init__(self, X, y, theta, eta=0.01):
        ones = torch.ones(len(X), dtype=torch.float64)
        self.X1, self.y, self.theta = torch.cat([X, ones[:, None]], dim=1), y, theta
        self.z = self.X1 @ theta
        self.yh = torch.sigmoid(self.z)
        self.gradient, self.H = grad(self.E, theta), hessian(self.E, theta)
        (w, b), (grad_w, grad_b) = ((t[:-1], t[-1]) for t in (theta, self.gradient))
        self.names = {"X": X, r"\tilde X": self.X1, "y": y, r"\one": ones, r"\theta": theta, "w": w, "b": b}
        self.names |= {"z": self.z, r"\yh": self.yh, "E": self.E(theta), r"\nabla_wE": grad_w, r"\dd{E}{b}": grad_b}
        self.names |= {r"\eta": eta, "new w": w - eta * grad_w, "new b": b - eta * grad_b}
        self.names |= {"H": self.H, "S": hessian(self.loss, self.z)}
        self.sizes = {"n": len(X)}

    def loss(self, z):
        return -(self.y * logsigmoid(z) + (1 - self.y) * logsigmoid(-z)).sum()  # 1 - sigma(z) is sigma(-z)

    def E(self, theta):
        return self.loss(self.X1 @ theta)

    def newton_step(self, theta):
        return theta - torch.linalg.solve(hessian(self.E, theta), grad(self.E, theta))

    def minimum(self, start, **options):
        """Where Newton arrives."""

        def f(theta):
            theta = torch.from_numpy(theta)
            return self.E(theta).item(), grad(self.E, theta).numpy(), hessian(self.E, theta).numpy()

        return torch.from_numpy(Newton(f, start.numpy(), **options)[0])


def logistic(N, D):
    """Random data, and weights so small that S^-1 is not large."""
    return Logistic(randn(N, D), (torch.rand(N) < 0.5).double(), 0.3 * randn(D + 1))


def logistics():
    return (logistic(N, D) for N, D in zip(range(10, 30), 5 * [1, 2, 3, 4], strict=True))


hold_in(
    lambda: ((p.names, p.sizes) for p in logistics()),
    {
        "logistic-stable": "=",
        "logistic-grad-w": "=",
        "logistic-grad-b": "==",
        "logistic-update": r"\leftarrow; \leftarrow",
    },
)


@proves("logistic-stationary", '=; "and"; =')
def logistic_stationary():
    p = logistic(200, 3)
    best = Logistic(p.names["X"], p.y, p.minimum(torch.zeros(4), stop_tolerance=1e-5))
    assert best.gradient.norm() < 1e-5
    printed("logistic-stationary", best.names, p.sizes, slack=1e-5)
    printed("logistic-stationary", p.names, p.sizes, holds=False)
    assert (best.yh - p.y).abs().min() > 0.01, "stationary, though no prediction equals its target"


@proves("logistic-hessian", "=; =")
def logistic_hessian():
    for p in logistics():
        printed("logistic-hessian", p.names, p.sizes)
        assert torch.linalg.eigvalsh(p.H).min() > 0, "random columns have full rank: strictly convex"
    eigenvalues = torch.linalg.eigvalsh(Logistic(torch.full((9, 2), 2.0).double(), torch.ones(9).double(), randn(3)).H)
    assert eigenvalues.min() > -1e-12 and eigenvalues[0].abs() < 1e-12, "equal columns: convex, but not strictly"


@proves("logistic-lipschitz", "=")
def logistic_lipschitz():
    for p in logistics():
        attained = torch.linalg.eigvalsh(hessian(p.E, torch.zeros_like(p.theta))).max()  # at 0
        printed("logistic-lipschitz", p.names | {r"\ell": attained})
        t, u = 3 * randn(2, 20, len(p.theta))
        change = (torch.sigmoid(t @ p.X1.T) - torch.sigmoid(u @ p.X1.T)) @ p.X1  # of the gradient X1^T (yh - y)
        assert (change.norm(dim=1) <= attained * (t - u).norm(dim=1) * (1 + 1e-12)).all()
        theta = p.theta
        for _ in range(20):
            before, theta = theta, theta - grad(p.E, theta) / attained
            assert p.E(theta) <= p.E(before) + 1e-12


@proves("logistic-irls", r"\leftarrow=")
def logistic_irls():
    for p in logistics():
        printed("logistic-irls", p.names | {r"new \theta": p.newton_step(p.theta)})


@proves("logistic-irls-diverges", r"=; =; =; \approx")
def logistic_irls_diverges():
    x = real(1, 2, -1, 30)
    p = Logistic(x[:, None], real(1, 0, 0, 1), real(3, -2))
    names = {"x": x, "y": p.y, r"\theta_0": p.theta, r"\theta_2": p.newton_step(p.newton_step(p.theta))}
    printed("logistic-irls-diverges", names, slack=2e-3)
    damped = p.minimum(p.theta)
    assert grad(p.E, damped).norm() < 1e-10 and damped.norm() < 25, "there is a minimum"


@proves("logistic-separable")
def logistic_separable():
    pinned(
        "logistic-separable",
        r"E(\rho w, \rho b) \to 0 = \inf E \quad (\rho\to\infty),\qquad\text{but}\quad E > 0\ \text{everywhere}",
    )
    p = logistic(20, 2)
    p.y = (p.z > 0).double()
    nearest = p.z.abs().min()
    values = [p.E(rho * p.theta / nearest).item() for rho in (1, 3, 10, 30)]
    assert all(a > b > 0 for a, b in pairwise(values)) and values[-1] <= 20 * np.exp(-30) * (1 + 1e-9)
    assert all(p.E(theta) > 0 for theta in 3 * randn(100, 3))


@works("logistic")
def logistic_example():
    p = Logistic(real([1], [-1]), real(1, 1), real(np.log(3), 0), eta=1)
    worked("logistic", p.names, p.sizes, beside=[])


# --------------------------------------------------------------------------------------- Q2: batch normalisation


def mean_only(x, gamma, beta):
    return gamma * (x - x.mean()) + beta


def full(epsilon):
    """Batch normalisation with the variance."""
    return lambda x, gamma, beta: gamma * (x - x.mean()) / (x.var(correction=0) + epsilon).sqrt() + beta


def batch(x, gamma, beta, delta, normalised=mean_only):
    """The question's names for a batch, with the derivatives of delta^T y."""
    derivatives = jacobian(lambda *inputs: delta @ normalised(*inputs), (x, gamma, beta))
    names = {"x": x, r"\gamma": gamma, r"\beta": beta, r"\delta": delta, "y": normalised(x, gamma, beta), "N": len(x)}
    names |= {r"\mu": x.mean(), r"\hat\tau": x.std(correction=0), r"\hat x": normalised(x, 1.0, 0.0)}
    return names | {rf"\dd{{L}}{{{by}}}": d for by, d in zip(("x", r"\gamma", r"\beta"), derivatives, strict=True)}


def batches(normalised=mean_only):
    for n in range(2, 21):
        names = batch(randn(n), randn(()), randn(()), randn(n), normalised)
        yield names | {r"\one": torch.ones(n), "I": torch.eye(n)}, {"i": n, "j": n}


hold_in(batches, {"bn-mean-only-grad": "=; =", "bn-mean-only-params": "=; ="})


@proves("bn-noise-variance", r"=\approx")
def bn_noise_variance():
    tau = 1.7
    for n in 2, 5, 20, 10_000:
        _, *a = grad(lambda x: mean_only(x, 1.0, 0.0)[0], randn(n)).tolist()  # x_hat_1 is affine in the other inputs
        names = {r"\Var(\hatx_i\midx_i)": tau**2 * np.dot(a, a), "N": n, r"\tau": tau}
        numerator = evaluate(statements(BOXES["bn-noise-variance"])[0][2], Values(names))
        assert numerator == pytest.approx(tau**2 * np.dot(a, a), rel=1e-12)
    printed("bn-noise-variance", names, slack=1e-6)


@proves("bn-noise-scale", r'=; "sothat"; \approx')
def bn_noise_scale():
    """The batch's tau^2 is a quadratic form x^T A x, of variance 2 tau^4 tr A^2 for Gaussian x; its root is a chi."""
    tau = 1.7
    for n in 2, 5, 20:
        A = hessian(lambda x: x.var(correction=0), randn(n)) / 2
        variance = 2 * tau**4 * (A @ A).trace().item()
        _, _, exact = statements(BOXES["bn-noise-scale"])[0]
        assert evaluate(exact, Values({"N": n, r"\tau": tau})) == pytest.approx(variance, rel=1e-10)
    n = 10_000
    chi_mean = np.exp(lgamma(n / 2) - lgamma((n - 1) / 2)) * (2 / n) ** 0.5  # of chi with n - 1 degrees, over root n
    names = {r"\Var(\hat\tau^2)": 2 * tau**4 * (n - 1) / n**2, "N": n, r"\tau": tau}
    names[r"\Var(\frac{\hat\tau}{\tau})"] = (n - 1) / n - chi_mean**2
    printed("bn-noise-scale", names, slack=1e-7)


@proves("bn-noise-penalty", "=")
def bn_noise_penalty():
    for _ in range(20):
        y, w, x_hat, xi, p = *randn(4).tolist(), 0.3  # xi or xi' with probabilities p and 1 - p, mean 0
        draws = [(p, {r"\zeta": xi}), (1 - p, {r"\zeta": -p / (1 - p) * xi})]
        printed("bn-noise-penalty", {"y_d": y, "w": w, r"\bar x": x_hat}, draws=draws)


@proves("bn-large-batch", r"\to; (N\to\infty)")
def bn_large_batch():
    gamma, mean = torch.tensor(1.3).double(), 0.4
    for n in 10_000, 100:
        x, delta = randn(n), mean + randn(n)
        gradient = batch(x, gamma, randn(()), delta)[r"\dd{L}{x}"]
        assert size(gradient, gamma * (delta - mean)) < 5 * gamma / n**0.5
        assert size(gradient, gamma * delta) > gamma * mean / 2, "not gamma delta, unless E[delta] = 0"
    names = batch(x, gamma, randn(()), delta - delta.mean() + mean)  # a batch whose mean is E[delta], as in the limit
    draws = [(0.25, {r"\delta": 4 * mean}), (0.75, {r"\delta": 0.0})]
    printed("bn-large-batch", names, {"i": n}, draws)


@proves("bn-batch-of-one", "=; =; =; =; =")
def bn_batch_of_one():
    names = batch(randn(1), randn(()), randn(()), randn(1))
    first = {f"{name}_1": names[name] for name in ("x", r"\hat x", "y")} | {r"\dd{L}{x_1}": names[r"\dd{L}{x}"]}
    printed("bn-batch-of-one", first | {name: names[name] for name in (r"\mu", r"\beta", r"\dd{L}{\gamma}")})


@proves("bn-full-grad", "=")
def bn_full_grad():
    for epsilon in 0.0, 0.1:
        for names, sizes in batches(full(epsilon)):
            printed("bn-full-grad", names | {r"\epsilon": epsilon}, sizes)
            gradient = names[r"\dd{L}{x}"]
            assert abs(gradient.sum()) < 1e-9
            assert names["N"] == 2 or (abs(gradient @ names[r"\hat x"]) < 1e-9) == (epsilon == 0)


@works("batch-norm")
def batch_norm_example():
    x, gamma, beta, delta = real(1, 3), torch.tensor(2.0).double(), torch.tensor(1.0).double(), real(1, 0)
    names = batch(x, gamma, beta, delta)
    worked("batch-norm", names | {r"\epsilon": 0.0}, {"i": 2}, beside=[r"\hat x", r"\mp1"])
    assert batch(x, gamma, beta, delta, full(0.0))[r"\dd{L}{x}"].abs().max() < 1e-15


# ----------------------------------------------------------------------------------------- Q3: a two-layer network


def two_layers(x, y, m, *parameters, a=0.1):
    """The question's names for the network, with autograd's derivatives; x may be a column, or a matrix of rows."""
    W1, b1, W2, b2 = (p.clone().requires_grad_() for p in parameters)
    z1 = x @ W1.T + b1
    h = torch.nn.functional.leaky_relu(z1, a)
    d = m * h
    z2 = d @ W2.T + b2
    L = -(y * torch.log_softmax(z2, -1)).sum()
    names = {"W_1": W1, "b_1": b1, "W_2": W2, "b_2": b2, "z_1": z1, "h": h, "d": d, "z_2": z2}
    names |= {rf"\dd{{L}}{{{by}}}": torch.autograd.grad(L, v, retain_graph=True)[0] for by, v in names.items()}
    names |= {r"\delta_1": names[r"\dd{L}{z_1}"], r"\delta_2": names[r"\dd{L}{z_2}"]}
    names |= {"x": x, "y": y, "m": m, "a": a, "L": L, r"\yh": torch.softmax(z2, -1)}
    return names | {r"\varphi'": lambda z: np.where(z > 0, 1.0, a)}


def network(D, U, K, *rows):
    """Random inputs (D or *rows, D), one-hot targets, masks of dropout with p = 0.1, and weights."""
    targets, mask = torch.eye(K).double()[torch.randint(K, rows)], (torch.rand(*rows, U) >= 0.1).double() / 0.9
    return two_layers(randn(*rows, D), targets, mask, randn(U, D), randn(U), randn(K, U), randn(K))


hold_in(
    lambda: ((network(D, 21 - D, K),) for D, K in zip(range(1, 21), 5 * [2, 3, 5, 9], strict=True)),
    {"mlp-grad-w2": "=; =", "mlp-grad-w1": "=; =; ="},
)


@proves("mlp-batch-grad", "=; =; =")
def mlp_batch_grad():
    names = network(5, 7, 4, 9)
    rows = {"X": "x", "A": "d", "M": "m", "Z_1": "z_1", r"\Delta_1": r"\delta_1", r"\Delta_2": r"\delta_2"}
    printed("mlp-batch-grad", names | {matrix: names[one] for matrix, one in rows.items()})


@proves("mlp-mask-mean", r"=\ne=; (wh\ne0)")
def mlp_mask_mean():
    for w, h, as_printed in (1.0, 1.0, 0.92), (1.0, -1.0, 1.03), (2.0, 0.3, None), (-0.4, 1.5, None):
        h = torch.tensor(h, dtype=torch.float64)  # the loss of z_2 = (wmh, 0) and the target (1, 0) is softplus(-wmh)
        zero, one, kept = (grad(lambda h, w=w, m=m: softplus(-w * m * h), h) for m in (0, 1, 1 / 0.9))
        draws = [(0.1, {r"\dd{L}{h}": zero}), (0.9, {r"\dd{L}{h}": kept})]
        names = {"w": w, "h": h, r"\sigma": lambda z: 1 / (1 + np.exp(-z)), r"\dd{L}{h}|_{m=1}": one}
        printed("mlp-mask-mean", names, draws=draws)
        assert not as_printed or (0.9 * kept / one).item() == pytest.approx(as_printed, abs=0.005)
    network = randn(2), real(1, 0), randn(3, 2), randn(3), randn(2, 3), randn(2)  # nor does one number fit three units

    def gradient(m):
        x, y, *parameters = network
        return two_layers(x, y, m, *parameters)[r"\dd{L}{W_1}"]

    masks = torch.cartesian_prod(*3 * [real(0, 1)])  # all eight, each with its probability
    quotients = sum((0.9**m * 0.1 ** (1 - m)).prod() * gradient(m / 0.9) for m in masks) / gradient(masks[-1])
    assert quotients.max() - quotients.min() > 0.01


@works("two-layers")
def two_layers_example():
    x, y, m = real(1, 2), real(0, 0, 1), real(1, 1, 0) / 0.9
    W1 = real([1, 0], [1, -1], [0, 1])
    W2 = real([0.9 * np.log(2), 0, 1], [0, -9 * np.log(2), 0], [0, 0, -1])
    names = two_layers(x, y, m, W1, real(0, 0, 0), W2, real(0, 0, 0))
    graph = [r"\name", r"\shape", "L", r"\op", "L", "z_2", "d", "h", "z_1", r"\yh-y", r"W_2\T"]
    worked("two-layers", names | {"p": 0.1}, beside=[r"W_2\T\delta_2", *graph])


# -------------------------------------------------------------------------- Q4: the Jacobian of the gradient


def smooth(x):
    return torch.sin(x[0] * x[1]) + torch.exp(x[2]) * x[0] ** 2 - x[1] ** 3 * x[2]


def second_differences(f, x, h=1e-4):
    """The Hessian from values of f alone."""
    steps = h * torch.eye(len(x), dtype=torch.float64)
    rows = [[f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b) for b in steps] for a in steps]
    return torch.stack([torch.stack(row) for row in rows]) / (4 * h * h)


@proves("jacobian-of-gradient")
def jacobian_of_gradient():
    pinned("jacobian-of-gradient", r"J_{\nabla F} = H = H\T\qquad(F\in C^2;\ 3\times3)")
    for _ in range(20):
        x = randn(3)
        J = jacobian(lambda x: jacobian(smooth, x, create_graph=True), x)
        assert J.shape == (3, 3)
        close(J, second_differences(smooth, x), 1e-6)
        close(J, J.T)


def peano_mixed():
    """(d_y d_x phi, d_x d_y phi) at the origin; phi is 0 on both axes, so its first derivatives there are limits."""
    x, y, h = sympy.symbols("x y h", real=True)
    phi = x * y * (x**2 - y**2) / (x**2 + y**2)
    assert phi.subs(x, 0) == 0 and phi.subs(y, 0) == 0
    phi_x, phi_y = sympy.limit(phi.subs(x, h) / h, h, 0), sympy.limit(phi.subs(y, h) / h, h, 0)
    assert sympy.simplify(phi_x + y) == 0 and sympy.simplify(phi_y - x) == 0
    return phi_x.diff(y), phi_y.diff(x)


@proves("peano")
def peano():
    pinned("peano", r"\partial_2\partial_1F(0,0) = -1 \ne +1 = \partial_1\partial_2F(0,0)")
    assert peano_mixed() == (-1, 1)


@proves("hessian-vector")
def hessian_vector():
    pinned("hessian-vector", r"Hv = \frac{d}{d\rho}\,\nabla F(x+\rho v)\Big|_{\rho=0}")
    for _ in range(20):
        x, v = randn(3), randn(3)
        _, along = torch.autograd.functional.jvp(lambda x: jacobian(smooth, x, create_graph=True), x, v)
        close(along, hessian(smooth, x) @ v)


@works("hessian")
def hessian_example():
    def F(x):
        return x[0] * x[1] ** 2 + torch.exp(x[2])

    x, v = real(2, 3, 0), real(1, 1, 0)
    J = jacobian(lambda x: jacobian(F, x, create_graph=True), x)
    names = {"x": x, "v": v, "F": F(x), r"\nablaF": grad(F, x), r"J_{\nablaF}": J}
    names |= {"H": second_differences(F, x).round(decimals=3), "x_1": 2, "x_2": 3, "x_3": 0, r"\rho": 0}
    along = r"\big((3+\rho)^2,\, 2(2+\rho)(3+\rho),\, 1\big)"
    worked("hessian", names, beside=[along, r"x + \rho v", "(6, 10, 0)"])


# ------------------------------------------------------------------------------ Q5: noise on a linear neuron


def neuron(w, x, y_d, noise):
    """The names for one of the equally likely draws of the noise, and all draws, with autograd's gradients."""

    def loss(w, nu):
        return 0.5 * (y_d - (nu * w * x).sum()) ** 2

    draws = [{r"\nu": nu, "J_1": loss(w, nu), r"\dd{J_1}{w}": jacobian(loss, (w, nu))[0]} for nu in noise]
    return {"w": w, "x": x, "y_d": y_d} | draws[1], [(1 / len(noise), given(draw).names) for draw in draws]


def neurons():
    """With independent noise 1 - s or 1 + s on each input, all 2^n draws: mean 1, variance s^2, exactly.

    These are also the nodes of Gauss-Hermite quadrature: the mean of a quadratic is that over N(1, s^2).
    """
    s = 0.7
    for n in range(1, 7):
        noise = 1 + s * torch.cartesian_prod(*n * [real(-1, 1)]).reshape(-1, n)
        names, draws = neuron(randn(n), randn(n), randn(()), noise)
        yield names | {"s": s}, {"i": n, "k": n}, draws


hold_in(neurons, {"dropout-grad": "=", "dropout-mean-loss": "=", "dropout-mean-grad": "="})


@proves("dropout-ridge", "=")
def dropout_ridge():
    X, y, s2 = randn(30, 4), randn(30), 0.5

    def mean_loss(w):
        return (0.5 * (y - X @ w) ** 2 + s2 / 2 * (X**2 @ w**2)).sum()

    zero = torch.zeros(4, dtype=torch.float64)
    w = -torch.linalg.solve(hessian(mean_loss, zero), grad(mean_loss, zero))  # the minimum: mean_loss is quadratic
    printed("dropout-ridge", {"X": X, "y": y, "s": s2**0.5, "w^*": w})
    assert torch.linalg.eigvalsh(hessian(mean_loss, w)).min() > 0


@proves("dropout-bernoulli", "==")
def dropout_bernoulli():
    for p in 0.1, 0.5, 0.9:
        nu = np.array([0.0, 1 / (1 - p)])
        variance = np.average(nu**2, weights=[p, 1 - p]) - np.average(nu, weights=[p, 1 - p]) ** 2
        printed("dropout-bernoulli", {"p": p, "s": variance**0.5, r"\Var\nu": variance})


@proves("dropout-scale-invariance", '=; "hence"; =')
def dropout_scale_invariance():
    X, y, s2, c = randn(30, 4), randn(30), 0.5, real(0.1, 1, 7, 100)

    def solution(X, plain=False):
        G = X.T @ X
        return torch.linalg.solve(G + s2 * (torch.eye(4).double() if plain else G.diag().diag()), X.T @ y)

    printed("dropout-scale-invariance", {"X": X, "R": c.diag(), "w^*": lambda X: solution(torch.from_numpy(X))})
    assert size(X * c @ solution(X * c, plain=True), X @ solution(X, plain=True)) > 1e-3, "plain L2 is not invariant"


@proves("dropout-logistic", '=; "forGaussiannoise"')
def dropout_logistic():
    """Gauss-Hermite quadrature of the mean over z~ ~ N(z, s^2 sum w^2 x^2); the remainder is Taylor's, of order s^4."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(60))
    w, x = real(0.5, -0.4, 0.3), real(0.6, 0.8, 0.5)
    z, spread2 = w @ x, (w**2 * x**2).sum()
    yh = torch.sigmoid(z)
    for s, y in product((0.1, 0.05, 0.025), (0.0, 1.0)):
        noisy = z + s * spread2.sqrt() * nodes
        exact = (weights * (softplus(noisy) - y * noisy)).sum() / weights.sum()
        names = {"z": z, "y": y, r"\yh": yh, "s": s, "w": w, "x": x, "O": Remainder(s**4)}
        names[r"\E[\softplus(\tildez)-y\tildez]"] = exact
        bound = 3 * s**4 * spread2.item() ** 2 / 24 / 8 + 1e-14  # the fourth derivative is at most 1/8
        printed("dropout-logistic", names, {"k": 3}, slack=bound)


@works("dropout")
def dropout_example():
    names, draws = neuron(real(1), real(2), 3.0, real([0], [2]))
    best = np.linspace(0, 2, 2001)
    mean_loss = sum(0.5 * 0.5 * (3 - nu * best * 2) ** 2 for nu in (0, 2))
    names |= {"p": 0.5, "s": np.std([0, 2]), "w^*": best[mean_loss.argmin()]}
    shown = [r"\nu", r"\frac12", r"\frac12\cdot3^2", r"\frac12(-1)^2", "0", r"-2\cdot2\cdot(-1)"]
    worked("dropout", names, draws=draws, beside=shown)


# --------------------------------------------------------------------------------------------- Q6: Newton's method


@proves("newton-step", "==")
def newton_step():
    x, g, x_n = sympy.symbols("x", real=True), sympy.Function("g"), sympy.symbols("x_t", real=True)
    g1, g2 = g(x_n).diff(x_n), g(x_n).diff(x_n, 2)
    tangent = g1 + g2 * (x - x_n)
    parabola = g(x_n) + g1 * (x - x_n) + g2 * (x - x_n) ** 2 / 2
    for equation in tangent, parabola.diff(x):
        (solution,) = sympy.solve(equation, x)
        assert sympy.simplify(solution - (x_n - g1 / g2)) == 0
    f, f1 = (lambda x: x**3 + x**2 - 2), (lambda x: 3 * x**2 + 2 * x)
    _, history = Newton(lambda t: (t[0] ** 4 / 4 + t[0] ** 3 / 3 - 2 * t[0], f(t), f1(t)[None]), [2.0])
    for before, after in pairwise(history):
        names = {"x_t": before.theta[0], "x_{t+1}": after.theta[0], "f": f, "f'": f1, "g'": f, "g''": f1}
        printed("newton-step", names, slack=1e-14)


@proves("newton-error", r'==; "forsome"; \xi_t; "between"; x_t; "and"; x^*')
def newton_error():
    functions = {"f": lambda x: x**3 + x**2 - 2, "f'": lambda x: 3 * x**2 + 2 * x, "f''": lambda x: 6 * x + 2}
    f, f1, _ = functions.values()
    for x in np.random.default_rng(0).uniform(0.3, 3, 50):
        e, e_next = x - 1, x - f(x) / f1(x) - 1
        xi = ((e * f1(x) - f(x)) / e**2 - 1) / 3  # where f''(xi) / 2 e^2 is the numerator
        printed("newton-error", functions | {"x_t": x, "e_t": e, "e_{t+1}": e_next, r"\xi_t": xi}, slack=1e-11)
        assert min(x, 1) < xi < max(x, 1)


@proves("newton-bound", r'\le; "and"; <; "implies"; e_t\to0')
def newton_bound():
    for root, x in (1, 0.6), (1, 0.9), (-1, -0.7):  # f = 1.5 (x^2 - 1): f'' = B, and c = |f'(x)| between x and the root
        e, e_next = x - root, x - (x**2 - 1) / (2 * x) - root
        names = {"e_t": e, "e_{t+1}": e_next, "B": 3.0, "c": 3 * abs(x)}
        printed("newton-bound", names | {"e_0": -2 * names["c"] / 3}, slack=1e-12, tight=True)
        printed("newton-bound", names | {"B": 3.1, "e_0": e})
    for radius in 0.1, 0.3, 0.5:  # of the interval around the root of f = exp(x) - 2, where f' = f'' = exp(x)
        ratio = np.exp(2 * radius) / 2  # B / 2c
        for e0 in np.linspace(-radius, radius, 20):
            if ratio * abs(e0) < 1:
                e = e0
                for n in range(1, 6):
                    before, e = e, e + np.expm1(-e)  # as f / f' = 1 - exp(-e)
                    assert abs(e) <= ratio * before**2 + 1e-15
                    assert ratio * abs(e) <= (ratio * abs(e0)) ** (2**n) + 1e-15
                assert abs(e) < 1e-3 * radius


@proves("newton-constant", "=; ==")
def newton_constant():
    """The rest is below 2 |e|^3."""
    for x, C in (1.0, 8 / 10), (2.0, 14 / 32):  # roots of f = x^3 + x^2 - 2 and - 12
        f, f1, f2 = (lambda x: x**3 + x**2), (lambda x: 3 * x**2 + 2 * x), (lambda x: 6 * x + 2)
        for e in 1e-1, 1e-2, 1e-3, -1e-2:
            names = {"x^*": x, "C": C, "f'": f1, "f''": f2, "g''": f1, "g'''": f2, "e_t": e, "O": Remainder(e**3)}
            names["e_{t+1}"] = e - (f(x + e) - f(x)) / f1(x + e)
            printed("newton-constant", names, slack=2 * abs(e) ** 3)


@proves("newton-third-order", r"g=\ln\cosh; \to")
def newton_third_order():
    for e in 0.01, -0.02:
        printed("newton-third-order", {"e_t": e, "e_{t+1}": e - np.tanh(e) * np.cosh(e) ** 2}, slack=1e-3)


@proves("newton-multiple-root", r"\to")
def newton_multiple_root():
    for r in 2, 3, 5:
        x = 0.5
        for _ in range(80):
            e = x
            f, f1 = x**r * (1 + x), r * x ** (r - 1) * (1 + x) + x**r  # (x - 0)^r q(x), q = 1 + x
            x = x - f / f1
        printed("newton-multiple-root", {"r": r, "e_t": e, "e_{t+1}": x}, slack=1e-6)


@proves("newton-cycle")
def newton_cycle():
    pinned("newton-cycle", r"f(x) = x^3-2x+2:\qquad x_0 = 0 \text{ gives } 0, 1, 0, 1, \dots")
    x, visited = sympy.Integer(0), []
    for _ in range(6):
        visited.append(x)
        x = x - (x**3 - 2 * x + 2) / (3 * x**2 - 2)
    assert visited == [0, 1, 0, 1, 0, 1]


@proves("newton-log-cosh", r'g=\ln\cosh; =; "divergesfor"; |x_0|>1.08866\ldots')
def newton_log_cosh():
    for x in -1.5, -0.3, 0.7, 2.0:
        printed("newton-log-cosh", {"x_t": x, "x_{t+1}": x - np.tanh(x) * np.cosh(x) ** 2}, slack=1e-12)

    def path(x):
        """Until it is far away, or for 100 steps."""
        visited = [x]
        while abs(x) < 300 and len(visited) < 100:
            x = x - np.sinh(2 * x) / 2
            visited.append(x)
        return np.abs(visited)

    for start in 1.088665, 1.0887, *np.linspace(1.09, 3, 30):
        assert path(start)[-1] >= 300 and (np.diff(path(start)) > 0).all()
    for start in 1.088655, *np.linspace(0.05, 1.08, 30):
        assert (np.diff(path(start)) <= 0).all() and path(start)[-1] < 0.1
    damped, _ = Newton(lambda t: (np.log1p(np.sinh(t[0]) ** 2) / 2, np.tanh(t), np.cosh(t[None]) ** -2), [1.2])
    assert abs(damped[0]) < 1e-9


@proves("newton-affine", "=; =")
def newton_affine():
    def g(x):
        return torch.exp(x).sum() + (x**4).sum() + (x @ x) ** 2

    def step(f, x):
        return x - torch.linalg.solve(hessian(f, x), grad(f, x))

    for _ in range(20):
        A, u = torch.eye(3) + randn(3, 3) / 4, randn(3)  # well conditioned
        names = {"P": A, "u": u, "x": A @ u}
        for prefix, f in ("", g), (r"\tilde ", lambda u, A=A: g(A @ u)):
            names[f"{prefix}H"] = lambda x, f=f: hessian(f, torch.from_numpy(x)).numpy()
            names[rf"\nabla{prefix}g"] = lambda x, f=f: grad(f, torch.from_numpy(x)).numpy()
        printed("newton-affine", names)


@works("newton")
def newton_example():
    x = [1.0]
    for _ in range(3):
        x.append(x[-1] - (x[-1] ** 2 - 4) / (2 * x[-1]))
    names = {f"x_{t}": value for t, value in enumerate(x)} | {f"e_{t}": value - 2 for t, value in enumerate(x)}
    names |= {"x": 7.0, "f": 45.0, "x^*": 2.0, "f''": 2.0, "C": 2 / (2 * 4)}
    for t in range(3):
        worked("newton", names | {"x_t": x[t], "e_t": x[t] - 2, "e_{t+1}": x[t + 1] - 2}, beside=[])


# ------------------------------------------------------------------------------------ Q7: softmax cross-entropy


def cross_entropy(z, y):
    return -(y * torch.softmax(z, 0).log()).sum()


def softmax(z, y, v):
    """The names of Q3 and Q7 for the logits z, a target y and any v, with autograd's derivatives."""
    yh, J = torch.softmax(z, 0), jacobian(lambda z: torch.softmax(z, 0), z)
    gradient, H = grad(lambda z: cross_entropy(z, y), z), hessian(lambda z: cross_entropy(z, y), z)
    names = {"z": z, "y": y, "v": v, r"\yh": yh, "J": J, r"\dd{\yh}{z}": J, r"\Var_{\yh}(v)": yh @ (v - yh @ v) ** 2}
    return names | {r"\nabla_zL": gradient, r"\dd{L}{z_2}": gradient, "H": H, r"\one": torch.ones(len(z))}


def softmaxes():
    for K in range(2, 22):
        z, y = 2 * randn(K), torch.softmax(randn(K), 0)
        names = softmax(z, y, randn(K)) | {"L": lambda z, y=y: cross_entropy(torch.from_numpy(z), y)}
        yield names, dict.fromkeys("ijk", K)


hold_in(
    softmaxes,
    {
        "softmax-jacobian": "=; =",
        "softmax-ce-grad": "=",
        "ce-grad": "=; =",
        "ce-psd": r"==\ge",
    },
)


@proves("ce-hessian", r"=; =; H_{ij}=-\yh_i\yh_j; (i\nej)")
def ce_hessian():
    off_diagonal = statements(BOXES["ce-hessian"])[2][2]
    for names, sizes in softmaxes():
        printed("ce-hessian", names, sizes)
        for i, j in permutations(range(sizes["i"]), 2):
            value = evaluate(off_diagonal, given(names).bind(i=i, j=j))
            assert value == pytest.approx(names["H"][i, j].item(), abs=1e-12)


@proves("ce-null-space")
def ce_null_space():
    pinned(
        "ce-null-space",
        r"v\T Hv = 0 \iff v = \rho\one;\qquad \ker H = \operatorname{span}(\one),\quad \operatorname{rank}H = K-1",
    )
    for names, _ in softmaxes():
        H, smallest = names["H"], names[r"\yh"].min()
        assert (H @ torch.ones(len(H)).double()).abs().max() < 1e-14
        eigenvalues, vectors = torch.linalg.eigh(H)
        assert eigenvalues[0].abs() < 1e-12 and eigenvalues[1] >= smallest * (1 - 1e-6), "rank K - 1: interlacing"
        assert vectors[:, 0].std() < 1e-8


@proves("ce-lambda-max", r"\le")
def ce_lambda_max():
    for names, _ in softmaxes():
        printed("ce-lambda-max", names)
    for z in real(0, 0), real(40, 40, 0, 0):
        H = hessian(lambda z: z.logsumexp(0), z)
        printed("ce-lambda-max", {"H": H}, tight=True)
        printed("ce-lambda-max", {"H": 0.9 * H})


@proves("ce-infimum")
def ce_infimum():
    pinned(
        "ce-infimum",
        r"\inf_zL = 0\ \text{ is not attained}:\quad L > 0,\ \text{ and } L(\rho y)\to0\ \text{ as } \rho\to\infty",
    )
    for K in range(2, 10):
        y = torch.eye(K, dtype=torch.float64)[0]
        values = [(torch.logsumexp(t * y, 0) - t).item() for t in (0, 5, 10, 20, 30)]
        assert all(a > b > 0 for a, b in pairwise(values)) and values[-1] < 1e-11
        for _ in range(20):
            assert cross_entropy(5 * randn(K), y) > 0


@proves("ce-convex-linear", r'=\succeq; (z=Wx,\"rowsof"W"stacked")')
def ce_convex_linear():
    for K, D in (2, 3), (3, 2), (4, 5):
        x, y, W = randn(D), torch.softmax(randn(K), 0), randn(K * D)
        H_W = hessian(lambda W, x=x, y=y: cross_entropy(W.reshape(-1, len(x)) @ x, y), W)
        z = W.reshape(K, D) @ x
        printed("ce-convex-linear", softmax(z, y, z) | {"x": x, r"\nabla^2_WL": H_W})


@proves("ce-nonconvex-network")
def ce_nonconvex_network():
    pinned("ce-nonconvex-network", r"z = W_2\tanh(W_1x):\quad \lambda_{\min}(\nabla^2L) < 0\ \text{ at some weights.}")
    x, y = randn(3), torch.eye(2, dtype=torch.float64)[0]

    def loss(weights):
        W1, W2 = weights[:12].reshape(4, 3), weights[12:].reshape(2, 4)
        return cross_entropy(W2 @ torch.tanh(W1 @ x), y)

    at_zero = hessian(loss, torch.zeros(20, dtype=torch.float64))
    close(torch.linalg.eigvalsh(at_zero).min(), -(0.5 - y).norm() * x.norm())


@works("cross-entropy")
def cross_entropy_example():
    z, y = real(2, 1, 1).log(), real(0, 1, 0)
    worked("cross-entropy", softmax(z, y, real(1, 0, -1)) | {"L": cross_entropy(z, y)}, beside=[])


# ------------------------------------------------------------------------------------ the document itself


@pytest.mark.parametrize("label", ANSWERS)
def test_answer(label):
    ANSWERS[label]()


@pytest.mark.parametrize("label", WORKED)
def test_example(label):
    WORKED[label]()


def test_every_box_and_every_example_has_a_check_and_every_check_one():
    assert set(BOXES) == set(ANSWERS) and len(ANSWERS) > 40
    assert set(EXAMPLES) == set(WORKED) and len(WORKED) == 7


@pytest.mark.parametrize("name", ["theory.pdf", "questions.pdf"])
def test_the_pdf_was_built_from_these_sources(name):
    digest = subprocess.run([sys.executable, THEORY / "source_hash.py"], capture_output=True, text=True, check=True)
    (stored,) = set(re.findall(rb"/SourceHash ?\(([0-9a-f]{64})\)", (THEORY / name).read_bytes()))
    assert stored.decode() == digest.stdout.strip(), f"{name} is older than its sources: run make -C theory"


def test_the_document_has_every_question_and_its_macros_mean_what_the_evaluator_takes_them_for():
    questions = [name.removesuffix(".tex") for name in SOURCES if re.match(r"q\d_", name)]
    assert re.findall(r"^\\input{(q.*)}$", SOURCES["theory.tex"], re.M) == questions
    definition = r"^\\(?:newcommand|DeclareMathOperator){\\(\w+)}((?:\[\d\])?{.*})$"
    macros = dict(re.findall(definition, SOURCES["notation.tex"], re.M))
    meant = {"yh": r"{\hat y}", "one": r"{\mathbf 1}", "T": r"{^{\!\top}}", "E": r"{\mathbb E}", "Var": "{Var}"}
    meant |= {"dd": r"[2]{\frac{\partial #1}{\partial #2}}", "diag": "{diag}"}
    meant |= {"softplus": "{softplus}", "lse": "{logsumexp}"}
    assert meant.items() <= macros.items()


def test_the_table_of_questions_has_their_answers_and_sections():
    """On one of the pages: the labels of each question's file, and the notebook sections that the file refers to."""
    pages = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("*.md"))
    table = re.findall(r"^\| (Q\d) [^|]*\| ([^|]*) \| [^|]* \| ([^|]*) \|$", pages, re.M)
    found = []
    for name, text in SOURCES.items():
        if re.match(r"q\d_", name):
            sections = [f"0{book} §{section}" for book, section in re.findall(r"\\notebook{(\d)}{([0-9.]+?)\.?-", text)]
            labels = re.findall(r"\\answer{([a-z0-9-]+)}", text)
            found.append((name[:2].upper(), ", ".join(dict.fromkeys(sections)), ", ".join(labels)))
    assert table == found


def test_the_notebook_headings_that_the_theory_links_to_exist():
    for number, anchor in re.findall(r"\\notebook{(\d)}{([0-9.]+-[^}]*)}", "".join(SOURCES.values())):
        (path,) = (ROOT / "notebooks").glob(f"0{number}_*.ipynb")
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        headings = re.findall("^#+ (.*)$", text, re.M)
        assert anchor in [heading.replace(" ", "-") for heading in headings], (number, anchor)
