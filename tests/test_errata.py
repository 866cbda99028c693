"""Every erratum of theory/errata.tex is one: what is written differs from the truth by the size printed, what is called
correct does not.

A check is registered under the label of its entry, with the report's formula (or words), so that the quotation does not
change by accident. ``size`` evaluates the first formula of both texts, as printed, on the same numbers: the truth is on
the left side. The numbers are fixed, so that the sizes are the same with every version of torch.
"""

import re

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from evaluator import boxes, each, statements
from optim import Newton
from printed import THEORY, formulas, given, grad, is_true, registry, side

TEXTS = {
    label: dict(zip(("where", "written", "correct", "size"), texts, strict=True))
    for label, texts in boxes(THEORY, "erratum", 5).items()
}
QUOTED, CHECKS = {}, {}


def quoted(label, written, correct):
    """Register the check of an entry with its two texts: neither changes alone."""
    QUOTED[label] = written, correct
    return registry(CHECKS)(label)


def numbers(*shape, start=1):
    """Fixed numbers between -1 and 1, in no order."""
    return torch.cos(2.3 * torch.arange(start, start + int(np.prod(shape)), dtype=torch.float64)).reshape(shape)


def first_statement(label, kind):
    return statements(formulas(TEXTS[label][kind])[0])[0]


def is_corrected(label, values):
    """The correct formula gives the truth, its left side."""
    statement = first_statement(label, "correct")
    assert len(statement) > 1 and is_true(statement, values, 1e-9, tight=True), f"{label}: the correction is wrong"


def size(label, names, sizes=(), draws=None, **bound):
    """The largest difference between what is written and the truth, in units of the largest number of either.

    The truth is the left side of both formulas. bound holds some indices fixed, the others run.
    """
    values = given({"e": np.e} | names, sizes, draws).bind(**bound)
    is_corrected(label, values)
    left, relation, *rest = first_statement(label, "written")
    differences, scale = [], 0.0
    for v in each(values, left, *rest[::2]):
        true = side(left, v)
        for wrong in (side(text, v) for text in rest[::2]):
            differences.append(np.max(true - wrong if relation == r"\le" else np.abs(true - wrong)))
            scale = max(scale, np.abs(true).max(), np.abs(wrong).max())
    return max(differences) / scale


# ----------------------------------------------------------------------------------------------------- question 1

X, Y, W, B = numbers(20, 3), (numbers(20, start=61) > 0).double(), numbers(3, start=90), 0.3
Z = X @ W + B
YH = torch.sigmoid(Z)
LOGISTIC = {"X": X, "x": X, "y": Y, "z": Z, r"\yh": YH}


@quoted(
    "logistic-stationary-means-right",
    r"$\yh_n = y_n$, ticked as the condition for a vanishing gradient in $w$ (for $b$ it is written $\yh_n = \yh(x_n)$, presumably the same).",
    r"$X\T(\yh-y) = 0$ and $\sum_n \yh_n = \sum_n y_n$, \cref{ans:logistic-stationary}. Only sums vanish; $\yh_n = y_n\in\{0,1\}$ is impossible. The report also concludes $b_t = b_{t-1} - \dots$ from $\partial E/\partial b = 0$; the update replaces solving that equation, it does not follow from it.",
)
def _():
    def E(theta):
        z = X @ theta[:-1] + theta[-1]
        return (torch.nn.functional.softplus(z) - Y * z).sum()

    def f(theta):
        theta = torch.from_numpy(theta)
        return E(theta).item(), grad(E, theta).numpy(), torch.autograd.functional.hessian(E, theta).numpy()

    theta = torch.from_numpy(Newton(f, np.zeros(4))[0])
    yh = torch.sigmoid(X @ theta[:-1] + theta[-1])
    assert (X.T @ (yh - Y)).abs().max() < 1e-9
    return size("logistic-stationary-means-right", LOGISTIC | {r"\yh": yh}, {"n": 20})


@quoted(
    "logistic-sigmoid",
    r"$\yh_n = \frac1{1-e^{z_n}}$ with $z_n = w\T x_n + b$.",
    r"$\yh_n = \frac1{1+e^{-z_n}}$, as the report defines it at first.",
)
def _():
    return size("logistic-sigmoid", LOGISTIC, {"n": 20})


