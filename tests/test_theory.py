"""Every boxed answer of theory/ checked, every erratum refuted, and the PDF fresh and complete.

A check is registered under the label of its box (\\answer{label}{...}) and evaluates the formula as printed there,
on random inputs in float64 or symbolically. An erratum's check returns how far the report's formula is from the truth.
"""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import numpy as np
import pytest
import sympy
import torch
from torch.autograd.functional import hessian, jacobian
from torch.nn.functional import softplus

from layers import DropoutLayer, FCLayer, LeakyReLULayer, MeanOnlyBatchNormLayer
from optim import SGD, Newton, rosenbrock, rosenbrock_hessian

ROOT = Path(__file__).parents[1]
THEORY = ROOT / "theory"
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in sorted(THEORY.glob("*.tex"))}
ANSWERS, ERRATA = {}, {}


def registry(checks):
    """A decorator that enters a check under its label."""

    def for_label(label):
        def register(check):
            assert label not in checks, label
            checks[label] = check
            return check

        return register

    return for_label


proves, refutes = registry(ANSWERS), registry(ERRATA)


def close(ours, truth, tolerance=1e-10):
    """The largest difference is below the tolerance, relative to the largest entry of the truth (or to 1)."""
    ours, truth = torch.as_tensor(ours), torch.as_tensor(truth)
    assert ours.shape == truth.shape, (ours.shape, truth.shape)
    assert (ours - truth).abs().max() <= tolerance * max(1.0, truth.abs().max().item())


def size(wrong, truth):
    """The largest difference between a wrong formula and the truth."""
    return (torch.as_tensor(wrong) - torch.as_tensor(truth)).abs().max().item()


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def grad(f, x):
    return jacobian(f, x)


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

    def E(self, w, b):
        yh = torch.sigmoid(self.X @ w + b)
        return -(self.y * yh.log() + (1 - self.y) * (1 - yh).log()).sum()

    def E_theta(self, theta):
        return self.E(theta[:-1], theta[-1])

    def minimum(self):
        theta = Newton(lambda t: evaluate(self.E_theta, t), np.zeros(len(self.theta)), stop_tolerance=1e-5)[0]
        return torch.from_numpy(theta)


def evaluate(f, theta):
    """(value, grad, hessian) of a torch function at a NumPy vector."""
    theta = torch.from_numpy(theta)
    return f(theta).item(), grad(f, theta).numpy(), hessian(f, theta).numpy()


def logistic_problems(n=20):
    return [Logistic(N, D) for N, D in zip(range(10, 10 + n), [1, 2, 3, 4] * n, strict=False)]


@proves("logistic-stable")
def _():
    for p in logistic_problems():
        z = p.X @ p.w + p.b
        close((softplus(z) - p.y * z).sum(), p.E(p.w, p.b))
    z, y = sympy.symbols("z y", real=True)
    sigma = 1 / (1 + sympy.exp(-z))
    printed = sympy.log(1 + sympy.exp(z)) - y * z
    asked = -(y * sympy.log(sigma) + (1 - y) * sympy.log(1 - sigma))
    assert sympy.simplify(sympy.diff(printed - asked, z)) == 0 and sympy.simplify((printed - asked).subs(z, 0)) == 0
    z = torch.tensor([-800.0, 800.0], dtype=torch.float64)  # where exp overflows and sigma is 0 or 1
    for y, truth in (torch.tensor([0.0, 1.0]), [0.0, 0.0]), (torch.tensor([1.0, 0.0]), [800.0, 800.0]):
        stable = z.clamp(min=0) + torch.log1p(torch.exp(-z.abs())) - y * z
        close(stable, torch.tensor(truth, dtype=torch.float64))


@proves("logistic-grad-w")
def _():
    for p in logistic_problems():
        close(p.X.T @ (p.yh - p.y), grad(lambda w, p=p: p.E(w, p.b), p.w))


@proves("logistic-grad-b")
def _():
    for p in logistic_problems():
        close((p.yh - p.y).sum(), grad(lambda b, p=p: p.E(p.w, b), p.b))


@proves("logistic-stationary")
def _():
    p = Logistic(200, 3)
    theta = p.minimum()
    yh = torch.sigmoid(p.X1 @ theta)
    close(grad(p.E_theta, theta), torch.zeros(4, dtype=torch.float64), 1e-5)
    close(p.X.T @ (yh - p.y), torch.zeros(3, dtype=torch.float64), 1e-5)
    close(yh.sum(), p.y.sum(), 1e-5)
    assert (yh - p.y).abs().min() > 0.01, "stationary, though no prediction equals its target"


@proves("logistic-update")
def _():
    for p in logistic_problems():
        w, b = p.w.clone().requires_grad_(), p.b.clone().requires_grad_()
        p.E(w, b).backward()
        SGD([w, b], 0.01).step()
        close(p.w - 0.01 * p.X.T @ (p.yh - p.y), w.detach())
        close(p.b + 0.01 * (p.y - p.yh).sum(), b.detach())


