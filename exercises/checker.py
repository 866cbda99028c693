"""check(answer): is an answer of the homework right, and if not, what kind of mistake was made?

The answer is judged by what it does, not by how it is written, and without a solution to compare with: gradients by
autograd on the definition, optimizers by their updates, loops by what they do in which order. ``diagnose`` gives the
same as (kind, text), where kind is "right", "not written", or the name of the mistake.
"""

import contextlib
import ctypes
import inspect
import io
import linecache
import sys
import textwrap
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diagnoses import DIAGNOSES

# An exercise's first cell finds this folder; the modules and the evaluator of formulas lie beside it.
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "theory")]

TASKS: dict[str, Callable] = {}  # name of the answer -> what checks it


class Found(Exception):
    """A mistake was found: its kind, and what diagnoses.py says of it."""

    def __init__(self, kind: str, *details: Any) -> None:
        super().__init__(kind)
        self.kind, self.text = kind, DIAGNOSES[kind.partition("|")[0]].format(*details)
        self.kind = kind.partition("|")[2] or kind


def need(condition: Any, kind: str, *details: Any) -> None:
    if not condition:
        raise Found(kind, *details)


# ------------------------------------------------------------------------------------------------- what is called


def check(answer: Any, name: str | None = None, limit: float = 60.0) -> None:
    """Print whether the answer is right, or what diagnose finds. name: of the task, if not the answer's own."""
    name = name or getattr(answer, "__name__", "")
    kind, text = diagnose(answer, name, limit)
    mark = {"right": "✓", "not written": "…", "unreadable": "?", "unreadable Python": "?"}.get(kind, "✗")
    for line in f"{mark} {name}: {text}".splitlines():
        print(textwrap.fill(line, 96, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def ready(*answers: Any) -> bool:
    """Are these answers right, as they are now? If not, print which of them are missing."""
    states = {"right": "", "not written": "not written yet"}
    found = {a.__name__: states.get(diagnose(a, a.__name__)[0], "not right yet") for a in answers}
    missing = {
        state: [name for name in found if found[name] == state] for state in sorted(set(found.values())) if state
    }
    if missing:
        needs = ", ".join(f"{', '.join(names)} ({state})" for state, names in missing.items())
        print(textwrap.fill(f"… This needs {needs}.", 96, subsequent_indent="… "))
    return not missing


def diagnose(answer: Any, name: str, limit: float = 60.0) -> tuple[str, str]:
    """(kind, text) of an answer. Never raises; an answer that does not end is interrupted after limit seconds."""
    import check_code  # noqa: F401  (they register their tasks here)
    import check_formulas  # noqa: F401

    if name not in TASKS:
        return "unknown", f"there is no task of that name; there are {', '.join(TASKS)}"
    numpy_state, filters = np.random.get_state(), warnings.filters[:]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), np.errstate(all="ignore"), time_limit(limit):
            torch.manual_seed(0)
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(io.StringIO()):  # what the answer prints, hundreds of times
                return "right", TASKS[name](answer)
    except Found as found:
        return found.kind, found.text
    except NotImplementedError as error:
        if str(error) not in ("", "not written yet"):
            return "error", in_your_line(error, answer)
        return "not written", f"not written yet{where(error, answer, name)}"
    except TimeLimit:
        return "endless", f"it did not end within {limit:g} seconds: does a loop ever stop?"
    except (Exception, SystemExit) as error:
        return "error", in_your_line(error, answer)
    finally:
        np.random.set_state(numpy_state)
        warnings.filters[:] = filters


class TimeLimit(BaseException):
    pass


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimit in this thread after so many seconds, also inside a Python loop that never ends."""
    thread, over, lock = threading.get_ident(), threading.Event(), threading.Lock()

    def interrupt():
        wait = seconds
        while not over.wait(wait):
            with lock:
                if not over.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TimeLimit))
            wait = 1.0  # again, if a bare except has swallowed it

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        yield
    finally:
        with lock:
            over.set()


def where(error: Exception, answer: Any, name: str) -> str:
    """Which method is still a hole, if the answer has several."""
    frames = [frame.name for frame in own_frames(error, answer) if frame.name != name]
    return f": {frames[-1]}" if inspect.isclass(answer) and frames else ""


def in_your_line(error: Exception, answer: Any) -> str:
    """The error, at the last line of the student's own code."""
    frames = own_frames(error, answer)
    said = f"{type(error).__name__}: {error}"[:400]
    if not frames:
        return said
    line = linecache.getline(frames[-1].filename, frames[-1].lineno).strip()
    return f"an error in your line\n      {line}\n  {said}"


def own_frames(error: Exception, answer: Any) -> list[traceback.FrameSummary]:
    """Where the error passed through the student's own file: that of the function, or of the class's own methods."""
    functions = map(inspect.unwrap, vars(answer).values() if inspect.isclass(answer) else [answer])
    files = {function.__code__.co_filename for function in functions if hasattr(function, "__code__")}
    return [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]


def task(name: str) -> Callable:
    def register(function: Callable) -> Callable:
        TASKS[name] = function
        return function

    return register


# ------------------------------------------------------------------------------------------- comparing two numbers


@dataclass
class Case:
    """One comparison: what is compared, the student's value and the truth, on which input.

    wrong: by kind, the value that this mistake would give. scales: by name, factors that are often
    lost. tags: what is special about this input, such as "a batch of one".
    """

    what: str
    ours: Any
    truth: Any
    inputs: dict[str, Any]
    wrong: dict[str, Any] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)


