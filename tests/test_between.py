"""What stands between the boxes of theory/: its formulas with their values, its words, its macros (between.py)."""

import os
from itertools import islice, pairwise, permutations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch.autograd.functional import hessian, jacobian
from torch.nn.functional import softplus

from between import gives, in_a_row, reading, to_be_evaluated, words
from evaluator import FormulaError, statements
from printed import BOXES, UNREAD, WORDS, Remainder, flat, grad, randn, real, unread_in
from q1 import Logistic, logistic
from q2 import batches, full
from q3 import cross_entropy, network, softmax, softmaxes
from q4 import F as smooth
from q5 import neurons
from q6 import two_coordinates


@gives("qu")
@gives("th")
def notation():
    p = logistic(4, 2)
    yield p.names | {"[X\\\\one]": p.X_tilde, r"\sigma": p.yh[0], r"\sigma'": grad(torch.sigmoid, p.z[0])}
    yield {"x_t": 1.5, "x^*": 1.0, "e_t": 0.5, "f": 0.3, "g'": 0.3}
    yield {"z": 0.3}


@gives("q1")
def logits():
    for N, D in (5, 2), (9, 3):
        p = logistic(N, D)
        names = p.names | {"x": p.names["X"], r"\dd{E}{z}": grad(p.loss, p.z), r"\dd{E}{w}": p.gradient[:-1]}
        dz = jacobian(lambda theta, p=p: p.X_tilde @ theta, p.theta)
        names |= {r"\dd{z}{w}": dz[:, :-1], r"\dd{z}{b}": dz[:, -1], r"\dd{\yh}{z}": jacobian(torch.sigmoid, p.z)}
        for v in randn(D + 1), torch.zeros(D + 1):
            yield names | {"v": v}, {"n": N, "j": D}
        for n in range(N):  # one example
            yield {r"\yh_n": p.yh[n], "z_n": p.z[n], "x_n": p.names["X"][n], "w": names["w"], "b": names["b"]}
    for end in -800, 800:
        yield {r"\yh": torch.sigmoid(real(end, end))}, {"n": 2}
    for z in -3.0, -0.2, 0.0, 1.7:
        yield {"z": z, r"\max": np.maximum}


@gives("q1", "A safe step length")
def steps():
    """Descent; near 0 and with targets near 1/2 the loss is a parabola; vartheta is anywhere, or near by."""
    curved = logistic(9, 2)
    parabola = Logistic(real([1], [-1]), 0.5 + 1e-3 * randn(2), torch.zeros(2).double())
    for p, far, share in (curved, 1, 1), (curved, 1e-6, 0.5), (curved, -1e-6, 1), (parabola, 1e-6, 1):
        ell = torch.linalg.eigvalsh(p.X_tilde.T @ p.X_tilde)[-1] / 4
        eta, path = share / ell, [p.theta]
        for _ in range(1 if p is parabola else 3):
            path.append(path[-1] - eta * grad(p.E, path[-1]))
        for t, (before, after) in enumerate(pairwise(path)):
            elsewhere = before + far * randn(len(p.theta))
            names = {"E": flat(p.E), r"\eta": eta, r"\ell": ell, r"\vartheta": elsewhere, r"\theta_0": p.theta}
            yield names | {r"\theta_t": after, "t": t + 1}
            names |= {r"\theta": before, r"\theta_t": before, r"\theta_{t+1}": after}
            yield names | {r"\nablaE": grad(p.E, before)}


@gives("q1", "Is there a minimum")
def separable():
    p = logistic(6, 2)
    for scale in 1, 1e-12:
        yield {"y": (p.z > 0).double(), "z": scale * p.z}, {"n": 6}
    p = Logistic(real([1], [-1], [0.5]), real(1, 1, 0), real(1, 1))
    circle = torch.arange(0, 2 * np.pi, 1e-3, dtype=torch.float64)
    worst = ((1 - 2 * p.y) * (torch.stack([circle.cos(), circle.sin()], 1) @ p.X_tilde.T)).amax(1)
    for theta in randn(20, 2):
        yield {"E": p.E(theta), r"\omega": worst.min(), r"\theta": theta}


@gives("q2")
def mean_only_batches():
    yield from islice(batches(), 4)


@gives("q2", "What it does", "The full normalisation")
def full_batches():
    for epsilon in 0.1, 0.0:
        yield from islice(batches(full(epsilon), epsilon), 4)


