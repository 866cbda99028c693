"""Every boxed answer and every worked example of theory/ checked, and the PDFs fresh and complete.

A check is registered under the label of its box (\\answer{label}{...}). ``printed`` reads the box's text out of the
.tex and evaluates that, on random inputs in float64, against autograd or a definition; where a box is words rather than
a formula, ``pinned`` holds its text next to the code that checks it, so that neither changes alone. An erratum's check
returns how far the report's formula is from the truth.
"""

import re
import subprocess
import sys
from itertools import pairwise, product
from math import lgamma
from pathlib import Path

import nbformat
import numpy as np
import pytest
import sympy
import torch
from torch.autograd.functional import hessian, jacobian
from torch.nn.functional import softplus

from evaluator import Values, evaluate, statements
from layers import DropoutLayer, FCLayer, LeakyReLULayer, MeanOnlyBatchNormLayer
from optim import SGD, Newton, rosenbrock, rosenbrock_hessian
from printed import (
    BOXES,
    EXAMPLES,
    SKELETONS,
    SOURCES,
    THEORY,
    Remainder,
    formulas,
    grad,
    misprints,
    noticed,
    pinned,
    printed,
    randn,
    registry,
    slips,
    worked,
)

ROOT = Path(__file__).parents[1]
ANSWERS, WORKED = {}, {}
works = registry(WORKED)


def proves(label, skeleton=""):
    """Register the check of a box, with the box's relations and words (printed.py), if it is evaluated."""
    SKELETONS[label] = skeleton
    return registry(ANSWERS)(label)


def close(ours, truth, tolerance=1e-10):
    """The largest difference is below the tolerance, relative to the largest entry of the truth (or to 1)."""
    ours, truth = torch.as_tensor(ours), torch.as_tensor(truth)
    assert ours.shape == truth.shape, (ours.shape, truth.shape)
    assert (ours - truth).abs().max() <= tolerance * max(1.0, truth.abs().max().item())


def size(a, b):
    """The largest difference."""
    return (torch.as_tensor(a) - torch.as_tensor(b)).abs().max().item()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# ------------------------------------------------------------------------------- Q1: binary logistic regression


class Logistic:
    """Random data with E written as in the question, and autograd's derivatives of it."""

    def __init__(self, N=30, D=4):
        self.X, self.w, self.b = randn(N, D), randn(D), randn(())
        self.y = (torch.rand(N) < 0.5).double()
        self.X1 = torch.cat([self.X, torch.ones(N, 1, dtype=torch.float64)], dim=1)
        self.theta = torch.cat([self.w, self.b[None]])
        self.yh = torch.sigmoid(self.X @ self.w + self.b)
        self.names = {"X": self.X, r"\yh": self.yh, "y": self.y, "w": self.w, "b": self.b, r"\one": torch.ones(N)}
        self.names |= {"z": self.X @ self.w + self.b, r"\tilde X": self.X1, r"\theta": self.theta, r"\eta": 0.01}
        self.sizes = {"n": N}

    def E(self, w, b):
        yh = torch.sigmoid(self.X @ w + b)
        return -(self.y * yh.log() + (1 - self.y) * (1 - yh).log()).sum()

    def E_theta(self, theta):
        return self.E(theta[:-1], theta[-1])

    def E_stable(self, theta):
        z = self.X @ theta[:-1] + theta[-1]
        return (softplus(z) - self.y * z).sum()

    def minimum(self):
        theta = Newton(lambda t: derivatives(self.E_theta, t), np.zeros(len(self.theta)), stop_tolerance=1e-5)[0]
        return torch.from_numpy(theta)


def derivatives(f, theta):
    """(value, grad, hessian) of a torch function at a NumPy vector."""
    theta = torch.from_numpy(theta)
    return f(theta).item(), grad(f, theta).numpy(), hessian(f, theta).numpy()


def logistic_problems(n=20):
    return [Logistic(N, D) for N, D in zip(range(10, 10 + n), [1, 2, 3, 4] * n, strict=False)]


@proves("logistic-stable", "=")
def _():
    for p in logistic_problems():
        printed("logistic-stable", p.names | {"E": p.E(p.w, p.b)}, p.sizes)
    z, y = sympy.symbols("z y", real=True)
    sigma = 1 / (1 + sympy.exp(-z))
    stable = sympy.log(1 + sympy.exp(z)) - y * z
    asked = -(y * sympy.log(sigma) + (1 - y) * sympy.log(1 - sigma))
    assert sympy.simplify(sympy.diff(stable - asked, z)) == 0 and sympy.simplify((stable - asked).subs(z, 0)) == 0
    z = torch.tensor([-800.0, 800.0], dtype=torch.float64)  # where exp overflows and sigma is 0 or 1
    for y, truth in (torch.tensor([0.0, 1.0]), [0.0, 0.0]), (torch.tensor([1.0, 0.0]), [800.0, 800.0]):
        stable = z.clamp(min=0) + torch.log1p(torch.exp(-z.abs())) - y * z
        close(stable, torch.tensor(truth, dtype=torch.float64))


@proves("logistic-grad-w", "=")
def _():
    for p in logistic_problems():
        printed("logistic-grad-w", p.names | {r"\nabla_wE": grad(lambda w, p=p: p.E(w, p.b), p.w)})


@proves("logistic-grad-b", "==")
def _():
    for p in logistic_problems():
        printed("logistic-grad-b", p.names | {r"\dd{E}{b}": grad(lambda b, p=p: p.E(p.w, b), p.b)}, p.sizes)


@proves("logistic-stationary", '=; "and"; =')
def _():
    p = Logistic(200, 3)
    theta = p.minimum()
    yh = torch.sigmoid(p.X1 @ theta)
    close(grad(p.E_theta, theta), torch.zeros(4, dtype=torch.float64), 1e-5)
    printed("logistic-stationary", p.names | {r"\yh": yh}, p.sizes, slack=1e-5)
    printed("logistic-stationary", p.names, p.sizes, holds=False)
    assert (yh - p.y).abs().min() > 0.01, "stationary, though no prediction equals its target"


@proves("logistic-update", r"\leftarrow; \leftarrow")
def _():
    for p in logistic_problems():
        w, b = p.w.clone().requires_grad_(), p.b.clone().requires_grad_()
        p.E(w, b).backward()
        SGD([w, b], 0.01).step()
        printed("logistic-update", p.names | {"new w": w.detach(), "new b": b.detach()}, p.sizes)


@proves("logistic-hessian", "=; =")
def _():
    for p in logistic_problems():
        H, S = hessian(p.E_theta, p.theta), hessian(lambda z, p=p: (softplus(z) - p.y * z).sum(), p.names["z"])
        printed("logistic-hessian", p.names | {"H": H, "S": S}, p.sizes)
        assert torch.linalg.eigvalsh(H).min() > 0, "random columns have full rank: strictly convex"
    p.X1[:, 0] = p.X1[:, 1] = 2 * p.X1[:, -1]
    H = p.X1.T @ (p.yh * (1 - p.yh)).diag() @ p.X1
    eigenvalues = torch.linalg.eigvalsh(H)
    assert eigenvalues.min() > -1e-12 and eigenvalues[0].abs() < 1e-12, "equal columns: convex, but not strictly"


