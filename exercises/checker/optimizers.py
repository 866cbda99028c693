"""How SGD and gradient descent are checked: by their updates, by the history, and by where a path ends."""

from collections.abc import Callable
from itertools import count, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from .calling import methods, parts
from .compare import Case, Mistakes, array, judge, same
from .core import Found, need, task

# ----------------------------------------------------------------------------- stochastic gradient descent


@task("SGD")
def check_sgd(cls: type) -> str:
    methods(cls, "step", "zero_grad")
    trials, cases = [], []
    for rate, dtype in (0.1, torch.float64), (0.5, torch.float32), (2.0, torch.float64):
        parameters = [nn.Parameter(torch.randn(*shape, dtype=dtype)) for shape in ((3, 2), (2,))]
        optimizer = cls(iter(parameters), rate)
        draw_gradients(parameters, 1)
        cases += changes(optimizer, parameters, rate)
        trials.append((optimizer, parameters, rate))
    without_rate(cases, "learning rate missing", "step does not use the learning rate.")
    judge(cases)
    for trial in trials:
        check_later_steps(*trial)
    return "right: step, a second step, zero_grad."


def check_later_steps(optimizer: Any, parameters: list, rate: float) -> None:
    again = changes(optimizer, parameters, rate)
    text = "the second step does nothing: params was a generator, which can be gone through only once. Keep a list."
    need(any(case.ours.any() for case in again), "generator", text)
    text = "the first step is right; a second one, with the same gradients, is another. It needs nothing of the first."
    need(all(same(case.ours, case.truth) for case in again), "memory", text)
    for _ in range(2):
        forget(optimizer, parameters)
        draw_gradients(parameters, 100)
        judge(changes(optimizer, parameters, rate))
    for p in parameters:
        p.grad = None
    try:
        optimizer.zero_grad()
    except AttributeError as error:
        text = "zero_grad fails where a gradient is still None, as all are before the first backward."
        raise Found("zero_grad before backward", text) from error


def without_rate(cases: list[Case], kind: str, text: str) -> None:
    """Let the cases know this mistake: the same multiple of the gradient in all of them."""
    g = array(cases[0].inputs["gradient"])
    rate = np.sum(array(cases[0].ours) * g) / np.sum(g * g)
    for case in cases:
        case.wrong[kind] = rate * array(case.inputs["gradient"]), text


def draw_gradients(parameters: list, scale: float) -> None:
    for p in parameters:
        p.grad = scale * torch.randn_like(p)


def changes(optimizer: Any, parameters: list, rate: float) -> list[Case]:
    """What a step changes in each parameter."""
    before = [(p.detach().clone(), p.grad.clone()) for p in parameters]
    try:
        with torch.enable_grad():
            optimizer.step()
    except RuntimeError as error:
        text = "the update itself is recorded by autograd, which refuses it: put it under torch.no_grad()."
        need("in-place operation" not in str(error), "grad recorded", text)
        raise
    except (AttributeError, TypeError) as error:
        text = "step finds no gradient, and all parameters have one: does it keep copies of them?"
        need("NoneType" not in str(error), "copies", text)
        raise
    cases = []
    for p, (old, g) in zip(parameters, before, strict=True):
        text = "step changes the gradients; it is zero_grad that forgets them."
        need(p.grad is not None and torch.equal(p.grad, g), "grad modified", text)
        need(p.dtype == old.dtype, "dtype", f"step turns a parameter of {old.dtype} into {p.dtype}.")
        need(p.requires_grad, "requires_grad", "after step a parameter has lost its requires_grad.")
        inputs = {"before": old, "gradient": g, "rate": torch.tensor(rate)}
        change = p.detach() - old
        decay = ((change + rate * g) * old).sum() / (old * old).sum()
        kept = "step leaves the parameters as they were. (p = p - ... makes a new tensor; change p itself, in place.)"
        also = "step also multiplies the parameters with a number: a weight decay?"
        wrong = update_mistakes(old, g, rate) | {
            "unchanged": (0 * g, kept),
            "divided by the rate": (-g / rate, "the gradient is divided by the learning rate."),
            "weight decay": (decay * old - rate * g, also),
        }
        cases.append(Case("what step adds to a parameter", change, -rate * g, inputs, wrong))
    changed = [bool(case.ours.any()) for case in cases]
    need(all(changed) or not any(changed), "some parameters", "only some of the parameters are changed.")
    return cases