@quoted(
    "logistic-lost-minus",
    r"$\dd{(1-\yh_n)}{b} = \yh_n(1-\yh_n)$.",
    r"$\dd{(1-\yh_n)}{b} = -\yh_n(1-\yh_n)$. The minus is back two lines later.",
)
def _():
    slope = grad(lambda b: 1 - torch.sigmoid(Z[0] + b), torch.tensor(0.0).double())
    return size("logistic-lost-minus", {r"\yh": YH, r"\dd{(1-\yh_n)}{b}": slope}, n=0)


@quoted(
    "logistic-sign",
    r"$\dd{E}{w_j} = -\sum_nx_{nj}\big(-y_n(1-\yh_n) + \yh_n(1-y_n)\big)$.",
    r"$\dd{E}{w_j} = \sum_nx_{nj}(\yh_n - y_n)$, \cref{ans:logistic-grad-w}, as the report's next line says.",
)
def _():
    truth = grad(lambda w: torch.nn.functional.binary_cross_entropy_with_logits(X @ w + B, Y, reduction="sum"), W)
    return size("logistic-sign", LOGISTIC | {r"\dd{E}{w}": truth}, {"n": 20, "j": 3})


# ----------------------------------------------------------------------------------------------------- question 2


def centred(x):
    return x - x.mean()


@quoted(
    "bn-index",
    r"$\dd{\hat x_i}{x_i} = -\frac1N$ for $j\ne i$.",
    r"$\dd{\hat x_j}{x_i} = [i=j]-\frac1N$: for $j\ne i$ the numerator is $\partial\hat x_j$, not $\partial\hat x_i$. The chain rule that follows has the right index.",
)
def _():
    return size("bn-index", {r"\dd{\hat x}{x}": jacobian(centred, numbers(5)), "N": 5}, {"i": 5, "j": 5})


@quoted(
    "bn-dropped-sum",
    r"$\dd{L}{x_i} \approx \gamma\,\delta_i$ for $N\to\infty$.",
    r"$\dd{L}{x_i} \to \gamma\,(\delta_i - \E[\delta])$, \cref{ans:bn-large-batch}: $N-1$ terms of size $1/N$ do not vanish, they average (here to $\E[\delta]=1$).",
)
def _():
    """A batch whose mean of g is E[g] = 1, as in the limit."""
    g = 1 + centred(numbers(1000))
    truth = grad(lambda x: g @ (1.3 * centred(x)), numbers(1000, start=5))
    return size(
        "bn-dropped-sum", {r"\dd{L}{x}": truth, r"\gamma": 1.3, r"\delta": g}, {"i": 1000}, [(1.0, {r"\delta": 1.0})]
    )


@quoted(
    "bn-batch-of-one",
    r"$\dd{L}{x_1} = \gamma\,\delta_1$, beside $1-\frac1N = 0$.",
    r"$\dd{L}{x_1} = 0$, \cref{ans:bn-batch-of-one}.",
)
def _():
    truth = grad(lambda x: 3.0 * (2.0 * centred(x)).sum(), numbers(1))
    return size("bn-batch-of-one", {r"\dd{L}{x_1}": truth, r"\gamma": 2.0, r"\delta_1": 3.0})


@quoted(
    "bn-mean-of-one",
    r"$\mu = x_1 = 0$.",
    r"$\mu = x_1$; only $\hat x_1$ is 0.",
)
def _():
    return size("bn-mean-of-one", {r"\mu": numbers(1).mean(), "x_1": numbers(1)})


# ----------------------------------------------------------------------------------------------------- question 3

LOGITS, ONE_HOT = 2 * numbers(4), torch.eye(4, dtype=torch.float64)[1]
P = torch.softmax(LOGITS, 0)
SOFTMAX = jacobian(lambda z: torch.softmax(z, 0), LOGITS)
CE_GRAD = grad(lambda z: -(ONE_HOT * torch.log_softmax(z, 0)).sum(), LOGITS)
CE = {
    "z": LOGITS,
    "y": ONE_HOT,
    r"\yh": P,
    r"\dd{\yh}{z}": SOFTMAX,
    r"\dd{L}{z}": CE_GRAD,
    r"\dd{L}{\yh}": -ONE_HOT / P,
}


