"""Comparing what an answer computes with the truth, on many inputs: which mistake explains all the differences?"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from .core import Found, need

Mistakes = dict[str, tuple[Any, str]]  # kind -> the value that this mistake would give, and the sentence on it


@dataclass
class Case:
    """One comparison: what is compared, the student's value and the truth, on which inputs (as they are printed).

    wrong: what known mistakes would give here. scales: by name, factors that are often lost. tags: what is special
    about this input, such as "a batch of one".
    """

    what: str
    ours: Any
    truth: Any
    inputs: dict[str, Any]
    wrong: Mistakes = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)


def array(x: Any) -> np.ndarray:
    if isinstance(x, Tensor):
        x = x.detach().cpu()
    return np.asarray(x, dtype=float)


def same(a: Any, b: Any, tolerance: float = 1e-6) -> bool:
    """Equal to rounding: of the same shape, and within the tolerance times the largest entry of b, or 1."""
    a, b = array(a), array(b)
    if a.shape != b.shape or not np.isfinite(a).all():
        return a.shape == b.shape and np.array_equal(a, b)
    return bool(np.abs(a - b).max(initial=0) <= tolerance * max(1.0, np.abs(b).max(initial=0)))


def judge(cases: list[Case]) -> None:
    """Raise Found for the first thing, in the order of the cases, that is not right in all of them."""
    for what in dict.fromkeys(case.what for case in cases):
        _judge(what, [case for case in cases if case.what == what])


def _judge(what: str, cases: list[Case]) -> None:
    bad = [case for case in cases if not same(case.ours, case.truth)]
    if not bad:
        return
    kinds = [kind for kind in bad[0].wrong if all(kind in case.wrong for case in bad)]
    for sign, also, said in (1, "", ""), (-1, ", and the sign", "the sign is wrong, and "):
        for kind in kinds:
            if all(same(case.ours, sign * array(case.wrong[kind][0])) for case in cases if kind in case.wrong):
                raise Found(kind + also, said + bad[0].wrong[kind][1])
    _shape(what, bad)
    good = [case for case in cases if same(case.ours, case.truth)]
    for tag in sorted(set.intersection(*(case.tags for case in bad))):
        if good and not any(tag in case.tags for case in good):
            raise Found(f"only {tag}", f"{what} is right, but not for {tag}: what is special there?")
    _factor(what, cases)
    raise Found("wrong", f"{what} is wrong; this is not a mistake that I know by name. {smallest(bad)}")


def _shape(what: str, bad: list[Case]) -> None:
    pairs = [(array(case.ours), array(case.truth)) for case in bad]
    transposed = all(a.ndim == 2 and same(a.T, b) for a, b in pairs)
    need(not transposed, "transposed", f"{what} is the transpose of what it should be.")
    shapes = [(a.shape, b.shape) for a, b in pairs if a.shape != b.shape]
    if shapes:
        ours, expected = shapes[0]
        summed = all(a.ndim and len(a) > 1 and same(a.sum(0).reshape(-1), b.reshape(-1)) for a, b in pairs)
        need(not summed, "batch sum", f"{what} is not summed over the batch: it has shape {ours}, expected {expected}.")
        raise Found("shape", f"{what} has the wrong shape: got {ours}, expected {expected}.")


def _factor(what: str, cases: list[Case]) -> None:
    ratios, scales = [], []
    for case in cases:
        ours, truth = array(case.ours).ravel(), array(case.truth).ravel()
        if not truth @ truth and not ours.any():
            continue
        if not truth @ truth or not np.isfinite(ours).all():
            return
        ratios.append(ours @ truth / (truth @ truth))
        scales.append(case.scales)
        if not same(ours, ratios[-1] * truth) or abs(ratios[-1]) < 1e-9:
            return
    if np.allclose(ratios, -1):
        raise Found("sign", f"{what} has the wrong sign.")
    for sign, also in (1, ""), (-1, ", and the sign is wrong"):
        for name in sorted(set().union(*scales)):
            factors = [scale.get(name, np.nan) for scale in scales]
            if np.allclose(ratios, [sign * f for f in factors]) and not np.allclose(factors, 1):
                raise Found(f"factor {name}", f"{what} is {name} times what it should be{also}.")
    if np.allclose(ratios, ratios[0]):
        raise Found("factor", f"{what} is {ratios[0]:.4g} times what it should be, always.")


def smallest(bad: list[Case]) -> str:
    """The counterexample with the fewest numbers, and both values where they differ most."""
    case = min(bad, key=lambda case: sum(np.size(array(x)) for x in case.inputs.values() if not isinstance(x, str)))
    ours, truth = array(case.ours), array(case.truth)
    yours, expected = short(ours), short(truth)
    if truth.shape and ours.shape == truth.shape:
        place = np.unravel_index(np.argmax(np.nan_to_num(np.abs(ours - truth), nan=np.inf)), truth.shape)
        where = ", ".join(map(str, place))
        yours, expected = f"{ours[place]:.4g} in entry [{where}]", f"{truth[place]:.4g}"
    inputs = "\n".join(f"      {name} = {x if isinstance(x, str) else short(x)}" for name, x in case.inputs.items())
    given = f"The smallest input on which it is wrong:\n{inputs}" if inputs else "It is wrong:"
    return f"{given}\n      yours:    {yours}\n      expected: {expected}"


def short(x: Any) -> str:
    return np.array2string(array(x), precision=4, suppress_small=True, separator=", ", threshold=12).replace("\n", "")