@proves("logistic-lipschitz", "=")
def _():
    for p in logistic_problems():
        bound = torch.linalg.eigvalsh(p.X1.T @ p.X1).max() / 4
        t, u = 3 * randn(2, 20, len(p.theta))
        change = (torch.sigmoid(t @ p.X1.T) - torch.sigmoid(u @ p.X1.T)) @ p.X1  # of the gradient X1^T (yh - y)
        assert (change.norm(dim=1) <= bound * (t - u).norm(dim=1) * (1 + 1e-12)).all()
        attained = torch.linalg.eigvalsh(hessian(p.E_theta, torch.zeros_like(p.theta))).max()  # at 0
        printed("logistic-lipschitz", p.names | {r"\ell": attained})
        theta, values = p.theta, []
        for _ in range(100):
            z = p.X1 @ theta
            values.append((softplus(z) - p.y * z).sum())
            theta = theta - p.X1.T @ (torch.sigmoid(z) - p.y) / bound
        assert (torch.stack(values).diff() <= 1e-12).all()


@proves("logistic-irls", r"\leftarrow=")
def _():
    for p in logistic_problems():
        p.theta = 0.3 * p.theta  # S^-1 is large where yh is close to 0 or 1
        p.yh = torch.sigmoid(p.X1 @ p.theta)
        S = (p.yh * (1 - p.yh)).diag()
        H = hessian(p.E_theta, p.theta)
        newton = p.theta - torch.linalg.solve(H, grad(p.E_theta, p.theta))
        names = {r"\theta": p.theta, r"\yh": p.yh, "S": S, "H": H, r"new \theta": newton}
        printed("logistic-irls", p.names | names)


@proves("logistic-irls-diverges", r"=; =; =; \approx")
def _():
    p = Logistic(4, 1)
    x, p.y = torch.tensor([1.0, 2, -1, 30]).double(), torch.tensor([1.0, 0, 0, 1]).double()
    p.X = x[:, None]
    theta = [torch.tensor([3.0, -2]).double()]
    for _ in range(2):
        theta.append(theta[-1] - torch.linalg.solve(hessian(p.E_stable, theta[-1]), grad(p.E_stable, theta[-1])))
    names = {"x": x, "y": p.y, r"\theta_0": theta[0], r"\theta_2": theta[2]}
    printed("logistic-irls-diverges", names, slack=2e-3)
    damped, history = Newton(lambda t: derivatives(p.E_stable, t), theta[0].numpy())
    assert np.linalg.norm(history[-1].grad) < 1e-10 and np.linalg.norm(damped) < 25, "there is a minimum"


@proves("logistic-separable")
def _():
    pinned(
        "logistic-separable",
        r"E(\rho w, \rho b) \to 0 = \inf E \quad (\rho\to\infty),\qquad\text{but}\quad E > 0\ \text{everywhere}",
    )
    p = Logistic(20, 2)
    p.y = (p.X @ p.w + p.b > 0).double()
    sign = 2 * p.y - 1
    margins = sign * (p.X @ p.w + p.b)
    close(softplus(-margins).sum(), p.E(p.w, p.b))
    values = [softplus(-c * margins / margins.min()).sum().item() for c in (1, 3, 10, 30)]
    assert all(a > b > 0 for a, b in pairwise(values)) and values[-1] <= 20 * np.exp(-30) * (1 + 1e-9)
    assert (softplus(-sign * (3 * randn(100, 3) @ p.X1.T)).sum(1) > 0).all()


@works("logistic")
def _():
    p = Logistic(2, 1)
    p.X1 = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]).double()
    p.X, p.y, w, b = p.X1[:, :1], torch.ones(2).double(), torch.tensor([3.0]).double().log(), 0.0
    theta = torch.tensor([w, b]).double()
    gradient, H = grad(p.E_theta, theta), hessian(p.E_theta, theta)
    yh = torch.sigmoid(p.X @ w)
    names = {"X": p.X, "y": p.y, "w": w, "b": b, "z": p.X @ w, r"\yh": yh, "E": p.E(w, b), r"\eta": 1}
    names |= {r"\nabla_wE": gradient[0], r"\dd{E}{b}": gradient[1]}
    names |= {"new w": w - gradient[0], "new b": b - gradient[1]}
    names |= {r"\tilde X": p.X1, "H": H}
    worked("logistic", names, {"n": 2}, beside=[])


# --------------------------------------------------------------------------------------- Q2: batch normalisation


def mean_only(x, gamma, beta):
    return gamma * (x - x.mean()) + beta


@proves("bn-noise-variance", r"=\approx")
def _():
    tau = 1.7
    for n in 2, 5, 20, 10_000:
        _, *a = grad(lambda x: mean_only(x, 1.0, 0.0)[0], randn(n)).tolist()  # x_hat_1 is affine in the other inputs
        variance = tau**2 * np.dot(a, a)
        if n == 10_000:
            printed("bn-noise-variance", {r"\Var(\hatx_i\midx_i)": variance, "N": n, r"\tau": tau}, slack=1e-6)
        numerator = evaluate(statements(BOXES["bn-noise-variance"])[0][2], Values({"N": n, r"\tau": tau}))
        assert numerator == pytest.approx(variance, rel=1e-12)


@proves("bn-noise-scale", r'=; "sothat"; \approx')
def _():
    """The batch's tau^2 is a quadratic form x^T A x, of variance 2 tau^4 tr A^2 for Gaussian x; its root is a chi."""
    tau = 1.7
    for n in 2, 5, 20:
        A = hessian(lambda x: x.var(correction=0), randn(n)) / 2
        variance = 2 * tau**4 * (A @ A).trace()
        _, _, exact = statements(BOXES["bn-noise-scale"])[0]
        close(evaluate(exact, Values({"N": n, r"\tau": tau})), variance)
    n = 10_000
    chi_mean = np.exp(lgamma(n / 2) - lgamma((n - 1) / 2)) * (2 / n) ** 0.5  # of chi with n - 1 degrees, over root n
    names = {r"\Var(\hat\tau^2)": 2 * tau**4 * (n - 1) / n**2, "N": n, r"\tau": tau}
    names[r"\Var(\frac{\hat\tau}{\tau})"] = (n - 1) / n - chi_mean**2
    printed("bn-noise-scale", names, slack=1e-7)


@proves("bn-noise-penalty", "=")
def _():
    for _ in range(20):
        y, w, x_hat, xi, p = *randn(4).tolist(), 0.3  # xi or xi' with probabilities p and 1 - p, mean 0
        draws = [(p, {r"\zeta": xi}), (1 - p, {r"\zeta": -p / (1 - p) * xi})]
        printed("bn-noise-penalty", {"y_d": y, "w": w, r"\bar x": x_hat}, draws=draws)


def bn_case(n):
    return randn(n), randn(()), randn(()), randn(n)