@gives("q2", r"\hat\tau/\tau \approx 1 + \frac12(\hat\tau^2/\tau^2 - 1)", slack=1e-6)
def near_one():
    yield {r"\hat\tau": 1.001 * 1.7, r"\tau": 1.7}


@gives("q3")
def layers():
    for D, U, K in (2, 3, 4), (5, 2, 3):
        names = network(D, U, K)
        keep = {"p": 0.1, r"\mathrm{keep}": (names["m"] > 0).double()}
        yield names | keep, {"i": K, "j": K, "k": K, "l": U}


@gives("q3", "The softmax", "The cross-entropy")
def one_layer():
    for K in 2, 4:
        z, y = randn(K), randn(K)  # no probabilities: their sum is not 1
        yield softmax(z, y, z), dict.fromkeys("ijk", K)


@gives("q3", "Backwards through the layers")
def backwards():
    for names, sizes in layers():
        yield names, sizes | {"j": sizes["l"]}
    yield {"p": 1 - 1e-12}


@gives("q3", "A batch")
def rows():
    names = network(5, 7, 4, 9)
    for i in "12":
        yield {r"\dd{L}{b_i}": names[rf"\dd{{L}}{{b_{i}}}"], r"\Delta_i": names[rf"\delta_{i}"], r"\one": torch.ones(9)}


@gives("q3", "The mask is not its mean")
def one_unit():
    for w, h, m in (0.7, -1.3, 1 / 0.9), (1.2, 0.4, 0.0):
        slope = grad(lambda h, w=w, m=m: softplus(-w * m * h), torch.tensor(h, dtype=torch.float64))
        names = {"w": w, "h": h, "m": m, r"\rho": 0.3, "z_2": real(w * m * h, 0), "y": real(1, 0)}
        yield names | {"L": np.logaddexp(0, -w * m * h), r"\dd{L}{h}": slope}
    yield {}, {"j": 2}, [(0.1, {"m": np.array([0, 0])}), (0.9, {"m": np.array([1, 1]) / 0.9})]


@gives("q3", "m=0")
def dropped():
    yield {"m": network(5, 50, 4)["m"].min()}


@gives("q3", "m=1/0.9")
def kept():
    yield {"m": network(5, 50, 4)["m"].max()}


@gives("q4")
def cubic():
    for _ in range(3):
        x = randn(3)
        H, gradient = hessian(smooth, x), grad(smooth, x)
        J = jacobian(lambda x: jacobian(smooth, x, create_graph=True), x)
        names = {r"\partialF": gradient, r"\nablaF": gradient, r"\partial\partialF": J.T, r"\partial(\nablaF)": J.T}
        names |= {rf"\partial_{i}F": gradient[i - 1] for i in (1, 2, 3)} | {f"x_{i}": x[i - 1] for i in (1, 2, 3)}
        yield names | {"J_F": gradient, r"J_\nablaF": J, "H": H, "x": x}, {"i": 3, "j": 3}


@gives("q4", "Why a condition")
def peano():
    def F(x, y):
        return x * y * (x * x - y * y) / (x * x + y * y)

    for x_1, x_2 in randn(4, 2).tolist():
        yield {"x_2": x_2, r"\rho": x_1, "F": F}
        names = {"x_1": x_1, "x_2": x_2, "F": F(x_1, x_2)}
        yield names | {r"\partial_2F": lambda x, y: (F(x, y + 1e-6) - F(x, y - 1e-6)) / 2e-6}


@gives("q5")
def noisy():
    for names, sizes, draws in islice(neurons(), 4):
        n, s, X, y = sizes["k"], names["s"], randn(9, sizes["k"]), randn(9)
        wx = (names["w"] * names["x"]).numpy()
        draws = [(p, draw | {r"\tilde z": draw[r"\nu"] @ wx}) for p, draw in draws]
        yield names | {r"\tilde z": names[r"\nu"].numpy() @ wx}, sizes, draws
        w = torch.linalg.solve(X.T @ X + s**2 * (X.T @ X).diag().diag(), X.T @ y)
        yield {"X": X, "x": X, "y": y, "s": s, "w": w, r"\lambda": s**2 * (X**2).sum(0)}, {"n": 9, "i": n}
    yield {"s": 1e-12}