@proves("logistic-hessian")
def _():
    for p in logistic_problems():
        H = p.X1.T @ (p.yh * (1 - p.yh)).diag() @ p.X1
        close(H, hessian(p.E_theta, p.theta))
        assert torch.linalg.eigvalsh(H).min() > 0, "random columns have full rank: strictly convex"
    p.X1[:, 0] = p.X1[:, 1] = 2 * p.X1[:, -1]
    H = p.X1.T @ (p.yh * (1 - p.yh)).diag() @ p.X1
    eigenvalues = torch.linalg.eigvalsh(H)
    assert eigenvalues.min() > -1e-12 and eigenvalues[0].abs() < 1e-12, "equal columns: convex, but not strictly"


@proves("logistic-lipschitz")
def _():
    for p in logistic_problems():
        bound = torch.linalg.eigvalsh(p.X1.T @ p.X1).max() / 4
        t, u = 3 * randn(2, 20, len(p.theta))
        change = (torch.sigmoid(t @ p.X1.T) - torch.sigmoid(u @ p.X1.T)) @ p.X1  # of the gradient X1^T (yh - y)
        assert (change.norm(dim=1) <= bound * (t - u).norm(dim=1) * (1 + 1e-12)).all()
        close(torch.linalg.eigvalsh(hessian(p.E_theta, torch.zeros_like(p.theta))).max(), bound)  # attained at 0
        theta, values = p.theta, []
        for _ in range(100):
            z = p.X1 @ theta
            values.append((softplus(z) - p.y * z).sum())
            theta = theta - p.X1.T @ (torch.sigmoid(z) - p.y) / bound
        assert (torch.stack(values).diff() <= 1e-12).all()


@proves("logistic-irls")
def _():
    for p in logistic_problems():
        p.theta = 0.3 * p.theta  # S^-1 is large where yh is close to 0 or 1
        p.yh = torch.sigmoid(p.X1 @ p.theta)
        S = (p.yh * (1 - p.yh)).diag()
        right = torch.linalg.solve(p.X1.T @ S @ p.X1, p.X1.T @ S @ (p.X1 @ p.theta + S.inverse() @ (p.y - p.yh)))
        newton = p.theta - torch.linalg.solve(hessian(p.E_theta, p.theta), grad(p.E_theta, p.theta))
        close(right, newton)


@proves("logistic-separable")
def _():
    p = Logistic(20, 2)
    p.y = (p.X @ p.w + p.b > 0).double()
    sign = 2 * p.y - 1
    margins = sign * (p.X @ p.w + p.b)
    close(softplus(-margins).sum(), p.E(p.w, p.b))
    values = [softplus(-c * margins / margins.min()).sum().item() for c in (1, 3, 10, 30)]
    assert all(a > b > 0 for a, b in pairwise(values)) and values[-1] <= 20 * np.exp(-30) * (1 + 1e-9)
    assert (softplus(-sign * (3 * randn(100, 3) @ p.X1.T)).sum(1) > 0).all()


@refutes("logistic-sign")
def _():
    p = Logistic()
    return size(-(p.X.T @ (p.yh - p.y)), grad(lambda w: p.E(w, p.b), p.w))


@refutes("logistic-stationary-means-right")
def _():
    p = Logistic(200, 3)
    return size(torch.sigmoid(p.X1 @ p.minimum()), p.y)


@refutes("logistic-sigmoid")
def _():
    p = Logistic()
    return size(1 / (1 - torch.exp(p.X @ p.w + p.b)), p.yh)


@refutes("logistic-lost-minus")
def _():
    p = Logistic()
    return size(p.yh * (1 - p.yh), jacobian(lambda z: 1 - torch.sigmoid(z), p.X @ p.w + p.b).diag())


# --------------------------------------------------------------------------------------- Q2: batch normalisation


def mean_only(x, gamma, beta):
    return gamma * (x - x.mean()) + beta


@proves("bn-noise-variance")
def _():
    s2 = 2.0
    for n in 2, 5, 20:
        _, *a = grad(lambda x: mean_only(x, 1.0, 0.0)[0], randn(n)).tolist()  # x_hat_1 is affine in the other inputs
        assert s2 * np.dot(a, a) == pytest.approx((n - 1) * s2 / n**2, rel=1e-14)


def bn_case(n):
    return randn(n), randn(()), randn(()), randn(n)


@proves("bn-mean-only-grad")
def _():
    for n in range(1, 21):
        x, gamma, beta, g = bn_case(n)
        truth = grad(lambda x, c=(gamma, beta, g): c[2] @ mean_only(x, c[0], c[1]), x)
        close(gamma * (g - g.sum() / n), truth)
        close(gamma * (torch.eye(n).double() - torch.ones(n, n).double() / n) @ g, truth)
        layer = MeanOnlyBatchNormLayer(1).double()
        layer.gamma.data.fill_(gamma)
        layer(x[:, None])
        close(layer.backward(g[:, None])[:, 0], truth)