@proves("bn-mean-only-grad", "=; =")
def _():
    for n in range(1, 21):
        x, gamma, beta, g = bn_case(n)
        truth = grad(lambda x, c=(gamma, beta, g): c[2] @ mean_only(x, c[0], c[1]), x)
        if n > 1:
            names = {r"\gamma": gamma, r"\delta": g, "N": n, r"\one": torch.ones(n), "I": torch.eye(n)}
            names[r"\dd{L}{x}"] = truth
            printed("bn-mean-only-grad", names, {"i": n, "j": n})
        layer = MeanOnlyBatchNormLayer(1).double()
        layer.gamma.data.fill_(gamma)
        layer(x[:, None])
        close(layer.backward(g[:, None])[:, 0], truth)


@proves("bn-mean-only-params", "=; =")
def _():
    for n in range(1, 21):
        x, gamma, beta, g = bn_case(n)
        layer = MeanOnlyBatchNormLayer(1).double()
        layer(x[:, None])
        layer.backward(g[:, None])
        true_gamma = grad(lambda gamma, c=(x, beta, g): c[2] @ mean_only(c[0], gamma, c[1]), gamma)
        true_beta = grad(lambda beta, c=(x, gamma, g): c[2] @ mean_only(c[0], c[1], beta), beta)
        names = {r"\delta": g, r"\hat x": x - x.mean(), r"\dd{L}{\gamma}": true_gamma, r"\dd{L}{\beta}": true_beta}
        printed("bn-mean-only-params", names, {"i": n})
        close(layer.gamma.grad[0, 0], true_gamma)
        close(layer.beta.grad[0, 0], true_beta)


@proves("bn-large-batch", r"\to; (N\to\infty)")
def _():
    gamma, mean = 1.3, 0.4
    for n in 100, 10_000:
        x, g = randn(n), mean + randn(n)
        layer = MeanOnlyBatchNormLayer(1).double()
        layer.gamma.data.fill_(gamma)
        layer(x[:, None])
        assert size(layer.backward(g[:, None])[:, 0], gamma * (g - mean)) < 5 * gamma / n**0.5
    g = g - g.mean() + mean  # a batch whose mean is E[g], as in the limit
    names = {r"\gamma": gamma, r"\delta": g, r"\dd{L}{x}": layer.backward(g[:, None])[:, 0]}
    n = 100
    draws = [(0.25, {r"\delta": 4 * mean}), (0.75, {r"\delta": 0.0})]
    printed("bn-large-batch", names, {"i": n}, draws, words=[r"(N\to\infty)"])
    assert size(layer.backward(g[:, None])[:, 0], gamma * g) > gamma * mean / 2, "not gamma g, unless E[g] = 0"


@proves("bn-batch-of-one", "=; =; =; =; =")
def _():
    layer = MeanOnlyBatchNormLayer(3).double()
    layer.beta.data.copy_(randn(1, 3))
    x = randn(1, 3).requires_grad_()
    y = layer(x)
    assert torch.equal(y, layer.beta) and not layer.X_hat.any()
    g = randn(1, 3)
    assert not layer.backward(g).any() and not layer.gamma.grad.any()
    one = {
        "x_1": x[0, 0],
        r"\mu": x.mean(0)[0],
        r"\hat x_1": layer.X_hat[0, 0],
        "y_1": y[0, 0],
        r"\beta": layer.beta[0, 0],
    }
    one |= {r"\dd{L}{x_1}": layer.backward(g)[0, 0], r"\dd{L}{\gamma}": layer.gamma.grad[0, 0]}
    printed("bn-batch-of-one", {name: np.asarray(value.detach()) for name, value in one.items()})
    x2 = x.detach().clone().requires_grad_()
    gamma = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
    (g * (gamma * (x2 - x2.mean(0)))).sum().backward()
    assert not x2.grad.any() and not gamma.grad.any()


@proves("bn-full-grad", "=")
def _():
    for n in range(2, 21):
        for eps in 0.0, 0.1:
            x, gamma, beta, g = bn_case(n)

            def full(x, gamma=gamma, beta=beta, eps=eps):
                return gamma * (x - x.mean()) / (x.var(correction=0) + eps).sqrt() + beta

            root = (x.var(correction=0) + eps).sqrt()
            x_hat = (x - x.mean()) / root
            truth = grad(lambda x, g=g, full=full: g @ full(x), x)
            names = {r"\delta": g, r"\hat x": x_hat, r"\gamma": gamma, r"\epsilon": eps, "N": n}
            names[r"\hat\tau"] = x.std(correction=0)
            printed("bn-full-grad", names | {r"\dd{L}{x}": truth}, {"i": n, "j": n})
            assert abs(truth.sum()) < 1e-9
            if n > 2:
                assert (abs(truth @ x_hat) < 1e-9) == (eps == 0)


@works("batch-norm")
def _():
    x, gamma, beta = torch.tensor([1.0, 3.0]).double(), torch.tensor(2.0).double(), torch.tensor(1.0).double()
    delta = torch.tensor([1.0, 0.0]).double()
    truth = jacobian(lambda *p: delta @ mean_only(*p), (x, gamma, beta))
    names = {"x": x, r"\gamma": gamma, r"\beta": beta, r"\delta": delta, r"\mu": x.mean(), r"\hat x": x - x.mean()}
    names |= {"y": mean_only(x, gamma, beta), r"\hat\tau": x.std(correction=0), r"\epsilon": 0.0}
    names |= {rf"\dd{{L}}{{{name}}}": value for name, value in zip(("x", r"\gamma", r"\beta"), truth, strict=True)}
    worked("batch-norm", names, {"i": 2}, beside=[r"\hat x", r"\mp1"])
    assert grad(lambda x: delta @ ((x - x.mean()) / x.std(correction=0)), x).abs().max() < 1e-15


# ----------------------------------------------------------------------------------------- Q3: a two-layer network


def slopes(z, a):
    """phi' of the leaky ReLU."""
    return torch.where(z > 0, torch.ones_like(z), a * torch.ones_like(z))


class TwoLayers:
    """The network of the question with a fixed mask; its loss as a function of W1 and W2."""

    def __init__(self, D=5, H=7, K=4, slope=0.1, p=0.1):
        self.x, self.slope = randn(D), slope
        self.W1, self.b1, self.W2, self.b2 = randn(H, D), randn(H), randn(K, H), randn(K)
        self.y = torch.eye(K, dtype=torch.float64)[torch.randint(K, ())]
        self.m = (torch.rand(H) >= p).double() / (1 - p)
        self.z1 = self.W1 @ self.x + self.b1
        self.d = self.m * torch.where(self.z1 > 0, self.z1, slope * self.z1)
        self.yh = torch.softmax(self.W2 @ self.d + self.b2, 0)
        self.slopes = slopes(self.z1, slope)
        self.names = {
            r"\yh": self.yh,
            "y": self.y,
            "d": self.d,
            "x": self.x,
            "W_2": self.W2,
            "m": self.m,
            "z_1": self.z1,
        }
        self.names[r"\varphi'"] = lambda z: np.where(z > 0, 1.0, slope)

    def loss(self, W1=None, b1=None, W2=None, b2=None, m=None):
        W1, b1, W2, b2, m = (
            given if given is not None else own
            for given, own in zip((W1, b1, W2, b2, m), (self.W1, self.b1, self.W2, self.b2, self.m), strict=True)
        )
        h = torch.nn.functional.leaky_relu(W1 @ self.x + b1, self.slope)
        return -(self.y * torch.log_softmax(W2 @ (m * h) + b2, 0)).sum()

    def grad_W1(self):
        return grad(lambda W1: self.loss(W1=W1), self.W1)