def array(x: Any) -> np.ndarray:
    if isinstance(x, Tensor):
        x = x.detach().cpu()
    return np.asarray(x, dtype=float)


def same(a: Any, b: Any, tolerance: float = 1e-6) -> bool:
    a, b = array(a), array(b)
    if a.shape != b.shape or not np.isfinite(a).all():
        return a.shape == b.shape and np.array_equal(a, b)
    return bool(np.abs(a - b).max(initial=0) <= tolerance * max(1.0, np.abs(b).max(initial=0)))


def judge(cases: list[Case]) -> None:
    """Raise Found for the first thing, in the order of the cases, that is not right in all of them."""
    for what in dict.fromkeys(case.what for case in cases):
        _judge(what, [case for case in cases if case.what == what])


def compare(what: str, ours: Any, truth: Any, inputs: dict[str, Any], wrong: dict[str, Any] | None = None) -> None:
    judge([Case(what, ours, truth, inputs, wrong or {})])


def _judge(what: str, cases: list[Case]) -> None:
    bad = [case for case in cases if not same(case.ours, case.truth)]
    if not bad:
        return
    for kind in dict.fromkeys(kind for case in bad for kind in case.wrong):
        explained = [same(case.ours, case.wrong[kind]) for case in cases if kind in case.wrong]
        need(not (all(explained) and all(kind in case.wrong for case in bad)), kind)
    _shape(what, bad)
    good = [case for case in cases if same(case.ours, case.truth)]
    for tag in sorted(set.intersection(*(case.tags for case in bad))):
        if good and not any(tag in case.tags for case in good):
            raise Found(f"only sometimes|only {tag}", what, tag)
    _factor(what, cases)
    case = min(bad, key=lambda case: sum(np.size(array(x)) for x in case.inputs.values()))
    ours, truth = array(case.ours), array(case.truth)
    error = np.abs(ours - truth).max() / max(np.abs(truth).max(), 1e-300)
    inputs = "\n".join(f"      {name} = {short(x)}" for name, x in case.inputs.items())
    raise Found("wrong", what, error, inputs, *entry(ours, truth))


def entry(ours: np.ndarray, truth: np.ndarray) -> tuple[str, str]:
    """Both numbers, or of arrays the entry where they differ most."""
    if not truth.shape:
        return short(ours), short(truth)
    place = np.unravel_index(np.argmax(np.abs(ours - truth)), truth.shape)
    where = ", ".join(map(str, place))
    return f"{ours[place]:.4g} in entry [{where}]", f"{truth[place]:.4g}"


def short(x: Any) -> str:
    return np.array2string(array(x), precision=4, suppress_small=True, separator=", ", threshold=12).replace("\n", "")


def _shape(what: str, bad: list[Case]) -> None:
    pairs = [(array(case.ours), array(case.truth)) for case in bad]
    need(not all(a.ndim == 2 and same(a.T, b) for a, b in pairs), "transposed", what)
    shapes = [(a.shape, b.shape) for a, b in pairs if a.shape != b.shape]
    if shapes:
        summed = all(a.ndim and same(a.sum(0).reshape(-1), b.reshape(-1)) for a, b in pairs)
        raise Found("batch sum" if summed else "shape", what, *shapes[0])


def _factor(what: str, cases: list[Case]) -> None:
    ratios = []
    for case in cases:
        ours, truth = array(case.ours).ravel(), array(case.truth).ravel()
        if not truth @ truth and not ours.any():
            continue
        if not truth @ truth or not np.isfinite(ours).all():
            return
        ratios.append(ours @ truth / (truth @ truth))
        if not same(ours, ratios[-1] * truth) or abs(ratios[-1]) < 1e-9:
            return
    if np.allclose(ratios, -1):
        raise Found("sign", what)
    scales = {name for case in cases for name in case.scales}
    for sign, also in (1, ""), (-1, ", and the sign is wrong"):
        for name in sorted(scales):
            factors = [case.scales.get(name, np.nan) for case in cases]
            if np.allclose(ratios, [sign * f for f in factors]) and not np.allclose(factors, 1):
                raise Found(f"named factor|factor {name}", what, name, also)
    if np.allclose(ratios, ratios[0]):
        raise Found("factor", what, ratios[0])