@gives("q5", "Which noise", "Dropout against L2")
def bernoulli():
    for p in 0.1, 0.5:
        yield {"p": p}, {}, [(p, {r"\nu": 0.0}), (1 - p, {r"\nu": 1 / (1 - p)})]
    yield {"p": 1 - 1e-12}


@gives("q5", "seen", r"s^2 = 1")
def dropout_of_a_half():
    yield {"s": np.std([0, 2])}


@gives("q5", r"p = \frac12")
def without_skew():
    """The p at which the third central moment of inverted dropout changes its sign."""
    yield {"p": brentq(lambda p: p * (0 - 1) ** 3 + (1 - p) * (1 / (1 - p) - 1) ** 3, 0.1, 0.9)}


@gives("q5", "Against overfitting")
def eigenvector():
    X, y, penalty = randn(9, 3), randn(9), 0.7
    kappas, vectors = torch.linalg.eigh(X.T @ X)
    w = torch.linalg.solve(X.T @ X + penalty * torch.eye(3).double(), X.T @ y)
    for kappa, v in zip(kappas, vectors.T, strict=True):
        yield {"X": X, "y": y, r"\lambda": penalty, "I": torch.eye(3), "w^*": w, r"\kappa": kappa, "v": v}


@gives("q5", "Dropout against L2")
def standardised():
    X = torch.linalg.qr(randn(9, 3))[0] * 3
    yield {"X": X, "N": 9, "I": torch.eye(3), "s": 0.7, r"\lambda": (0.49 * (X**2).sum(0))[0]}
    w, x = randn(2, 3)
    z = w @ x
    yield {r"\sigma'": grad(torch.sigmoid, z), r"\yh": torch.sigmoid(z), "z": z, "w": w, "x": x}


@gives("q6")
def newton():
    """f = x^3 - 1, for which xi = (2 x + x^*) / 3."""
    yield {"f": 0.3, "g'": 0.3}
    for x in 0.3, 1.7, 2.5:
        xi, new = (2 * x + 1) / 3, x - (x**3 - 1) / (3 * x**2)
        names = {"x_t": x, "e_t": x - 1, "x^*": 1.0, r"\xi_t": xi, "e_{t+1}": new - 1, "C": xi / x**2}
        yield names | {"f": lambda x: x**3 - 1, "f'": lambda x: 3 * x**2, "f''": lambda x: 6 * x}


@gives("q6", "The iteration")
def minimum():
    yield {"g'": lambda x: x**3 - 1, "g''": lambda x: 3 * x**2, "x^*": 1.0}
    yield {"f": 0.3, "g'": 0.3}
    yield {"g''": lambda x: 1e-12, "x^*": 1.0}


@gives("q6", "The conditions")
def interval():
    """f = exp(2 (x - 1)) - 1 around its root, and a first step of x^2 - 1 with the bounds of the point itself."""
    for e, radius in (0.2, 0.2), (-0.15, 0.2), (0.25, 0.25):
        B, c = 4 * np.exp(2 * radius), 2 * np.exp(-2 * radius)
        names = {"B": B, "c": c, "e_0": e, r"\rho": B * abs(e) / (2 * c), "x^*": 1}
        for at in np.linspace(-radius, radius, 5):
            yield names | {"f''": 4 * np.exp(2 * at), "f'": 2 * np.exp(2 * at), "x": 1 + min(at, e, key=abs)}
        for t in range(2):
            before, e = e, e + np.expm1(-2 * e) / 2
            yield names | {"e_t": before, "e_{t+1}": e, "t": t}
    e = 0.1
    names = {"B": 2, "c": 2 * (1 + e), "e_t": e, "e_0": e, "e_{t+1}": e * e / 2 / (1 + e), "t": 0}
    yield names | {r"\rho": e / 2 / (1 + e)}
    yield {"B": 1, "c": 0.5, "e_0": 1 - 1e-12, r"\rho": 1 - 1e-12}


OUTSIDE = r"B = \frac{3\sqrt3}8", r"c = \frac4{13}", r"\frac{2c}B \approx 0.947", "t = 3"


@gives("q6", *OUTSIDE, r"\frac B{2c}e_3^2 \approx 27.60", r"|e_4| \approx 32.30")
def outside():
    """The bounds for arctan where |x| <= 1.5, and the first t at which the iterates from 1.5 break Newton's bound."""
    x, e = np.linspace(-1.5, 1.5, 300_001), [1.5]
    B, c = (2 * x / (1 + x**2) ** 2).max(), (1 / (1 + x**2)).min()
    for _ in range(4):
        e.append(e[-1] - np.arctan(e[-1]) * (1 + e[-1] ** 2))
    broken = [t for t, (before, after) in enumerate(pairwise(e)) if abs(after) > B / (2 * c) * before**2]
    yield {"B": B, "c": c, "t": broken[0], "e_3": e[3], "e_4": e[4]}