def networks(n=20):
    return [TwoLayers(D, H, K) for D, H, K in zip(range(1, n + 1), range(n, 0, -1), [2, 3, 5, 9] * n, strict=False)]


@proves("softmax-jacobian", "=; =")
def _():
    for K in range(1, 21):
        z = 2 * randn(K)
        yh = torch.softmax(z, 0)
        J = jacobian(lambda z: torch.softmax(z, 0), z)
        if K > 1:
            printed("softmax-jacobian", {r"\yh": yh, "J": J, r"\dd{\yh}{z}": J}, {"i": K, "k": K})
    z = sympy.symbols("z1:4", real=True)
    yh = [sympy.exp(a) / sum(map(sympy.exp, z)) for a in z]
    for k in range(3):
        for i in range(3):
            assert sympy.simplify(sympy.diff(yh[k], z[i]) - yh[k] * (int(i == k) - yh[i])) == 0


@proves("softmax-ce-grad", "=")
def _():
    for K in range(2, 21):
        z, y = 2 * randn(K), torch.eye(K, dtype=torch.float64)[K // 2]
        truth = grad(lambda z, y=y: -(y * torch.softmax(z, 0).log()).sum(), z)
        printed("softmax-ce-grad", {r"\yh": torch.softmax(z, 0), "y": y, r"\dd{L}{z_2}": truth})
        assert abs(truth.sum()) < 1e-14


@proves("mlp-grad-w2", "=; =")
def _():
    for p in networks():
        true_W2, true_b2 = grad(lambda W2, p=p: p.loss(W2=W2), p.W2), grad(lambda b2, p=p: p.loss(b2=b2), p.b2)
        printed("mlp-grad-w2", p.names | {r"\dd{L}{W_2}": true_W2, r"\dd{L}{b_2}": true_b2})


@proves("mlp-grad-w1", "=; =; =")
def _():
    for p in networks():
        delta = grad(lambda b1, p=p: p.loss(b1=b1), p.b1)
        printed("mlp-grad-w1", p.names | {r"\dd{L}{W_1}": p.grad_W1(), r"\dd{L}{b_1}": delta, r"\delta_1": delta})


@proves("mlp-batch-grad", "=; =; =")
def _():
    """Also with the layers themselves: FCLayer's W is W1 transposed, examples are rows, the mask is the layer's."""
    N, D, H, K, slope = 9, 5, 7, 4, 0.1
    fc1, act, drop, fc2 = FCLayer(D, H).double(), LeakyReLULayer(slope), DropoutLayer(0.1), FCLayer(H, K).double()
    X, Y = randn(N, D), torch.eye(K, dtype=torch.float64)[torch.randint(K, (N,))]
    logits = X
    for layer in fc1, act, drop, fc2:
        logits = layer(logits)
    M, Z1, W1, W2 = drop.noise, act.X, fc1.W.detach().T, fc2.W.detach().T

    def loss(W1, W2):
        hidden = M * torch.nn.functional.leaky_relu(X @ W1.T, slope)
        return -(Y * torch.log_softmax(hidden @ W2.T, 1)).sum()

    delta2 = torch.softmax(logits.detach(), 1) - Y
    true1, true2 = jacobian(loss, (W1, W2))
    true_delta1 = jacobian(
        lambda Z1: -(Y * torch.log_softmax((M * torch.nn.functional.leaky_relu(Z1, slope)) @ W2.T, 1)).sum(), Z1
    )
    names = {"X": X, "A": fc2.X, "M": M, "Z_1": Z1, "W_2": W2, r"\Delta_2": delta2, r"\Delta_1": true_delta1}
    names |= {r"\varphi'": lambda z: np.where(z > 0, 1.0, slope), r"\dd{L}{W_1}": true1, r"\dd{L}{W_2}": true2}
    printed("mlp-batch-grad", names)
    delta = delta2
    for layer in fc2, drop, act, fc1:
        delta = layer.backward(delta)
    close(fc1.W.grad.T, true1)
    close(fc2.W.grad.T, true2)


@proves("mlp-mask-mean", r"=\ne=; (wh\ne0)")
def _():
    def loss(h, w, m):
        return softplus(-w * m * h)  # of z_2 = (wmh, 0) and the target (1, 0)

    for w, h in ((1.0, 1.0), (1.0, -1.0), (2.0, 0.3), (-0.4, 1.5)):
        at = {
            m: grad(lambda h, w=w, m=m: loss(h, w, m), torch.tensor(h, dtype=torch.float64)).item()
            for m in (0, 1, 1 / 0.9)
        }
        draws = [(0.1, {r"\dd{L}{h}": at[0]}), (0.9, {r"\dd{L}{h}": at[1 / 0.9]})]
        names = {"w": w, "h": h, r"\sigma": lambda z: 1 / (1 + np.exp(-z)), r"\dd{L}{h}|_{m=1}": at[1]}
        printed("mlp-mask-mean", names, draws=draws, words=[r"(wh\ne0)"])
        quotient = 0.9 * at[1 / 0.9] / at[1]
        assert h * w not in (1, -1) or quotient == pytest.approx({1: 0.92, -1: 1.03}[h * w], abs=0.005)  # as printed
    p = TwoLayers(D=2, H=3, K=2, p=0.1)  # nor is one number right for all weights of a network with three units
    mean = torch.zeros_like(p.W1)
    for keep in np.ndindex(2, 2, 2):  # all eight masks, each with its probability
        m = torch.tensor(keep, dtype=torch.float64)
        probability = (0.9**m * 0.1 ** (1 - m)).prod()
        mean += probability * grad(lambda W1, m=m: p.loss(W1=W1, m=m / 0.9), p.W1)
    quotients = mean / grad(lambda W1: p.loss(W1=W1, m=torch.ones(3, dtype=torch.float64)), p.W1)
    assert quotients.max() - quotients.min() > 0.01


@works("two-layers")
def _():
    p = TwoLayers(D=2, H=3, K=3, slope=0.1)
    log2 = np.log(2)
    p.x, p.y = torch.tensor([1.0, 2.0]).double(), torch.tensor([0.0, 0.0, 1.0]).double()
    p.m = torch.tensor([1.0, 1.0, 0.0]).double() / 0.9
    p.W1 = torch.tensor([[1.0, 0.0], [1.0, -1.0], [0.0, 1.0]]).double()
    p.W2 = torch.tensor([[0.9 * log2, 0, 1], [0, -9 * log2, 0], [0, 0, -1]], dtype=torch.float64)
    p.b1 = p.b2 = torch.zeros(3).double()
    z1 = p.W1 @ p.x
    h = torch.where(z1 > 0, z1, 0.1 * z1)
    d = p.m * h
    z2 = p.W2 @ d

    def loss(z2):
        return -(p.y * torch.log_softmax(z2, 0)).sum()

    names = {
        "x": p.x,
        "y": p.y,
        "m": p.m,
        "a": 0.1,
        "p": 0.1,
        "W_1": p.W1,
        "W_2": p.W2,
        "z_1": z1,
        "h": h,
        "d": d,
        "z_2": z2,
    }
    names |= {r"\yh": torch.softmax(z2, 0), "L": loss(z2), r"\delta_2": grad(loss, z2), r"\dd{L}{W_1}": p.grad_W1()}
    names |= {r"\dd{L}{d}": grad(lambda d: loss(p.W2 @ d), d), r"\dd{L}{h}": grad(lambda h: loss(p.W2 @ (p.m * h)), h)}
    worked(
        "two-layers",
        names | {r"\delta_1": grad(lambda b1: p.loss(b1=b1), p.b1)},
        beside=[r"W_2\T\delta_2", r"\name", r"\shape", "L", r"\op", "L", "z_2", "d", "h", "z_1", r"\yh-y", r"W_2\T"],
    )


# -------------------------------------------------------------------------- Q4: the Jacobian of the gradient


def smooth(x):
    return torch.sin(x[0] * x[1]) + torch.exp(x[2]) * x[0] ** 2 - x[1] ** 3 * x[2]


def second_differences(f, x, h=1e-4):
    """The Hessian from values of f alone."""
    steps = h * torch.eye(len(x), dtype=torch.float64)
    rows = [[f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b) for b in steps] for a in steps]
    return torch.stack([torch.stack(row) for row in rows]) / (4 * h * h)