@quoted(
    "softmax-lost-factor",
    r"$\dd{\yh_k}{z_i} = -\frac{e^{z_k}}{\big(\sum_je^{z_j}\big)^2}$ for $i\ne k$.",
    r"$\dd{\yh_k}{z_i} = -\frac{e^{z_k}e^{z_i}}{\big(\sum_je^{z_j}\big)^2}$, \cref{ans:softmax-jacobian}. The same line goes on with the right $-\yh_k\yh_i$.",
)
def _():
    return max(size("softmax-lost-factor", CE, {"j": 4}, i=i, k=k) for i in range(4) for k in range(4) if i != k)


@quoted(
    "softmax-no-sum",
    r"$\dd{L}{z_i} = \dd{L}{\yh_i}\dd{\yh_i}{z_i}$.",
    r"$\dd{L}{z_i} = \sum_k\dd{L}{\yh_k}\dd{\yh_k}{z_i}$: all predictions depend on $z_i$.",
)
def _():
    return size("softmax-no-sum", CE, {"i": 4, "k": 4})


@quoted(
    "softmax-mixed-indices",
    r"$\dd{L}{z_i} = \frac{-1}{\yh_k}(-\yh_k\yh_i)$, with $k$ the right class, for every $i$.",
    r"$\dd{L}{z_i} = \frac{-1}{\yh_k}\yh_k([i=k]-\yh_i)$: at $i = k$ the Jacobian's entry is $\yh_k(1-\yh_k)$, and the product $\yh_k - 1$.",
)
def _():
    return size("softmax-mixed-indices", CE, {"i": 4}, k=1)


@quoted(
    "softmax-lost-target",
    r"$\dd{L}{z_2} = \yh$.",
    r"$\dd{L}{z_2} = \yh - y$, \cref{ans:softmax-ce-grad}: the error is exactly 1 at the right class.",
)
def _():
    return size("softmax-lost-target", CE | {r"\dd{L}{z_2}": CE_GRAD})


W2, H1 = numbers(4, 4, start=40), numbers(4, start=70)
ZETA = W2 @ H1
NETWORK = {"W_2": W2, "y": ONE_HOT, r"\yh": torch.softmax(ZETA, 0)}


@quoted(
    "mlp-transpose",
    r"$\dd{L}{d} = \yh\,W_2$.",
    r"$\dd{L}{d} = W_2\T(\yh-y)$. For gradients written as rows the order is right, and only $y$ is missing; with columns, as in $z_2 = W_2d+b_2$, the product $\yh\,W_2$ of a $K\times1$ and a $K\times U$ matrix does not exist. The size is that of $W_2\yh$ with a square $W_2$, whose shapes fit.",
)
def _():
    truth = grad(lambda d: -(ONE_HOT * torch.log_softmax(W2 @ d, 0)).sum(), H1)
    names = NETWORK | {r"\dd{L}{d}": truth}
    is_corrected("mlp-transpose", given(names))
    with pytest.raises(ValueError, match="a product of shapes"):
        size("mlp-transpose", names)
    wrong = W2 @ NETWORK[r"\yh"]
    return ((wrong - truth).abs().max() / max(wrong.abs().max(), truth.abs().max())).item()


@quoted(
    "mlp-relu",
    r"$\dd{h}{z} = 0$ for $z\le0$, a ReLU.",
    r"$\dd{h}{z} = a$: the report's own first line says leaky ReLU.",
)
def _():
    slope = grad(lambda z: torch.nn.functional.leaky_relu(z, 0.1), torch.tensor(-1.0).double())
    return size("mlp-relu", {r"\dd{h}{z}": slope, "a": 0.1})


@quoted(
    "mlp-drop-probability",
    r"$\dd{d_j}{h_j} = 0.1\,\Lambda_j$, with an unreadable $\Lambda$.",
    r"$\dd{d_j}{h_j} = m_j$, where $m_j$ is 0 or $1/0.9$. Even if $\Lambda$ is the mask of zeros and ones, as the size supposes, its factor is not $0.1$, the probability of dropping.",
)
def _():
    keep = torch.tensor([1.0, 0.0, 1.0]).double()
    mask = keep / 0.9
    names = {r"\Lambda": keep, "m": mask, r"\dd{d}{h}": jacobian(lambda h: mask * h, numbers(3))}
    return size("mlp-drop-probability", names, {"j": 3})