TANH = {"f'": lambda x: np.cosh(x) ** -2.0, "f''": lambda x: -2 * np.tanh(x) / np.cosh(x) ** 2}


@gives("q6", "The constant", slack=3e-3)
def constant():
    """f = tanh(x) - tanh(1)."""
    e = 1e-3
    yield TANH | {"x_t": 1 + e, r"\xi_t": 1 + e / 3, "x^*": 1.0, "e_t": e, "O": Remainder(e)}


@gives("q6", "The constant")
def third_order():
    yield {"x": 0.01, "O": Remainder(0.01**5)}
    yield TANH


@gives("q6", "Multiple roots", slack=2e-6)
def multiple():
    for e, r in (1e-3, 2), (-1e-3, 3):
        yield {"q": 2 + e, "q'": 1.0, "r": r, "e_t": e, "O": Remainder(e**2)}


@gives("q6", "Multiple roots")
def multiple_root():
    for e, r in (0.3, 2), (-0.2, 3):  # q = 2 + e
        names = {"f": e**r * (2 + e), "q": 2 + e, "r": r}
        yield names | {"x": 1 + e, "x^*": 1.0}
        yield names | {"f'": r * e ** (r - 1) * (2 + e) + e**r, "q'": 1.0, "e_t": e}
        yield {"f'": lambda x, r=r: float(r * (x - 1) ** (r - 1)), "x^*": 1.0}


@gives("q6", "No global guarantee")
def threshold():
    x = brentq(lambda x: np.sinh(2 * x) - 4 * x, 1.0, 1.2)
    yield {"x": x, "x_0": x, "x_1": x - np.sinh(2 * x) / 2}


@gives("q6", "Damping")
def damping():
    """A step of ln cosh that is taken, one that attains Armijo's inequality, and one of several variables."""
    for x, alpha in (1.2, 0.5), (0.3, 1.0), (-0.7, 1.0):
        g, g1, g2 = (lambda x: np.log(np.cosh(x))), np.tanh, (lambda x: np.cosh(x) ** -2.0)
        v = -g1(x) / g2(x)
        names = {r"\alpha": alpha, "v": v, "x_t": x, "x_{t+1}": x + alpha * v, "g": g, "g'": g1, "g''": g2}
        yield names | {r"\ell": 1.0}
    yield {"x_t": x, "v": 0.3, r"\alpha": 0.5, r"\ell": 2.0, "g": lambda x: x**2, "g'": lambda x: 2 * x}
    g = {0.1: 0.3, -0.15: 0.3 - 0.25e-4}  # at the start and after the step
    names = {"g": lambda x: g.get(round(float(x), 6), 9.0), "g'": lambda x: 1.0 if x == 0.1 else 9.0, "x_t": 0.1}
    yield names | {"v": -1.0, r"\alpha": 0.25}
    H, gradient = torch.eye(2) + 1, randn(2)
    yield {"H": H, r"\nablag": gradient, "v": -torch.linalg.solve(H.double(), gradient)}
    yield {"g''": 1e-12}


@gives("q6", "Damping")
def halved():
    """Where the halving may end: from the longest step whose bracket is sure to be 10^-4 down to half of it."""
    c, ell = 0.3, 1.7
    for g2 in c, 1.1, ell:
        yield {"c": c, "g''": g2, r"\ell": ell}
    (longest,) = np.roots([-ell / (2 * c), 1 - 1e-4])
    for alpha in longest, 0.7 * longest, longest / 2:
        yield {"c": c, r"\ell": ell, r"\alpha": alpha}


@gives("q6", "Affine invariance")
def affine():
    for functions in islice(two_coordinates(), 3):
        yield functions
        numbers = {"P": functions["P"]}
        for mark, at in ("", functions["x"]), (r"\tilde ", functions["u"]):
            numbers |= {name: functions[name](at) for name in (f"{mark}H", rf"\nabla{mark}g")}
        yield numbers