def update_mistakes(old: Any, g: Any, rate: float) -> Mistakes:
    """What is done in place of adding -rate g to the old value."""
    old, g = array(old), array(g)
    return {
        "ascent": (rate * g, "the step goes along the gradient, uphill."),
        "old value lost": (-rate * g - old, "after the step the old value is lost."),
        "sign of the gradient": (-rate * np.sign(g), "the step uses only the sign of the gradient."),
        "normalised": (-rate * unit(g), "the gradient is divided by its length; its length belongs to the step."),
    }


def forget(optimizer: Any, parameters: list) -> None:
    before = [p.detach().clone() for p in parameters]
    optimizer.zero_grad()
    forgotten = all(p.grad is None or not p.grad.any() for p in parameters)
    need(forgotten, "zero_grad", "after zero_grad the old gradients are still there.")
    kept = all(map(torch.equal, parameters, before))
    need(kept, "parameters changed", "zero_grad changes the parameters; only the gradients are to be forgotten.")


# ----------------------------------------------------------------------------- a path, and where it ends


class Path(NamedTuple):
    """The points of a run (k, n), f's own values and gradients there, and those of the student's history."""

    thetas: np.ndarray
    values: np.ndarray
    grads: np.ndarray
    history: dict[str, np.ndarray]


def quadratic(A: Any, centre: Any, grad: Any = 0.0, level: float = 0.0) -> Callable:
    """x -> value, gradient and Hessian of a quadratic function with Hessian A; grad and level: of the centre."""
    A, centre = np.array(A, dtype=float), np.array(centre, dtype=float)
    grad = grad + np.zeros(len(A))

    def f(x):
        d = np.array(x, dtype=float) - centre
        return level + grad @ d + 0.5 * d @ A @ d, grad + A @ d, A.copy()

    return f


def bounded(f: Callable, n: int, limit: int, when: str) -> Callable:
    """f on arrays of n numbers, which ends what has no end."""
    calls = count(1)

    def called(x):
        need(next(calls) <= limit, "no end", f"{when} f was called {limit:,} times, without an end.")
        need(np.shape(x) == (n,), "shape", f"f is called on an array of shape {np.shape(x)}, expected ({n},).")
        return f(x)

    return called


def run(optimizer: Callable, f: Callable, start: Any, max_steps: int, **options: Any) -> Path:
    kept, limit, when = np.array(start, dtype=float), 3000 + 50 * max_steps, f"with max_steps={max_steps}"
    start = start.copy()  # that of the next check stays as it is
    result = optimizer(bounded(f, len(kept), limit, when), start, max_steps=max_steps, **options)
    alone = isinstance(result, list) and result and all(hasattr(entry, "theta") for entry in result)
    need(not alone, "not a tuple", "it should return (theta, history), got the history alone.")
    theta, history = parts(result, "theta", "history")
    text = "theta0 is changed; the caller still needs it. Work on a copy."
    need(np.array_equal(np.array(start, dtype=float), kept), "start modified", text)
    text = "the history should be a list with an entry for the start and for each update."
    need(isinstance(history, list | tuple) and history, "no history", text)
    kinds = {name: column(history, name, len(kept)) for name in ("theta", "value", "grad")}
    thetas = kinds["theta"]
    aliased = len(thetas) > 1 and (thetas == thetas[0]).all() and not same(thetas[0], kept)
    text = "all entries of the history are the same array: store a copy, or make a new theta in each step."
    need(not aliased, "history aliased", text)
    text = f"the history should begin with the start {kept}, it begins with {thetas[0]}."
    need(np.allclose(thetas[0], kept), "start missing", text)
    finite = np.isfinite(thetas).all(1)
    need(finite.all(), "not finite", f"theta is not finite after update {np.argmin(finite)}.")
    need(same(thetas[-1], theta), "end missing", "the history should end with the theta that is returned.")
    made = len(thetas) - 1
    need(made <= max_steps, "max_steps", f"with max_steps={max_steps} it makes {made} updates.")
    values, grads, *_ = zip(*map(f, thetas), strict=True)
    return Path(thetas, np.array(values), np.array(grads), kinds)