@proves("jacobian-of-gradient")
def _():
    pinned("jacobian-of-gradient", r"J_{\nabla F} = H = H\T\qquad(F\in C^2;\ 3\times3)")
    for _ in range(20):
        x = randn(3)
        J = jacobian(lambda x: jacobian(smooth, x, create_graph=True), x)
        assert J.shape == (3, 3)
        close(J, second_differences(smooth, x), 1e-6)
        close(J, J.T)
    for x in np.random.default_rng(0).uniform(-2, 2, (20, 2)):
        h = 1e-5 * np.eye(2)
        J = np.stack([(rosenbrock(x + e)[1] - rosenbrock(x - e)[1]) / 2e-5 for e in h], axis=1)
        np.testing.assert_allclose(J, rosenbrock_hessian(x)[2], rtol=1e-6, atol=1e-4)


def peano_mixed():
    """(d_y d_x phi, d_x d_y phi) at the origin; phi is 0 on both axes, so its first derivatives there are limits."""
    x, y, h = sympy.symbols("x y h", real=True)
    phi = x * y * (x**2 - y**2) / (x**2 + y**2)
    assert phi.subs(x, 0) == 0 and phi.subs(y, 0) == 0
    phi_x, phi_y = sympy.limit(phi.subs(x, h) / h, h, 0), sympy.limit(phi.subs(y, h) / h, h, 0)
    assert sympy.simplify(phi_x + y) == 0 and sympy.simplify(phi_y - x) == 0
    return phi_x.diff(y), phi_y.diff(x)


@proves("peano")
def _():
    pinned("peano", r"\partial_2\partial_1F(0,0) = -1 \ne +1 = \partial_1\partial_2F(0,0)")
    assert peano_mixed() == (-1, 1)


@proves("hessian-vector")
def _():
    pinned("hessian-vector", r"Hv = \frac{d}{d\rho}\,\nabla F(x+\rho v)\Big|_{\rho=0}")
    for _ in range(20):
        x, v = randn(3), randn(3)
        _, along = torch.autograd.functional.jvp(lambda x: jacobian(smooth, x, create_graph=True), x, v)
        close(along, hessian(smooth, x) @ v)


@works("hessian")
def _():
    def F(x):
        return x[0] * x[1] ** 2 + torch.exp(x[2])

    x, v = torch.tensor([2.0, 3.0, 0.0]).double(), torch.tensor([1.0, 1.0, 0.0]).double()
    J = jacobian(lambda x: jacobian(F, x, create_graph=True), x)
    names = {
        "x": x,
        "F": F(x),
        r"\nablaF": grad(F, x),
        r"J_{\nablaF}": J,
        "v": v,
        "H": second_differences(F, x).round(decimals=3),
    }
    worked(
        "hessian",
        names | {"x_1": 2, "x_2": 3, "x_3": 0, r"\rho": 0},
        beside=[r"\big((3+\rho)^2,\, 2(2+\rho)(3+\rho),\, 1\big)", r"x + \rho v", "(6, 10, 0)"],
    )


# ------------------------------------------------------------------------------ Q5: noise on a linear neuron


def noisy_loss(w, x, y_d, delta):
    return 0.5 * (y_d - (delta * w * x).sum()) ** 2


def two_point_noise(n, s):
    """All 2^n equally likely draws of independent noise 1 - s or 1 + s: mean 1, variance s^2, exactly.

    These are also the nodes of Gauss-Hermite quadrature: the mean of a quadratic is that over N(1, s^2).
    """
    signs = 2 * torch.cartesian_prod(*[torch.arange(2)] * n).reshape(-1, n) - 1
    return list(1 + s * signs.double())


@proves("dropout-grad", "=")
def _():
    for n in range(1, 11):
        w, x, y_d, delta = randn(n), randn(n), randn(()), 1 + 0.5 * randn(n)
        truth = grad(lambda w, a=(x, y_d, delta): noisy_loss(w, *a), w)
        names = {r"\nu": delta, "x": x, "w": w, "y_d": y_d, r"\dd{J_1}{w}": truth}
        printed("dropout-grad", names, {"i": n, "k": n})


@proves("dropout-mean-loss", "=")
def _():
    for n in range(1, 7):
        w, x, y_d, s = randn(n), randn(n), randn(()), 0.7
        losses = [noisy_loss(w, x, y_d, delta) for delta in two_point_noise(n, s)]
        draws = [(1 / len(losses), {"J_1": loss.item()}) for loss in losses]
        printed("dropout-mean-loss", {"w": w, "x": x, "y_d": y_d, "s": s}, {"k": n}, draws)


@proves("dropout-mean-grad", "=")
def _():
    for n in range(1, 7):
        w, x, y_d, s = randn(n), randn(n), randn(()), 0.7
        grads = [grad(lambda w, a=(x, y_d, d): noisy_loss(w, *a), w) for d in two_point_noise(n, s)]
        draws = [(1 / len(grads), {r"\dd{J_1}{w}": g.numpy()}) for g in grads]
        printed("dropout-mean-grad", {"w": w, "x": x, "y_d": y_d, "s": s}, {"i": n}, draws)