@proves("bn-mean-only-params")
def _():
    for n in range(1, 21):
        x, gamma, beta, g = bn_case(n)
        layer = MeanOnlyBatchNormLayer(1).double()
        layer(x[:, None])
        layer.backward(g[:, None])
        true_gamma = grad(lambda gamma, c=(x, beta, g): c[2] @ mean_only(c[0], gamma, c[1]), gamma)
        true_beta = grad(lambda beta, c=(x, gamma, g): c[2] @ mean_only(c[0], c[1], beta), beta)
        close((g * (x - x.mean())).sum(), true_gamma)
        close(g.sum(), true_beta)
        close(layer.gamma.grad[0, 0], true_gamma)
        close(layer.beta.grad[0, 0], true_beta)


@proves("bn-large-batch")
def _():
    gamma, mean = 1.3, 0.4
    for n in 100, 10_000:
        x, g = randn(n), mean + randn(n)
        layer = MeanOnlyBatchNormLayer(1).double()
        layer.gamma.data.fill_(gamma)
        layer(x[:, None])
        assert size(layer.backward(g[:, None])[:, 0], gamma * (g - mean)) < 5 * gamma / n**0.5
    assert size(layer.backward(g[:, None])[:, 0], gamma * g) > gamma * mean / 2, "not gamma g, unless E[g] = 0"


@proves("bn-batch-of-one")
def _():
    layer = MeanOnlyBatchNormLayer(3).double()
    layer.beta.data.copy_(randn(1, 3))
    x = randn(1, 3).requires_grad_()
    y = layer(x)
    assert torch.equal(y, layer.beta) and not layer.X_hat.any()
    g = randn(1, 3)
    assert not layer.backward(g).any() and not layer.gamma.grad.any()
    x2 = x.detach().clone().requires_grad_()
    gamma = torch.ones(1, 3, dtype=torch.float64, requires_grad=True)
    (g * (gamma * (x2 - x2.mean(0)))).sum().backward()
    assert not x2.grad.any() and not gamma.grad.any()


@proves("bn-full-grad")
def _():
    for n in range(2, 21):
        for eps in 0.0, 0.1:
            x, gamma, beta, g = bn_case(n)

            def full(x, gamma=gamma, beta=beta, eps=eps):
                return gamma * (x - x.mean()) / (x.var(correction=0) + eps).sqrt() + beta

            root = (x.var(correction=0) + eps).sqrt()
            x_hat = (x - x.mean()) / root
            printed = gamma / root * (g - g.mean() - x_hat * (g * x_hat).mean())
            close(printed, grad(lambda x, g=g, full=full: g @ full(x), x))
            assert abs(printed.sum()) < 1e-9
            if n > 2:
                assert (abs(printed @ x_hat) < 1e-9) == (eps == 0)


@refutes("bn-dropped-sum")
def _():
    n = 100_000
    x, g = randn(n).requires_grad_(), 1 + randn(n)
    (g @ mean_only(x, 1.0, 0.0)).backward()
    return size(g, x.grad)


@refutes("bn-batch-of-one")
def _():
    g = torch.tensor([1.0])
    return size(1.0 * g, grad(lambda x: g @ mean_only(x, 1.0, 0.0), torch.tensor([2.0])))


@refutes("bn-mean-of-one")
def _():
    x = torch.tensor([2.0])
    return size(torch.zeros(1), x.mean(0, keepdim=True))


@refutes("bn-index")
def _():
    n = 5
    J = jacobian(lambda x: x - x.mean(), randn(n))  # entries d xhat_j / d x_i
    return size(torch.full((n,), -1 / n, dtype=torch.float64), J.diag())  # d xhat_i / d x_i, printed as -1/n


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


@proves("softmax-jacobian")
def _():
    for K in range(1, 21):
        z = 2 * randn(K)
        yh = torch.softmax(z, 0)
        close(yh.diag() - torch.outer(yh, yh), jacobian(lambda z: torch.softmax(z, 0), z))
    z = sympy.symbols("z1:4", real=True)
    yh = [sympy.exp(a) / sum(map(sympy.exp, z)) for a in z]
    for k in range(3):
        for i in range(3):
            assert sympy.simplify(sympy.diff(yh[k], z[i]) - yh[k] * (int(i == k) - yh[i])) == 0