@gives("q7")
def classes():
    for names, sizes in islice(softmaxes(), 4):
        one_hot = np.eye(sizes["k"])
        draws = [(p, {r"\pi": row}) for p, row in zip(names[r"\yh"].tolist(), one_hot, strict=True)]
        yield names | {r"\pi": one_hot[1]}, sizes, draws
    yield {"K": 2}
    yield {"v": real(1, 1) / 2**0.5}


@gives("q7", r"\pi_i\pi_j = 0")
def two_classes():
    for row in np.eye(3):
        yield from ({r"\pi_i": row[i], r"\pi_j": row[j]} for i, j in permutations(range(3), 2))


@gives("q7", "How curved")
def pairs():
    for v in randn(3, 4), real([1, -1], [-2, 2]):
        for row in v:
            yield {"v": row, "v_i": row.min(), "v_j": row.max()}
    for p in real(0.5, 0.5), real(0.7, 0.2, 0.1):
        H = p.diag() - torch.outer(p, p)
        values, vectors = torch.linalg.eigh(H)
        yield {"H": H, "v": vectors[:, -1] / values[-1].sqrt()}


@gives("q7", "What convexity implies")
def convexity():
    for K in 2, 4:
        x, W, V, y, rho = randn(3), randn(K, 3), randn(K, 3), torch.softmax(randn(K), 0), 0.7
        names = {"x": x, "W": W, "z": W @ x, "H": softmax(W @ x, y, y)["H"], "K": K, r"\rho": rho}
        one_hot = torch.eye(K).double()[1]
        yield names | {"V": V, "y": one_hot, "L": flat(lambda z, t=one_hot: cross_entropy(z, t))}
        yield {"V": V * 0, "H": names["H"], "x": x}
        yield {"y": y, "z": y.log() + rho, r"\rho": rho, r"\one": torch.ones(K)}
    yield {r"\lambda_{\max}": 0.5, "y": real(1e-12, 2e-12)}, {"k": 2}
    yield {r"\yh": 1 - real(1e-12, 2e-12)}, {"k": 2}
    yield {r"\tanh'": lambda x: 1 - np.tanh(x) ** 2}
    D, U, K = 2, 3, 2
    x, y = randn(D), real(1, 0)
    weights = torch.zeros(U, D).double(), torch.zeros(K, U).double()
    blocks = hessian(lambda W1, W2: cross_entropy(W2 @ torch.tanh(W1 @ x), y), weights)
    names = {"x": x, "y": y, r"\yh": real(0.5, 0.5), r"\dd{^2L}{W_2}{W_1}": blocks[1][0]}
    yield names, {"k": K, "l": U, "j": U, "i": D}


@pytest.mark.parametrize("formula", to_be_evaluated(), ids=lambda f: f"{f.file[:2]}: {f.text[:40]}")
def test_formula(formula):
    """It holds for all values that can read it, and some can; or it is listed, and does not."""
    read, true, _ = reading(formula)
    if formula.key in UNREAD:
        assert not (read and true), "it is true: take it off the list"
    else:
        assert true, "it is wrong"
        assert read, "it has no values; theory_unread.txt lists what cannot be evaluated"


def test_the_lines_of_an_aligned_display_are_one_chain():
    display = r" \begin{aligned} a &\le b \\ &= c. \end{aligned} "
    assert in_a_row(display).split() == ["a", r"\le", "b", "=", "c."]
    for other in r"a &\le b \\ + c", r"a \le b \\ &= c", r"a &\le b \\ &c", r"a &\le b & c", r"a &\le b \\ c &= d":
        with pytest.raises(FormulaError, match="do not begin with a relation"):
            in_a_row(rf"\begin{{aligned}}{other}\end{{aligned}}")


def test_at_most_a_quarter_is_listed_and_everything_listed_is_there():
    found = [formula.key for formula in to_be_evaluated()]
    assert {key for key in UNREAD if key[0] not in BOXES} <= set(found) and len(UNREAD) == len(set(UNREAD))
    assert all(part in statements(box) for label, box in BOXES.items() for part in unread_in(label))
    assert 4 * sum(key in UNREAD for key in found) <= len(found)


def test_words():
    """What no test evaluates is what it was; WRITE_WORDS=1 python -m pytest tests/test_between.py writes it anew."""
    if os.environ.get("WRITE_WORDS"):
        WORDS.write_text(words(), encoding="utf-8")
    assert words().splitlines() == WORDS.read_text(encoding="utf-8").splitlines()