@proves("dropout-ridge", "=")
def _():
    X, y, s2 = randn(30, 4), randn(30), 0.5
    G = X.T @ X

    def mean_loss(w):
        return (0.5 * (y - X @ w) ** 2 + s2 / 2 * (X**2 @ w**2)).sum()

    zero = torch.zeros(4, dtype=torch.float64)
    w = -torch.linalg.solve(hessian(mean_loss, zero), grad(mean_loss, zero))  # the minimum: mean_loss is quadratic
    close(grad(mean_loss, w), zero)
    printed("dropout-ridge", {"X": X, "y": y, "s": s2**0.5, "w^*": w})
    assert torch.linalg.eigvalsh(hessian(mean_loss, w)).min() > 0
    lam = s2 * (X**2).sum(0)
    close(w, torch.linalg.solve(G + lam.diag(), X.T @ y))


@proves("dropout-bernoulli", "==")
def _():
    p = sympy.symbols("p", positive=True)
    mean = (1 - p) / (1 - p)
    assert sympy.simplify((1 - p) * (1 / (1 - p)) ** 2 - mean**2 - p / (1 - p)) == 0
    for p in 0.1, 0.5, 0.9:
        delta = np.array([0.0, 1 / (1 - p)])
        variance = np.average(delta**2, weights=[p, 1 - p]) - np.average(delta, weights=[p, 1 - p]) ** 2
        printed("dropout-bernoulli", {"p": p, "s": variance**0.5, r"\Var\nu": variance})


@proves("dropout-scale-invariance", '=; "hence"; =')
def _():
    X, y, s2, c = randn(30, 4), randn(30), 0.5, torch.tensor([0.1, 1.0, 7.0, 100.0], dtype=torch.float64)

    def solution(X, plain=False):
        G = X.T @ X
        return torch.linalg.solve(G + s2 * (torch.eye(4).double() if plain else G.diag().diag()), X.T @ y)

    printed("dropout-scale-invariance", {"X": X, "R": c.diag(), "w^*": lambda X: solution(torch.from_numpy(X))})
    assert size(X * c @ solution(X * c, plain=True), X @ solution(X, plain=True)) > 1e-3, "plain L2 is not invariant"


