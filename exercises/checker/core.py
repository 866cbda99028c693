"""diagnose: what a task's check finds in an answer, within a limit of time, and without the answer's prints.

A check raises Found, or uses need, where it recognizes a mistake: there stand the mistake's kind, a short name, and the
sentence that a student reads. It names the mistake, and not the answer.
"""

import contextlib
import ctypes
import inspect
import io
import linecache
import random
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

TASKS: dict[str, Callable] = {}  # name of the answer -> what checks it, and returns what is right
LIMIT = 15.0  # seconds; right answers need a tenth of it


class Found(Exception):
    """A mistake was found: its kind, and the sentence that a student reads."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind)
        self.kind, self.text = kind, text


def need(condition: Any, kind: str, text: str) -> None:
    if not condition:
        raise Found(kind, text)


def task(name: str) -> Callable:
    def register(function: Callable) -> Callable:
        TASKS[name] = function
        return function

    return register


def diagnose(answer: Any, name: str, limit: float = LIMIT) -> tuple[str, str]:
    """(kind, text) of an answer: kind is "right", "not written", or the name of the mistake.

    Never raises. An answer that is not done after limit seconds is interrupted. What it prints is thrown away; random
    numbers, warnings and NumPy's settings are afterwards what they were.
    """
    if name not in TASKS:
        return "unknown", f"there is no task of that name; there are {', '.join(TASKS)}."
    states = random.getstate(), np.random.get_state()
    try:
        with quiet(), time_limit(limit):
            return "right", TASKS[name](answer)
    except Found as found:
        if found.kind in ("right", "not written"):  # raised by the answer itself
            return "error", "it raises what only the checker may."
        return found.kind, found.text
    except NotImplementedError as error:
        if str(error) not in ("", "not written yet"):
            return "error", in_your_line(error, answer)
        return "not written", f"not written yet{hole(error, answer, name)}."
    except TimeLimit as error:
        return "endless", f"it was not done after {limit:g} seconds, and {in_your_line(error, answer)}"
    except (Exception, SystemExit) as error:
        return "error", in_your_line(error, answer)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The same conditions wherever check is called: no graph, a fixed seed, no output, no warnings."""
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
        np.errstate(all="ignore"),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(Printed()),
        contextlib.redirect_stderr(Printed()),
    ):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        yield


class Printed(io.StringIO):
    """Keeps what is printed, up to 100,000 characters, and forgets the rest."""

    def write(self, text: str) -> int:
        return super().write(text[: max(0, 100_000 - self.tell())])


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


# ----------------------------------------------------------------------------- where in the student's own code


def hole(error: Exception, answer: Any, name: str) -> str:
    """Which method is still a hole, if the answer has several."""
    frames = [frame.name for frame in own_frames(error, answer) if frame.name != name]
    return f": {frames[-1]}" if inspect.isclass(answer) and frames else ""


def in_your_line(error: BaseException, answer: Any) -> str:
    """What happened, at the last line of the student's own code."""
    frames, stopped = own_frames(error, answer), isinstance(error, TimeLimit)
    said = f"{type(error).__name__}: {error}"[:400]
    if not frames:
        return "was interrupted." if stopped else said
    line = linecache.getline(frames[-1].filename, frames[-1].lineno).strip()
    if stopped:
        return f"was interrupted in your line\n      {line}"
    return f"an error in your line\n      {line}\n  {said}"


def own_frames(error: BaseException, answer: Any) -> list[traceback.FrameSummary]:
    """Where the error passed through the student's own file: that of the function, or of the class's own methods."""
    functions = map(inspect.unwrap, vars(answer).values() if inspect.isclass(answer) else [answer])
    files = {function.__code__.co_filename for function in functions if hasattr(function, "__code__")}
    return [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