def column(history: Any, name: str, n: int) -> np.ndarray:
    """This attribute of all entries."""
    for entry in history:
        got = f"an entry of the history is a {type(entry).__name__} without .{name}"
        need(hasattr(entry, name), "history entries", f"{got}: make it a Step(theta, value, grad).")
    try:
        values = np.array([array(getattr(entry, name)) for entry in history])
        return values.reshape(len(history)) if name == "value" else values.reshape(len(history), n)
    except (TypeError, ValueError):
        expected = "a number" if name == "value" else f"an array of shape ({n},)"
        raise Found("history entries", f".{name} of an entry of the history should be {expected}.") from None


def check_values(path: Path) -> None:
    """Are the values and gradients of the history those at its points?"""
    for name, truth in ("value", path.values), ("grad", path.grads):
        ours = path.history[name]
        wrong = [k for k in range(len(ours)) if not same(ours[k], truth[k])]
        late = bool(wrong) and same(ours[1:], truth[:-1])
        need(not late, "history late", f"from its second entry on, .{name} in the history is that of the point before.")
        text = f".{name} in the history is not f's at the entry's theta, in entries {wrong[:3]}."
        need(not wrong, "history values", text)


CHANGE = "the change of the value"
GRADIENT = "the length of the gradient"


def sizes(path: Path) -> dict[str, np.ndarray]:
    """What may be compared with the tolerance, at each point of the path."""
    change = np.diff(path.values, prepend=-np.inf)
    step = np.linalg.norm(np.diff(path.thetas, axis=0, prepend=-np.inf), axis=1)
    length = np.linalg.norm(path.grads, axis=1)
    return {
        CHANGE: np.abs(change),
        "the change of the value, with its sign,": change,
        "the relative change of the value": np.abs(change) / np.abs(path.values),
        GRADIENT: length,
        "the squared length of the gradient": length**2,
        "the largest entry of the gradient": np.abs(path.grads).max(1),
        "the sum of the gradient's absolute entries": np.abs(path.grads).sum(1),
        "the length of the step": step,
    }


def check_stops(runs: list[tuple[Path, float]], rule: str) -> None:
    """Does each run end where this size is first below the tolerance? The first two differ in their tolerance only."""
    made = [len(path.thetas) - 1 for path, _ in runs]
    stops: dict[str, list] = {}  # what would have been right by each rule; None: that is not reached
    for path, tolerance in runs:
        for name, size in sizes(path).items():
            small = np.flatnonzero(size < tolerance)
            stops.setdefault(name, []).append(int(small[0]) if len(small) else None)
    expected = stops.pop(rule)
    if expected == made:
        return
    text = f"it makes {made[0]} update(s), with the one stop_tolerance as with another."
    need(made[0] != made[1], "tolerance ignored", text)
    for name, counts in stops.items():
        text = f"it stops as if {name} were compared with stop_tolerance; that is another rule."
        need(counts != made, f"stops by {name}", text)
    late = None not in expected and all(k == stop + 1 for k, stop in zip(made, expected, strict=True))
    need(not late, "one update late", "it makes one more update after the one that should be the last.")
    for k, stop, (path, tolerance) in zip(made, expected, runs, strict=True):
        size, given = sizes(path)[rule], f"with stop_tolerance={tolerance:g}"
        text = f"{given} it stops after {k} updates, where {rule} is {size[-1]:.1e}."
        need(stop is not None, "stops early", text)
        text = f"{given} it makes {k} updates, although after {stop} {rule} was {size[stop]:.1e}."
        need(stop == k, "stops late", text)