@proves("dropout-logistic", '=; "forGaussiannoise"')
def _():
    """Gauss-Hermite quadrature of the mean over z~ ~ N(z, s^2 sum w^2 x^2); the remainder is Taylor's, of order s^4."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(60))
    w, x = torch.tensor([0.5, -0.4, 0.3]).double(), torch.tensor([0.6, 0.8, 0.5]).double()
    z, spread2 = w @ x, (w**2 * x**2).sum()
    yh = torch.sigmoid(z)
    for s, y in product((0.1, 0.05, 0.025), (0.0, 1.0)):
        noisy = z + s * spread2.sqrt() * nodes
        exact = (weights * (softplus(noisy) - y * noisy)).sum() / weights.sum()
        names = {"z": z, "y": y, r"\yh": yh, "s": s, "w": w, "x": x, "O": Remainder(s**4)}
        names[r"\E[\softplus(\tildez)-y\tildez]"] = exact
        bound = 3 * s**4 * spread2.item() ** 2 / 24 / 8 + 1e-14  # the fourth derivative is at most 1/8
        printed("dropout-logistic", names, {"k": 3}, words=['"for Gaussian noise"'], slack=bound)


@works("dropout")
def _():
    w, x, y_d = torch.ones(1).double(), torch.tensor([2.0]).double(), 3.0
    noise = [torch.zeros(1).double(), 2 * torch.ones(1).double()]
    draws = [
        (
            0.5,
            {
                "J_1": noisy_loss(w, x, y_d, nu).item(),
                r"\dd{J_1}{w}": grad(lambda w, nu=nu: noisy_loss(w, x, y_d, nu), w),
            },
        )
        for nu in noise
    ]
    draws = [(p, {name: np.squeeze(value) for name, value in names.items()}) for p, names in draws]
    best = np.linspace(0, 2, 2001)
    mean_loss = sum(0.5 * 0.5 * (3 - nu.item() * best * 2) ** 2 for nu in noise)
    names = {"w": w, "x": x, "y_d": y_d, "p": 0.5, "s": np.std([0, 2]), "w^*": best[mean_loss.argmin()]}
    worked(
        "dropout",
        names,
        draws=draws,
        beside=[r"\nu", r"\frac12", r"\frac12\cdot3^2", r"\frac12(-1)^2", "0", r"-2\cdot2\cdot(-1)"],
    )


# --------------------------------------------------------------------------------------------- Q6: Newton's method


def exponential_f(x):
    """f = g' for g = exp(x) - 2x, with f' and f''."""
    return np.exp(x) - 2, np.exp(x), np.exp(x)


ROOT_OF_F = np.log(2)


@proves("newton-step", "==")
def _():
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
def _():
    functions = {"f": lambda x: x**3 + x**2 - 2, "f'": lambda x: 3 * x**2 + 2 * x, "f''": lambda x: 6 * x + 2}
    f, f1, _ = functions.values()
    words = ['"for some"', r"\xi_t", '"between"', "x_t", "x^*"]
    for x in np.random.default_rng(0).uniform(0.3, 3, 50):
        e, e_next = x - 1, x - f(x) / f1(x) - 1
        xi = ((e * f1(x) - f(x)) / e**2 - 1) / 3  # where f''(xi) / 2 e^2 is the numerator
        names = {"x_t": x, "e_t": e, "e_{t+1}": e_next, r"\xi_t": xi}
        printed("newton-error", names | functions, words=words, slack=1e-11)
        assert min(x, 1) < xi < max(x, 1)


@proves("newton-bound", r'\le; "and"; <; "implies"; e_t\to0')
def _():
    words = ['"implies"', r"e_t\to0"]
    for root, x in (1, 0.6), (1, 0.9), (-1, -0.7):  # f = 1.5 (x^2 - 1): f'' = B, and c = |f'(x)| between x and the root
        e, e_next = x - root, x - (x**2 - 1) / (2 * x) - root
        names = {"e_t": e, "e_{t+1}": e_next, "B": 3.0, "c": 3 * abs(x)}
        printed("newton-bound", names | {"e_0": -2 * names["c"] / 3}, words=words, slack=1e-12, tight=True)
        printed("newton-bound", names | {"B": 3.1, "e_0": e}, words=words)
    for radius in 0.1, 0.3, 0.5:
        M, m = np.exp(ROOT_OF_F + radius), np.exp(ROOT_OF_F - radius)  # of |f''| and |f'| on the interval
        for e0 in np.linspace(-radius, radius, 21):
            if abs(e0) < 2 * m / M and e0:
                x, q = ROOT_OF_F + e0, M / (2 * m) * abs(e0)
                for n in range(1, 6):
                    f, f1, _ = exponential_f(x)
                    e, x = x - ROOT_OF_F, x - f / f1
                    assert abs(x - ROOT_OF_F) <= M / (2 * m) * e**2 + 1e-15
                    assert M / (2 * m) * abs(x - ROOT_OF_F) <= q ** (2**n) + 1e-15
                assert abs(x - ROOT_OF_F) < 1e-3 * radius


@proves("newton-constant", "=; ==")
def _():
    """In exact arithmetic with 60 digits: the order, C, and a remainder that falls like e^3."""
    f = (lambda x: sympy.exp(x) - 2, sympy.exp), (lambda x: x**3 - 2, lambda x: 3 * x**2)
    for (function, derivative), root, C in zip(f, (sympy.log(2), sympy.cbrt(2)), (1 / 2, 2 ** (-1 / 3)), strict=True):
        x = sympy.N(root, 60) + sympy.Float("0.1", 60)
        errors = []
        for _ in range(5):
            errors.append(x - sympy.N(root, 60))
            x = x - function(x) / derivative(x)
        order = sympy.log(errors[4] / errors[3]) / sympy.log(errors[3] / errors[2])
        assert 1.99 < order < 2.01
        assert abs(errors[4] / errors[3] ** 2 - C) < 1e-6
        remainders = [abs(b - sympy.N(C, 17) * a**2) / abs(a) ** 3 for a, b in pairwise(errors)]
        assert max(remainders) < 2
    e = 1e-3
    for x, C in (1.0, 8 / 10), (2.0, 14 / 32):  # roots of f = x^3 + x^2 - 2 and - 12; the rest is below e^3
        f, f1, f2 = (lambda x: x**3 + x**2), (lambda x: 3 * x**2 + 2 * x), (lambda x: 6 * x + 2)
        names = {"x^*": x, "C": C, "f'": f1, "f''": f2, "g''": f1, "g'''": f2, "e_t": e, "O": Remainder(e**3)}
        names["e_{t+1}"] = e - (f(x + e) - f(x)) / f1(x + e)
        printed("newton-constant", names, slack=2e-9)
    symbol = sympy.symbols("x")
    g = sympy.exp(symbol) - 2 * symbol
    assert g.diff(symbol, 3).subs(symbol, sympy.log(2)) / (
        2 * g.diff(symbol, 2).subs(symbol, sympy.log(2))
    ) == sympy.Rational(1, 2)


@proves("newton-third-order", r"g=\ln\cosh; \to")
def _():
    for e in 0.01, -0.02:
        names = {"e_t": e, "e_{t+1}": e - np.tanh(e) * np.cosh(e) ** 2}
        printed("newton-third-order", names, words=[r"g=\ln\cosh"], slack=1e-3)


@proves("newton-multiple-root", r"\to")
def _():
    for m in 2, 3, 5:
        x = 0.5
        for _ in range(60):
            e = x
            f, f1 = x**m * (1 + x), m * x ** (m - 1) * (1 + x) + x**m  # (x - 0)^m h(x), h = 1 + x
            x = x - f / f1
        assert abs(x / e - (1 - 1 / m)) < 1e-4 + 10 * abs(e)
    for r in 3, 5:  # g' = x^r, whose Newton step divides x by the same number always
        _, history = Newton(lambda t, r=r: (t[0] ** (r + 1) / (r + 1), t**r, r * t[None] ** (r - 1)), [1.0])
        for a, b in pairwise(history[:6]):
            printed("newton-multiple-root", {"r": r, "e_t": a.theta[0], "e_{t+1}": b.theta[0]}, slack=1e-12)


@proves("newton-cycle")
def _():
    pinned("newton-cycle", r"f(x) = x^3-2x+2:\qquad x_0 = 0 \text{ gives } 0, 1, 0, 1, \dots")
    x, visited = sympy.Integer(0), []
    for _ in range(6):
        visited.append(x)
        x = x - (x**3 - 2 * x + 2) / (3 * x**2 - 2)
    assert visited == [0, 1, 0, 1, 0, 1]


@proves("newton-log-cosh", r'g=\ln\cosh; =; "divergesfor"; |x_0|>1.08866\ldots')
def _():
    for x_n in -1.5, -0.3, 0.7, 2.0:
        x_next = x_n - np.tanh(x_n) * np.cosh(x_n) ** 2
        words = [r"g=\ln\cosh", '"diverges for"', r"|x_0|>1.08866\ldots"]
        printed("newton-log-cosh", {"x_t": x_n, "x_{t+1}": x_next}, words=words, slack=1e-12)
    x = sympy.symbols("x", real=True)
    g = sympy.log(sympy.cosh(x))
    difference = g.diff(x) / g.diff(x, 2) - sympy.sinh(2 * x) / 2
    assert all(abs(difference.subs(x, value).evalf()) < 1e-12 for value in (-2, -0.3, 0.7, 1.5))
    threshold = float(sympy.nsolve(sympy.sinh(2 * x) - 4 * x, x, 1))
    assert abs(threshold - 1.08866) < 5e-6
    assert abs(threshold - np.sinh(2 * threshold) / 2 + threshold) < 1e-12  # leads to its mirror image
    for start in np.linspace(0.05, 1.08, 30):
        assert abs(start - np.sinh(2 * start) / 2) < start
    for start in 1.0887, *np.linspace(1.09, 3, 30):
        path = [start]
        while abs(path[-1]) < 300 and len(path) < 100:
            path.append(path[-1] - np.sinh(2 * path[-1]) / 2)
        assert abs(path[-1]) >= 300 and all(abs(b) > abs(a) for a, b in pairwise(path))
    damped, _ = Newton(lambda t: (np.log1p(np.sinh(t[0]) ** 2) / 2, np.tanh(t), np.cosh(t[None]) ** -2), [1.2])
    assert abs(damped[0]) < 1e-9


@proves("newton-affine", "=; =")
def _():
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
def _():
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


def logits_and_targets():
    for K in range(2, 22):
        yield 2 * randn(K), torch.softmax(randn(K), 0)


@proves("ce-grad", "=; =")
def _():
    for z, y in logits_and_targets():
        names = {"z": z, "y": y, r"\yh": torch.softmax(z, 0), "L": lambda z, y=y: cross_entropy(torch.from_numpy(z), y)}
        printed("ce-grad", names | {r"\nabla_zL": grad(lambda z, y=y: cross_entropy(z, y), z)})


@proves("ce-hessian", r"=; =; H_{ij}=-\yh_i\yh_j; (i\nej)")
def _():
    for z, y in logits_and_targets():
        yh = torch.softmax(z, 0)
        H = hessian(lambda z, y=y: cross_entropy(z, y), z)
        off_diagonal = [r"H_{ij}=-\yh_i\yh_j", r"(i\nej)"]
        printed("ce-hessian", {"H": H, r"\yh": yh}, {"i": len(z)}, words=off_diagonal)
        for i, j in [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]:
            values = Values({r"\yh": yh.numpy()}, {}).bind(i=i, j=j)
            assert evaluate(statements(BOXES["ce-hessian"])[2][2], values) == pytest.approx(H[i, j].item(), abs=1e-12)


@proves("ce-psd", r"==\ge")
def _():
    for z, _ in logits_and_targets():
        yh, v = torch.softmax(z, 0), randn(len(z))
        H = yh.diag() - torch.outer(yh, yh)
        variance = (yh * (v - yh @ v) ** 2).sum()
        names = {r"\yh": yh, "v": v, "H": H, r"\Var_{\yh}(v)": variance}
        printed("ce-psd", names, {"i": len(z), "j": len(z)})
        assert torch.linalg.eigvalsh(H).min() > -1e-12


@proves("ce-null-space")
def _():
    pinned(
        "ce-null-space",
        r"v\T Hv = 0 \iff v = \rho\one;\qquad \ker H = \operatorname{span}(\one),\quad \operatorname{rank}H = K-1",
    )
    for z, _ in logits_and_targets():
        yh = torch.softmax(z, 0)
        H = yh.diag() - torch.outer(yh, yh)
        close(H @ torch.ones_like(z), torch.zeros_like(z), 1e-14)
        eigenvalues, vectors = torch.linalg.eigh(H)
        assert eigenvalues[0].abs() < 1e-12 and eigenvalues[1] >= yh.min() * (1 - 1e-6), "rank K - 1: interlacing"
        assert vectors[:, 0].std() < 1e-8


@proves("ce-lambda-max", r"\le")
def _():
    for z, _ in logits_and_targets():
        yh = torch.softmax(z, 0)
        assert torch.linalg.eigvalsh(yh.diag() - torch.outer(yh, yh)).max() <= 0.5 + 1e-12
    for z in torch.zeros(2).double(), torch.tensor([40.0, 40.0, 0.0, 0.0]).double():
        yh = torch.softmax(z, 0)
        printed("ce-lambda-max", {"H": yh.diag() - torch.outer(yh, yh)}, tight=True)
        printed("ce-lambda-max", {"H": 0.9 * (yh.diag() - torch.outer(yh, yh))})


@proves("ce-infimum")
def _():
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
def _():
    for K, D in (2, 3), (3, 2), (4, 5):
        x, y, W = randn(D), torch.softmax(randn(K), 0), randn(K * D)
        H_W = hessian(lambda W, c=(x, y, K, D): cross_entropy(W.reshape(c[2], c[3]) @ c[0], c[1]), W)
        yh = torch.softmax(W.reshape(K, D) @ x, 0)
        names = {"H": yh.diag() - torch.outer(yh, yh), "x": x, r"\nabla^2_WL": H_W}
        printed("ce-convex-linear", names, words=[r'(z=Wx,\ "rowsof"W"stacked")'])
        assert torch.linalg.eigvalsh(H_W).min() > -1e-12


@proves("ce-nonconvex-network")
def _():
    pinned("ce-nonconvex-network", r"z = W_2\tanh(W_1x):\quad \lambda_{\min}(\nabla^2L) < 0\ \text{ at some weights.}")
    x, y = randn(3), torch.eye(2, dtype=torch.float64)[0]

    def loss(weights):
        W1, W2 = weights[:12].reshape(4, 3), weights[12:].reshape(2, 4)
        return cross_entropy(W2 @ torch.tanh(W1 @ x), y)

    at_zero = hessian(loss, torch.zeros(20, dtype=torch.float64))
    close(torch.linalg.eigvalsh(at_zero).min(), -(torch.softmax(torch.zeros(2), 0) - y).norm() * x.norm())


@works("cross-entropy")
def _():
    z, y, v = (
        torch.tensor([2.0, 1, 1]).double().log(),
        torch.tensor([0.0, 1, 0]).double(),
        torch.tensor([1.0, 0, -1]).double(),
    )
    H = hessian(lambda z: cross_entropy(z, y), z)
    yh = torch.softmax(z, 0)
    names = {"z": z, "y": y, "v": v, r"\yh": yh, "H": H, "L": cross_entropy(z, y), r"\one": torch.ones(3)}
    names |= {r"\nabla_zL": grad(lambda z: cross_entropy(z, y), z), r"\Var_{\yh}(v)": (yh * (v - yh @ v) ** 2).sum()}
    worked("cross-entropy", names, beside=[])


# ------------------------------------------------------------------------------------ the document itself


@pytest.mark.parametrize("label", ANSWERS)
def test_answer(label):
    ANSWERS[label]()


@pytest.mark.parametrize("label", WORKED)
def test_example(label):
    WORKED[label]()


@pytest.mark.proof
@pytest.mark.parametrize("label", ANSWERS)
def test_a_slip_in_the_print_is_noticed(label, monkeypatch):
    for slip in slips(BOXES[label]):
        noticed(slip, BOXES, label, ANSWERS[label], monkeypatch)


@pytest.mark.proof
@pytest.mark.parametrize("label", WORKED)
def test_a_slip_in_an_example_is_noticed(label, monkeypatch):
    text = EXAMPLES[label]
    for formula in formulas(text):
        for slip in misprints(formula) if any(len(s) > 1 for s in statements(formula)) else ():
            noticed(text.replace(formula, slip, 1), EXAMPLES, label, WORKED[label], monkeypatch)


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
    macros = dict(
        re.findall(r"^\\(?:newcommand|DeclareMathOperator){(\\\w+)}((?:\[\d\])?{.*})$", SOURCES["notation.tex"], re.M)
    )
    assert macros[r"\yh"] == r"{\hat y}" and macros[r"\one"] == r"{\mathbf 1}" and macros[r"\T"] == r"{^{\!\top}}"
    assert macros[r"\dd"] == r"[2]{\frac{\partial #1}{\partial #2}}" and macros[r"\E"] == r"{\mathbb E}"
    assert [macros[rf"\{name}"] for name in ("Var", "diag", "softplus", "lse")] == [
        "{Var}",
        "{diag}",
        "{softplus}",
        "{logsumexp}",
    ]


def test_the_readme_maps_every_question_to_its_answers_and_sections():
    """README's table lists the labels of each question's file and the notebook sections that the file refers to."""
    table = re.findall(
        r"^\| (Q\d) [^|]*\| ([^|]*) \| [^|]* \| ([^|]*) \|$", (ROOT / "README.md").read_text("utf-8"), re.M
    )
    found = []
    for name, text in SOURCES.items():
        if re.match(r"q\d_", name):
            sections = re.findall(r"\\notebook{(\d)}{([0-9.]+?)\.?-", text)
            sections = list(dict.fromkeys(f"0{notebook} §{section}" for notebook, section in sections))
            found.append(
                (name[:2].upper(), ", ".join(sections), ", ".join(re.findall(r"\\answer{([a-z0-9-]+)}", text)))
            )
    assert table == found


def test_the_notebook_headings_that_the_theory_links_to_exist():
    for number, anchor in re.findall(r"\\notebook{(\d)}{([0-9.]+-[^}]*)}", "".join(SOURCES.values())):
        (path,) = (ROOT / "notebooks").glob(f"0{number}_*.ipynb")
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        headings = re.findall("^#+ (.*)$", text, re.M)
        assert anchor in [heading.replace(" ", "-") for heading in headings], (number, anchor)