@quoted(
    "mlp-lost-factors",
    r"$\dd{L}{W_1} = (\yh\,W_2\cdot[\dots]\T x\T)$, with an unreadable bracket.",
    r"$\dd{L}{W_1} = \delta_1x\T$, \cref{ans:mlp-grad-w1}: whatever the bracket holds, $y$ is missing, as in $\partial L/\partial z_2 = \yh$. The size is that of $\yh$ in the place of $\yh-y$, all else right.",
)
def _():
    """yh for yh - y in W_2^T (yh - y) * m * phi' x^T, all else right."""
    x, W1, mask = numbers(3, start=7), numbers(4, 3, start=20), torch.tensor([1.0, 1.0, 0.0, 1.0]).double() / 0.9

    def loss(W1):
        return -(ONE_HOT * torch.log_softmax(W2 @ (mask * torch.nn.functional.leaky_relu(W1 @ x, 0.1)), 0)).sum()

    z1, truth = W1 @ x, grad(loss, W1)
    slopes = grad(lambda z: torch.nn.functional.leaky_relu(z, 0.1).sum(), z1)
    yh = torch.softmax(W2 @ (mask * z1 * slopes), 0)
    delta, wrong = (torch.outer(W2.T @ e * mask * slopes, x) for e in (yh - ONE_HOT, yh))
    assert (delta - truth).abs().max() < 1e-12
    return ((wrong - truth).abs().max() / max(wrong.abs().max(), truth.abs().max())).item()


@quoted(
    "schwarz-unstated",
    r"$J_{\nabla F} = H$, asserted for any function.",
    r"Needs a condition, \cref{ans:jacobian-of-gradient}; Peano's mixed derivatives differ by 2, \cref{ans:peano}.",
)
def _():
    """Peano's mixed derivatives at 0, as limits: of -x_2 in x_2, and of x_1 in x_1."""

    def F(x, y):
        return x * y * (x**2 - y**2) / (x**2 + y**2)

    h, k = 1e-6, 1e-3
    yx = (F(h, k) - F(-h, k)) / (2 * h) / k
    xy = (F(k, h) - F(k, -h)) / (2 * h) / k
    return abs(yx - xy)


# ----------------------------------------------------------------------------------------------------- question 5

WK, XK, YD, DELTA, S = numbers(3), numbers(3, start=8), 0.7, 1 + 0.5 * numbers(3, start=15), 0.7


def noisy_loss(w, delta):
    return 0.5 * (YD - (delta * w * XK).sum()) ** 2


@quoted(
    "dropout-sign",
    r"$\dd{J_1}{w_i} = \nu_ix_i\Big(y_d-\sum_k\nu_kw_kx_k\Big)$.",
    r"$\dd{J_1}{w_i} = -\nu_ix_i\Big(y_d-\sum_k\nu_kw_kx_k\Big)$ for $J_1 = \frac12(\dots)^2$, \cref{ans:dropout-grad}. The loss is written as $-\alpha(\dots)^2$; for that one the sign is right, but it has no minimum.",
)
def _():
    names = {r"\dd{J_1}{w}": grad(lambda w: noisy_loss(w, DELTA), WK), r"\nu": DELTA, "w": WK, "x": XK, "y_d": YD}
    return size("dropout-sign", names, {"i": 3, "k": 3})


@quoted(
    "dropout-no-mean",
    r"$\E\,\dd{J_1}{w_i} = -(y_d - w\T x)\,x_i$ is all that can be had from the report: the expectation is never taken, and the relation to L2 is only asserted.",
    r"$\E\,\dd{J_1}{w_i} = -(y_d - w\T x)\,x_i + s^2w_ix_i^2$, \cref{ans:dropout-mean-grad}.",
)
def _():
    signs = 2 * torch.cartesian_prod(*[torch.arange(2)] * 3).double() - 1
    draws = [(1 / 8, {r"\dd{J_1}{w}": grad(lambda w, d=d: noisy_loss(w, 1 + S * d), WK).numpy()}) for d in signs]
    return size("dropout-no-mean", {"w": WK, "x": XK, "y_d": YD, "s": S}, {"i": 3}, draws)