# ----------------------------------------------------------------------------- gradient descent

DESCENTS = [  # Hessian, minimum, start, alpha, stop_tolerance
    ([[2.0]], [1.0], np.array([3.0]), 0.1, 1e-8),
    ([[2.0]], [1.0], np.array([3.0]), 0.1, 1e-4),
    ([[1.0, 0.0], [0.0, 0.1]], [0.0, 0.0], [1.0, 1.0], 0.5, 1e-6),
    ([[2.0, 0.5], [0.5, 1.0]], [1.0, -1.0], np.array([3, 2]), 0.2, 1e-8),
    (np.diag([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0], [0, 0, 0], 0.3, 1e-5),
]


@task("GD")
def check_gd(gd: Callable) -> str:
    runs = []
    for A, m, start, alpha, tolerance in DESCENTS:
        f = quadratic(A, m, level=50.0)
        path = run(gd, lambda x, f=f: f(x)[:2], start, 300, alpha=alpha, stop_tolerance=tolerance)
        need(len(path.thetas) > 1, "no update", "it does not make a single update.")
        runs.append((path, tolerance))
    paths = [path for path, _ in runs]
    check_first_updates(paths)
    for path, (A, m, _, alpha, _) in zip(paths, DESCENTS, strict=True):
        check_later_updates(path, np.eye(len(m)) - alpha * np.array(A), np.array(m), alpha)
        check_values(path)
    check_stops(runs, CHANGE)
    f = quadratic([[1.0]], [0.0])
    rising = "where the value rises, its updates are not those that are asked for: only the size of the change counts."
    for alpha, steps, kind, text in (0.01, 7, "max_steps", ""), (2.5, 20, "stops on a rise", rising):
        path = run(gd, lambda x: f(x)[:2], np.array([1.0]), steps, alpha=alpha, stop_tolerance=1e-12)
        made = len(path.thetas) - 1
        need(made == steps, kind, text or f"with max_steps={steps} it makes {made} updates, and the tolerance is far.")
    path = run(gd, lambda x: f(x)[:2], np.zeros(1), 5, alpha=0.5, stop_tolerance=1e-6)
    text = f"from the minimum it makes {len(path.thetas) - 1} updates: the first changes nothing, and is the last one."
    need(len(path.thetas) == 2, "stop at the first update", text)
    return "right: the path, its history, the stopping rule; the start is left alone."


def check_first_updates(paths: list[Path]) -> None:
    cases = []
    for path, (_, _, _, alpha, _) in zip(paths, DESCENTS, strict=True):
        x0, g = path.thetas[0], path.grads[0]
        inputs = {"theta0": x0, "gradient": g, "alpha": np.array(alpha)}
        wrong = update_mistakes(x0, g, alpha)
        wrong["unchanged"] = 0 * g, "the second entry of the history is still the start."
        cases.append(Case("the first update", path.thetas[1] - x0, -alpha * g, inputs, wrong))
    without_rate(cases, "alpha missing", "the update does not use alpha.")
    judge(cases)


def check_later_updates(path: Path, shrink: np.ndarray, m: np.ndarray, alpha: float) -> None:
    """Each update brings theta nearer to the minimum m by the same matrix."""
    for k, (before, now) in enumerate(pairwise(path.thetas)):
        if same(now - m, shrink @ (before - m)):
            continue
        stale = any(same(before - now, alpha * path.grads[j]) for j in (0, k - 1))
        need(not stale, "stale gradient", f"update {k + 1} uses a gradient from before the last update.")
        raise Found("later update", f"update {k + 1} is wrong, those before it are right.")


def unit(v: np.ndarray) -> np.ndarray:
    return v / (np.linalg.norm(v) or 1.0)