@proves("softmax-ce-grad")
def _():
    for K in range(2, 21):
        z, y = 2 * randn(K), torch.eye(K, dtype=torch.float64)[K // 2]
        printed = torch.softmax(z, 0) - y
        close(printed, grad(lambda z, y=y: -(y * torch.softmax(z, 0).log()).sum(), z))
        assert abs(printed.sum()) < 1e-14


@proves("mlp-grad-w2")
def _():
    for p in networks():
        close(torch.outer(p.yh - p.y, p.d), grad(lambda W2, p=p: p.loss(W2=W2), p.W2))
        close(p.yh - p.y, grad(lambda b2, p=p: p.loss(b2=b2), p.b2))


@proves("mlp-grad-w1")
def _():
    for p in networks():
        delta = (p.W2.T @ (p.yh - p.y)) * p.m * p.slopes
        close(torch.outer(delta, p.x), p.grad_W1())
        close(delta, grad(lambda b1, p=p: p.loss(b1=b1), p.b1))


@proves("mlp-batch-grad")
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
    delta1 = (delta2 @ W2) * M * slopes(Z1, slope)
    true1, true2 = jacobian(loss, (W1, W2))
    close(delta1.T @ X, true1)
    close(delta2.T @ fc2.X, true2)
    delta = delta2
    for layer in fc2, drop, act, fc1:
        delta = layer.backward(delta)
    close(fc1.W.grad.T, true1)
    close(fc2.W.grad.T, true2)


@proves("mlp-mask-mean")
def _():
    p = TwoLayers(D=2, H=3, K=2, p=0.1)
    mean = torch.zeros_like(p.W1)
    for keep in np.ndindex(2, 2, 2):  # all eight masks, each with its probability
        m = torch.tensor(keep, dtype=torch.float64)
        probability = (0.9**m * 0.1 ** (1 - m)).prod()
        mean += probability * grad(lambda W1, m=m: p.loss(W1=W1, m=m / 0.9), p.W1)
    without = grad(lambda W1: p.loss(W1=W1, m=torch.ones(3, dtype=torch.float64)), p.W1)
    assert size(mean, without) > 1e-6 * without.abs().max()


@refutes("softmax-lost-factor")
def _():
    z = randn(4)
    wrong = -torch.exp(z)[:, None] / torch.exp(z).sum() ** 2 * torch.ones(4)
    off_diagonal = ~torch.eye(4, dtype=torch.bool)
    return size(wrong[off_diagonal], jacobian(lambda z: torch.softmax(z, 0), z)[off_diagonal])


@refutes("softmax-no-sum")
def _():
    """One term of the chain rule's sum, k = i, instead of all of them."""
    z, y = randn(4), torch.eye(4, dtype=torch.float64)[1]
    yh = torch.softmax(z, 0)
    return size(-y / yh * yh * (1 - yh), yh - y)


@refutes("softmax-mixed-indices")
def _():
    """-1/yh_k from k = i times the Jacobian of k != i, for all i."""
    z, y = randn(4), torch.eye(4, dtype=torch.float64)[1]
    yh = torch.softmax(z, 0)
    return size(-1 / yh[1] * (-yh[1] * yh), grad(lambda z: -(y * torch.log_softmax(z, 0)).sum(), z))


@refutes("softmax-lost-target")
def _():
    z, y = randn(4), torch.eye(4, dtype=torch.float64)[1]
    return size(torch.softmax(z, 0), grad(lambda z: -(y * torch.log_softmax(z, 0)).sum(), z))


@refutes("mlp-transpose")
def _():
    """W2 (yh - y) instead of W2^T (yh - y), for a square W2: the shapes fit and the numbers do not."""
    p = TwoLayers(D=5, H=4, K=4)
    return size(torch.outer((p.W2 @ (p.yh - p.y)) * p.m * p.slopes, p.x), p.grad_W1())


@refutes("mlp-relu")
def _():
    p = TwoLayers()
    return size(torch.outer((p.W2.T @ (p.yh - p.y)) * p.m * (p.z1 > 0), p.x), p.grad_W1())


@refutes("mlp-drop-probability")
def _():
    p = TwoLayers()
    return size(torch.outer((p.W2.T @ (p.yh - p.y)) * 0.1 * p.slopes, p.x), p.grad_W1())


@refutes("mlp-lost-factors")
def _():
    """yh for yh - y, and no phi'."""
    p = TwoLayers()
    return size(torch.outer((p.W2.T @ p.yh) * 0.1, p.x), p.grad_W1())


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
    assert peano_mixed() == (-1, 1)


@proves("hessian-vector")
def _():
    for _ in range(20):
        x, v = randn(3), randn(3)
        _, along = torch.autograd.functional.jvp(lambda x: jacobian(smooth, x, create_graph=True), x, v)
        close(along, hessian(smooth, x) @ v)


@refutes("schwarz-unstated")
def _():
    """J = H for every function: Peano's mixed derivatives at 0."""
    d_yx, d_xy = peano_mixed()
    return abs(float(d_yx - d_xy))


# ------------------------------------------------------------------------------ Q5: noise on a linear neuron


def noisy_loss(w, x, y_d, delta):
    return 0.5 * (y_d - (delta * w * x).sum()) ** 2


def two_point_noise(n, s):
    """All 2^n equally likely draws of independent noise 1 - s or 1 + s: mean 1, variance s^2, exactly.

    These are also the nodes of Gauss-Hermite quadrature: the mean of a quadratic is that over N(1, s^2).
    """
    signs = 2 * torch.cartesian_prod(*[torch.arange(2)] * n).reshape(-1, n) - 1
    return list(1 + s * signs.double())


@proves("dropout-grad")
def _():
    for n in range(1, 11):
        w, x, y_d, delta = randn(n), randn(n), randn(()), 1 + 0.5 * randn(n)
        printed = -delta * x * (y_d - (delta * w * x).sum())
        close(printed, grad(lambda w, a=(x, y_d, delta): noisy_loss(w, *a), w))


@proves("dropout-mean-loss")
def _():
    for n in range(1, 7):
        w, x, y_d, s = randn(n), randn(n), randn(()), 0.7
        printed = 0.5 * (y_d - w @ x) ** 2 + s**2 / 2 * (w**2 * x**2).sum()
        exact = torch.stack([noisy_loss(w, x, y_d, delta) for delta in two_point_noise(n, s)]).mean()
        close(printed, exact)


@proves("dropout-mean-grad")
def _():
    for n in range(1, 7):
        w, x, y_d, s = randn(n), randn(n), randn(()), 0.7
        printed = -(y_d - w @ x) * x + s**2 * w * x**2
        draws = [grad(lambda w, a=(x, y_d, d): noisy_loss(w, *a), w) for d in two_point_noise(n, s)]
        close(printed, torch.stack(draws).mean(0))


@proves("dropout-ridge")
def _():
    X, y, s2 = randn(30, 4), randn(30), 0.5
    G = X.T @ X
    w = torch.linalg.solve(G + s2 * G.diag().diag(), X.T @ y)

    def mean_loss(w):
        return (0.5 * (y - X @ w) ** 2 + s2 / 2 * (X**2 @ w**2)).sum()

    close(grad(mean_loss, w), torch.zeros(4, dtype=torch.float64))
    assert torch.linalg.eigvalsh(hessian(mean_loss, w)).min() > 0
    lam = s2 * (X**2).sum(0)
    close(w, torch.linalg.solve(G + lam.diag(), X.T @ y))


@proves("dropout-bernoulli")
def _():
    p = sympy.symbols("p", positive=True)
    mean = (1 - p) / (1 - p)
    assert sympy.simplify((1 - p) * (1 / (1 - p)) ** 2 - mean**2 - p / (1 - p)) == 0


@proves("dropout-scale-invariance")
def _():
    X, y, s2, c = randn(30, 4), randn(30), 0.5, torch.tensor([0.1, 1.0, 7.0, 100.0], dtype=torch.float64)

    def solution(X, plain=False):
        G = X.T @ X
        return torch.linalg.solve(G + s2 * (torch.eye(4).double() if plain else G.diag().diag()), X.T @ y)

    close(solution(X * c), solution(X) / c)
    close(X * c @ solution(X * c), X @ solution(X))
    assert size(X * c @ solution(X * c, plain=True), X @ solution(X, plain=True)) > 1e-3, "plain L2 is not invariant"


@proves("dropout-logistic")
def _():
    """Gauss-Hermite quadrature of the mean over z~ ~ N(z, s^2 sum w^2 x^2); the remainder is Taylor's, of order s^4."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(60))
    w, x, y = randn(3), randn(3), 1.0
    z, spread2 = w @ x, (w**2 * x**2).sum()
    yh = torch.sigmoid(z)
    for s in 0.1, 0.05, 0.025:
        noisy = z + s * spread2.sqrt() * nodes
        exact = (weights * (softplus(noisy) - y * noisy)).sum() / weights.sum()
        remainder = exact - (softplus(z) - y * z + s**2 / 2 * yh * (1 - yh) * spread2)
        assert remainder.abs() <= 3 * s**4 * spread2**2 / 24 / 8 + 1e-14  # the fourth derivative is at most 1/8


@refutes("dropout-sign")
def _():
    w, x, y_d, delta = randn(3), randn(3), randn(()), 1 + 0.5 * randn(3)
    return size(delta * x * (y_d - (delta * w * x).sum()), grad(lambda w: noisy_loss(w, x, y_d, delta), w))


@refutes("dropout-no-mean")
def _():
    """The gradient without noise in place of the mean gradient: the ridge term is missing."""
    w, x, y_d, s = randn(3), randn(3), randn(()), 0.7
    draws = [grad(lambda w, d=d: noisy_loss(w, x, y_d, d), w) for d in two_point_noise(3, s)]
    return size(-(y_d - w @ x) * x, torch.stack(draws).mean(0))


@refutes("l2-penalty")
def _():
    w = randn(3)
    return size(w.sum(), (w**2).sum())


# --------------------------------------------------------------------------------------------- Q6: Newton's method


def exponential_f(x):
    """f = g' for g = exp(x) - 2x, with f' and f''."""
    return np.exp(x) - 2, np.exp(x), np.exp(x)


ROOT_OF_F = np.log(2)


@proves("newton-step")
def _():
    x, g, x_n = sympy.symbols("x", real=True), sympy.Function("g"), sympy.symbols("x_n", real=True)
    g1, g2 = g(x_n).diff(x_n), g(x_n).diff(x_n, 2)
    tangent = g1 + g2 * (x - x_n)
    parabola = g(x_n) + g1 * (x - x_n) + g2 * (x - x_n) ** 2 / 2
    for equation in tangent, parabola.diff(x):
        (solution,) = sympy.solve(equation, x)
        assert sympy.simplify(solution - (x_n - g1 / g2)) == 0
    _, history = Newton(lambda t: (np.exp(t[0]) - 2 * t[0], np.exp(t) - 2, np.exp(t)[None]), [1.0])
    for before, after in pairwise(history):
        f, f1, _ = exponential_f(before.theta[0])
        assert abs(after.theta[0] - (before.theta[0] - f / f1)) < 1e-14


@proves("newton-error")
def _():
    for x in np.random.default_rng(0).uniform(-1, 3, 50):
        f, f1, _ = exponential_f(x)
        e = x - ROOT_OF_F
        e_next = x - f / f1 - ROOT_OF_F
        assert abs(e_next - (e * f1 - f) / f1) < 1e-12
        xi = np.log(2 * (e * f1 - f) / e**2)  # the point where f''(xi) / 2 e^2 is the numerator
        assert min(x, ROOT_OF_F) < xi < max(x, ROOT_OF_F)


@proves("newton-bound")
def _():
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


@proves("newton-constant")
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
    symbol = sympy.symbols("x")
    g = sympy.exp(symbol) - 2 * symbol
    assert g.diff(symbol, 3).subs(symbol, sympy.log(2)) / (
        2 * g.diff(symbol, 2).subs(symbol, sympy.log(2))
    ) == sympy.Rational(1, 2)


@proves("newton-multiple-root")
def _():
    for m in 2, 3, 5:
        x = 0.5
        for _ in range(60):
            e = x
            f, f1 = x**m * (1 + x), m * x ** (m - 1) * (1 + x) + x**m  # (x - 0)^m h(x), h = 1 + x
            x = x - f / f1
        assert abs(x / e - (1 - 1 / m)) < 1e-4 + 10 * abs(e)
    _, history = Newton(lambda t: (t[0] ** 4, 4 * t**3, 12 * t[None] ** 2), [1.0])  # g' = 4 t^3, m = 3
    ratios = [b.theta[0] / a.theta[0] for a, b in pairwise(history)]
    np.testing.assert_allclose(ratios, 2 / 3, rtol=1e-12)


@proves("newton-cycle")
def _():
    x, visited = sympy.Integer(0), []
    for _ in range(6):
        visited.append(x)
        x = x - (x**3 - 2 * x + 2) / (3 * x**2 - 2)
    assert visited == [0, 1, 0, 1, 0, 1]


@proves("newton-log-cosh")
def _():
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


@proves("newton-affine")
def _():
    def g(x):
        return torch.exp(x).sum() + (x**4).sum() + (x @ x) ** 2

    def step(f, x):
        return x - torch.linalg.solve(hessian(f, x), grad(f, x))

    for _ in range(20):
        A, u = torch.eye(3) + randn(3, 3) / 4, randn(3)  # well conditioned
        close(A @ step(lambda u, A=A: g(A @ u), u), step(g, A @ u))


@refutes("newton-minimises-f")
def _():
    """t = -f'/f'' looks for a stationary point of f, not for its root: the step for f = exp(x) - 2 at 1."""
    f, f1, f2 = exponential_f(1.0)
    return abs(-f1 / f2 - -f / f1)


@refutes("newton-one-quarter")
def _():
    """|x_{k+1} - x_k| <= 1/4 |x_k - x*|^2, at x = 1."""
    f, f1, _ = exponential_f(1.0)
    return abs(f / f1) - (1.0 - ROOT_OF_F) ** 2 / 4


@refutes("newton-series-as-equality")
def _():
    """f(x* + e) = f'(x*) e + 1/2 f''(x*) e^2, as an equality, at e = 1 - x*."""
    e = 1.0 - ROOT_OF_F
    return abs(2 * e + e**2 - exponential_f(1.0)[0])


@refutes("newton-dropped-term")
def _():
    """Without f'' e in the denominator e_{n+1} / e_n^2 tends to -1/2 where it is +1/2; x_n = x* + 1e-4."""
    e = 1e-4
    f, f1, _ = exponential_f(ROOT_OF_F + e)
    wrong = e - (2 * e + e**2) / 2
    return abs(wrong / e**2 - (e - f / f1) / e**2)


@refutes("newton-curvature-unstated")
def _():
    """A stationary point of g = -x^2 + x^4 that Newton finds from 0.1 is a maximum: g'' = -2."""
    x = 0.1
    for _ in range(20):
        x = x - (-2 * x + 4 * x**3) / (-2 + 12 * x**2)
    assert abs(x) < 1e-12, "converged to the maximum at 0"
    return abs(-2 + 12 * x**2)


# ------------------------------------------------------------------------------------ Q7: softmax cross-entropy


def cross_entropy(z, y):
    return -(y * torch.softmax(z, 0).log()).sum()


def logits_and_targets():
    for K in range(2, 22):
        yield 2 * randn(K), torch.softmax(randn(K), 0)


@proves("ce-grad")
def _():
    for z, y in logits_and_targets():
        close(torch.logsumexp(z, 0) - y @ z, cross_entropy(z, y))
        close(torch.softmax(z, 0) - y, grad(lambda z, y=y: cross_entropy(z, y), z))


@proves("ce-hessian")
def _():
    for z, y in logits_and_targets():
        yh = torch.softmax(z, 0)
        H = hessian(lambda z, y=y: cross_entropy(z, y), z)
        close(yh.diag() - torch.outer(yh, yh), H)
        close(yh * (1 - yh), H.diag())
        close(-yh[0] * yh[1], H[0, 1])


@proves("ce-psd")
def _():
    for z, _ in logits_and_targets():
        yh, v = torch.softmax(z, 0), randn(len(z))
        H = yh.diag() - torch.outer(yh, yh)
        variance = (yh * (v - yh @ v) ** 2).sum()
        close(v @ H @ v, variance)
        close(0.5 * (torch.outer(yh, yh) * (v[:, None] - v) ** 2).sum(), variance)
        assert torch.linalg.eigvalsh(H).min() > -1e-12


@proves("ce-null-space")
def _():
    for z, _ in logits_and_targets():
        yh = torch.softmax(z, 0)
        H = yh.diag() - torch.outer(yh, yh)
        close(H @ torch.ones_like(z), torch.zeros_like(z), 1e-14)
        eigenvalues, vectors = torch.linalg.eigh(H)
        assert eigenvalues[0].abs() < 1e-12 and eigenvalues[1] >= yh.min() * (1 - 1e-6), "rank K - 1: interlacing"
        assert vectors[:, 0].std() < 1e-8


@proves("ce-lambda-max")
def _():
    for z, _ in logits_and_targets():
        yh = torch.softmax(z, 0)
        assert torch.linalg.eigvalsh(yh.diag() - torch.outer(yh, yh)).max() <= 0.5 + 1e-12
    for z in torch.zeros(2).double(), torch.tensor([40.0, 40.0, 0.0, 0.0]).double():
        yh = torch.softmax(z, 0)
        close(torch.linalg.eigvalsh(yh.diag() - torch.outer(yh, yh)).max(), torch.tensor(0.5).double())


@proves("ce-infimum")
def _():
    for K in range(2, 10):
        y = torch.eye(K, dtype=torch.float64)[0]
        values = [(torch.logsumexp(t * y, 0) - t).item() for t in (0, 5, 10, 20, 30)]
        assert all(a > b > 0 for a, b in pairwise(values)) and values[-1] < 1e-11
        for _ in range(20):
            assert cross_entropy(5 * randn(K), y) > 0


@proves("ce-convex-linear")
def _():
    for K, D in (2, 3), (3, 2), (4, 5):
        x, y, W = randn(D), torch.softmax(randn(K), 0), randn(K * D)
        H_W = hessian(lambda W, c=(x, y, K, D): cross_entropy(W.reshape(c[2], c[3]) @ c[0], c[1]), W)
        yh = torch.softmax(W.reshape(K, D) @ x, 0)
        close(torch.kron(yh.diag() - torch.outer(yh, yh), torch.outer(x, x)), H_W)
        assert torch.linalg.eigvalsh(H_W).min() > -1e-12


@proves("ce-nonconvex-network")
def _():
    x, y = randn(3), torch.eye(2, dtype=torch.float64)[0]

    def loss(weights):
        W1, W2 = weights[:12].reshape(4, 3), weights[12:].reshape(2, 4)
        return cross_entropy(W2 @ torch.tanh(W1 @ x), y)

    at_zero = hessian(loss, torch.zeros(20, dtype=torch.float64))
    close(torch.linalg.eigvalsh(at_zero).min(), -(torch.softmax(torch.zeros(2), 0) - y).norm() * x.norm())


@refutes("ce-indices")
def _():
    """d yh_i / d z_j = yh_i (delta_ij - yh_i)."""
    z = randn(4)
    yh = torch.softmax(z, 0)
    return size(yh[:, None] * (torch.eye(4).double() - yh[:, None]), jacobian(lambda z: torch.softmax(z, 0), z))


@refutes("ce-coefficient")
def _():
    """sum_j -(yh_i / yh_i) yh_j (delta_ij - yh_i) for sum_j -(y_j / yh_j) yh_j (delta_ij - yh_i)."""
    z, y = randn(4), torch.softmax(randn(4), 0)
    yh = torch.softmax(z, 0)
    wrong = ((-yh / yh)[:, None] * yh * (torch.eye(4).double() - yh[:, None])).sum(1)
    return size(wrong, grad(lambda z: cross_entropy(z, y), z))


@refutes("ce-strict")
def _():
    """v^T H v > 0: how far the form at v = 1 is from any positive number, say that at a unit vector e_1."""
    yh = torch.softmax(randn(4), 0)
    H = yh.diag() - torch.outer(yh, yh)
    one = torch.ones(4, dtype=torch.float64)
    assert abs(one @ H @ one) < 1e-15
    return H[0, 0].item()


@refutes("ce-dropped-diagonal")
def _():
    yh, v = torch.softmax(randn(4), 0), randn(4)
    H = yh.diag() - torch.outer(yh, yh)
    return size(v @ (H - H.diag().diag()) @ v, v @ H @ v)


@refutes("ce-conclusion")
def _():
    """Positive terms minus terms of either sign: with diagonal 0.2 the same argument would call this form positive."""
    yh = torch.tensor([0.5, 0.5]).double()
    M = 0.2 * torch.eye(2).double() - torch.outer(yh, yh) * (1 - torch.eye(2).double())
    return -torch.linalg.eigvalsh(M).min().item()


# ------------------------------------------------------------------------------------ the document itself


def labels_in(text, macro):
    return re.findall(rf"^\\{macro}{{([a-z0-9-]+)}}", text, re.M)


def labels(macro):
    return [label for text in SOURCES.values() for label in labels_in(text, macro)]


@pytest.mark.parametrize("label", ANSWERS)
def test_answer(label):
    ANSWERS[label]()


@pytest.mark.parametrize("label", ERRATA)
def test_erratum(label):
    """The report's formula fails the comparison, by the number printed in the appendix."""
    error = ERRATA[label]()
    assert error > 1e-3
    entry = rf"^\\erratum{{{label}}}(?:(?!\\erratum).)*?{{([0-9.]+)}}$"
    (printed,) = re.findall(entry, SOURCES["errata.tex"], re.M | re.S)
    assert float(printed) == pytest.approx(error, rel=0.05)


def test_every_box_has_a_check_and_every_check_a_box():
    assert len(labels("answer")) == len(set(labels("answer"))) > 30
    assert set(labels("answer")) == set(ANSWERS)


def test_every_erratum_has_a_check_and_every_check_an_erratum():
    assert len(labels("erratum")) == len(set(labels("erratum"))) > 20
    assert set(labels("erratum")) == set(ERRATA)


def test_the_pdf_was_built_from_these_sources():
    digest = subprocess.run([sys.executable, THEORY / "source_hash.py"], capture_output=True, text=True, check=True)
    (stored,) = set(re.findall(rb"/SourceHash ?\(([0-9a-f]{64})\)", (THEORY / "theory.pdf").read_bytes()))
    assert stored.decode() == digest.stdout.strip(), "theory.pdf is older than its sources: run make -C theory"


def test_the_readme_maps_every_question_to_its_answers_and_sections():
    """README's table lists the labels of each question's file and the notebook sections that the file refers to."""
    table = re.findall(
        r"^\| (Q\d) [^|]*\| ([^|]*) \| [^|]* \| ([^|]*) \|$", (ROOT / "README.md").read_text("utf-8"), re.M
    )
    numbers = {"one": "01", "two": "02", "three": "03"}
    found = []
    for name, text in SOURCES.items():
        if re.match(r"q\d_", name):
            sections = re.findall(r"\\nb(one|two|three){section ([0-9.]+)", text)
            sections = list(dict.fromkeys(f"{numbers[notebook]} §{section}" for notebook, section in sections))
            found.append((name[:2].upper(), ", ".join(sections), ", ".join(labels_in(text, "answer"))))
    assert table == found


def test_the_notebook_sections_that_the_theory_refers_to_exist():
    for word, prefix in ("one", "01"), ("two", "02"), ("three", "03"):
        (path,) = (ROOT / "notebooks").glob(f"{prefix}_*.ipynb")
        cells = nbformat.read(path, as_version=4).cells
        headings = [
            line for c in cells if c.cell_type == "markdown" for line in re.findall("^#+ (.*)$", c.source, re.M)
        ]
        for section in re.findall(rf"\\nb{word}{{section ([0-9.]+)", "".join(SOURCES.values())):
            assert any(re.match(rf"{re.escape(section)}[. ]", heading) for heading in headings), (prefix, section)