@quoted(
    "l2-penalty",
    r"$\Omega = \lambda\sum_jw_j$, named L2.",
    r"$\Omega = \lambda\sum_jw_j^2$.",
)
def _():
    return size("l2-penalty", {r"\Omega": 0.1 * (WK @ WK), r"\lambda": 0.1, "w": WK}, {"j": 3})


# ----------------------------------------------------------------------------------------------------- question 6


@quoted(
    "newton-minimises-f",
    r"$x_{t+1} = x_t - \frac{f'(x_t)}{f''(x_t)}$, from $\frac{d}{dt}f(x_t+t) = 0$.",
    r"$x_{t+1} = x_t - \frac{f(x_t)}{f'(x_t)}$: here $f$ stands for the function to be minimised, although the line above defines $f = g'$, which is to be zero. The report then derives the step from $g$, and rightly. (Both steps for $f = x^3+x^2-2$ at 1.5.)",
)
def _():
    names = {"f": lambda x: x**3 + x**2 - 2, "f'": lambda x: 3 * x**2 + 2 * x, "f''": lambda x: 6 * x + 2, "x_t": 1.5}
    return size("newton-minimises-f", names | {"x_{t+1}": 1.5 - 3.625 / 9.75})


@quoted(
    "newton-one-quarter",
    r"$|x_{t+1}-x_t| \le \frac14|x_t-x^*|^2$.",
    r"$|x_{t+1}-x^*| \le \frac B{2c}|x_t-x^*|^2$, \cref{ans:newton-bound}; no constant is universal. (Here for $f = x^2-1$ at $\frac12$.)",
)
def _():
    return size("newton-one-quarter", {"x_t": 0.5, "x_{t+1}": 0.5 + 0.75, "x^*": 1.0, "B": 2.0, "c": 1.0})


def exponential(e, root=0.0):
    """f = exp(2 (x - root)) - 1, and the step from root + e."""
    f1, f2 = (lambda x: 2 * np.exp(2 * (x - root))), (lambda x: 4 * np.exp(2 * (x - root)))
    new = e - np.expm1(2 * e) / f1(root + e)
    steps = {"x_t": root + e, "e_t": e, "x_{t+1}": root + new, "e_{t+1}": new}
    return {"f": lambda x: np.expm1(2 * (x - root)), "f'": f1, "f''": f2, "x^*": root} | steps


@quoted(
    "newton-series-as-equality",
    r"$x_{t+1} = x_t - \frac{f'(x^*)e_t + \frac12f''(x^*)e_t^2}{f'(x^*) + f''(x^*)e_t}$, as an equality.",
    r"$x_{t+1} = x_t - \frac{f(x_t)}{f'(x_t)}$, and $f(x_t)$ equals its series only with a remainder, as in \cref{ans:newton-error}. (Here for $f = e^{2x}-1$ at $\frac12$.)",
)
def _():
    return size("newton-series-as-equality", exponential(0.5))


@quoted(
    "newton-dropped-term",
    r"$e_{t+1} \approx e_t - \frac{f'(x^*)e_t + \frac12f''(x^*)e_t^2}{f'(x^*)}$, and the sign of the result is then flipped without a reason.",
    r"$e_{t+1} \approx \frac{f''(x^*)}{2f'(x^*)}e_t^2$. Over the common denominator the dropped $f''e_t$ contributes $+f''e_t^2$, which is of the same order as the $-\frac12f''e_t^2$ that was kept; together $+\frac12f''e_t^2$, \cref{ans:newton-constant}. (In units of $e_t^2$.)",
)
def _():
    """In units of e_t^2, in the limit e_t -> 0: C = f'' / 2f' is 1 here."""
    error = exponential(1e-4, root=1.0)
    assert error["e_{t+1}"] == pytest.approx(1e-8, rel=1e-3)
    return size("newton-dropped-term", error | {"e_{t+1}": 1e-8})


@quoted(
    "newton-curvature-unstated",
    r"$x^* = \arg\min g \Rightarrow f(x^*) = 0$, and then every root of $f$ is treated as the minimum.",
    "Needs $g''(x^*)>0$: on $x^4-x^2$ the pure iteration from 0.1 converges to a maximum. The size is $|g''|$ there.",
)
def _():
    """A stationary point of g = x^4 - x^2 that Newton finds from 0.1 is a maximum: g'' = -2."""
    x = 0.1
    for _ in range(20):
        x = x - (-2 * x + 4 * x**3) / (-2 + 12 * x**2)
    assert abs(x) < 1e-12, "converged to the maximum at 0"
    return abs(-2 + 12 * x**2)


# ----------------------------------------------------------------------------------------------------- question 7

SOFT = torch.softmax(numbers(4, start=30), 0)
HESSIAN = torch.diag(P) - torch.outer(P, P)


@quoted(
    "ce-indices",
    r"$\dd{\yh_i}{z_j} = \yh_i([i=j]-\yh_i)$.",
    r"$\dd{\yh_i}{z_j} = \yh_i([i=j]-\yh_j)$. The next line has the right indices.",
)
def _():
    return size("ce-indices", CE, {"i": 4, "j": 4})


@quoted(
    "ce-coefficient",
    r"$\dd{L}{z_i} = -\sum_j\frac{y_i}{\yh_i}\,\yh_j([i=j]-\yh_i)$ (the hat over the upper $y_i$ may be an artefact of the scan).",
    r"$\dd{L}{z_i} = -\sum_j\frac{y_j}{\yh_j}\,\yh_j([i=j]-\yh_i)$, with $j$ in the fraction. As written the sum is 0 for every $i$; the report's result, $\yh_i-y_i$, is right.",
)
def _():
    truth = grad(lambda z: -(SOFT * torch.log_softmax(z, 0)).sum(), LOGITS)
    return size("ce-coefficient", CE | {"y": SOFT, r"\dd{L}{z}": truth}, {"i": 4, "j": 4})


@quoted(
    "ce-strict",
    r"$v\T Hv > 0$.",
    r"$v\T Hv \ge 0$, with equality on $\operatorname{span}(\one)$, \cref{ans:ce-null-space}; the report's closing words do say semi-definite. The size is the number of dimensions in which the form is 0.",
)
def _():
    return 4 - torch.linalg.matrix_rank(HESSIAN).item()


@quoted(
    "ce-dropped-diagonal",
    r"$v\T Hv = \sum_i\sum_{j\ne i}v_iv_jH_{ij}$.",
    r"$v\T Hv = \sum_i\sum_jv_iv_jH_{ij}$. The next formula has the diagonal terms again.",
)
def _():
    return size("ce-dropped-diagonal", {"v": numbers(4, start=50), "H": HESSIAN}, {"i": 4, "j": 4})


@quoted(
    "ce-conclusion",
    "a sum of non-negative terms minus a sum of ``covariances'' is positive.",
    r"It does not follow: with a diagonal of 0.2 instead of 0.25 and $K=2$ an expression of this kind has a negative eigenvalue, whose modulus is the size. \Cref{ans:ce-psd} needs the identity.",
)
def _():
    """With the diagonal 0.2 instead of 0.25 the same argument would call this form positive."""
    return -np.linalg.eigvalsh([[0.2, -0.25], [-0.25, 0.2]]).min()


# ------------------------------------------------------------------------------------------------------- the tests


@pytest.mark.parametrize("label", CHECKS)
def test_erratum(label):
    """The entry is printed as here, its correction is right, and its size is, to the digits printed."""
    texts = tuple(" ".join(TEXTS[label][kind].split()) for kind in ("written", "correct"))
    assert texts == QUOTED[label], "the entry has changed: change its check with it"
    assert re.fullmatch(r"\d|\d\.\d{2,3}", TEXTS[label]["size"])
    printed = TEXTS[label]["size"]
    half = 0.501 * 10.0 ** -len(printed.partition(".")[2])
    assert float(printed) == pytest.approx(CHECKS[label](), abs=half)


def test_every_erratum_has_a_check_and_every_check_an_erratum():
    assert set(TEXTS) == set(CHECKS) and len(CHECKS) > 25
