"""check(answer): is an answer of the homework right, and if not, what kind of mistake was made?

The answer is judged by what it does, not by how it is written, and without a solution to compare with: gradients by
autograd on the definition, optimizers by their updates, loops by what they do in which order, formulas by their values.
``diagnose`` gives the same as (kind, text), where kind is "right", "not written", or the name of the mistake.

A file a theme: layers, losses, networks, optimizers, loops, pictures, formulas; below them compare and core.
"""

import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

# An exercise's first cell finds the folder exercises; the modules of the homework lie above it.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from . import layers, loops, losses, networks, newton, optimizers, pictures, questions_1_4, questions_5_7, rosenbrock  # noqa: F401  (they register tasks)
from .core import LIMIT, diagnose

MARKS = {"right": "✓", "not written": "…", "unreadable": "?"}
seen: dict[str, tuple[Any, str, str]] = {}  # task -> the answer that was asked about last, and what was found


def check(answer: Any, name: str | None = None, limit: float = LIMIT, strict: bool = False) -> None:
    """Print whether the answer is right, or what diagnose finds. name: of the task, if not the answer's own.

    With strict an answer that is not right raises AssertionError with that text, for graders that count errors.
    """
    name = name or getattr(answer, "__name__", "")
    kind, text = diagnose(answer, name, limit)
    seen[name] = answer, kind, text
    if strict and kind != "right":
        raise AssertionError(f"{name}: {text}")
    say(f"{MARKS.get(kind, '✗')} {name}: {text}")


def say(text: str) -> None:
    """Print, in lines of at most 96 characters."""
    for line in text.splitlines():
        print(textwrap.fill(line, 96, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def found(answer: Any, name: str) -> str:
    """The kind that diagnose finds; what check found right is not asked again."""
    if name not in seen or seen[name][0] is not answer or seen[name][1] != "right":
        seen[name] = answer, *diagnose(answer, name)
    return seen[name][1]


def ready(*answers: Any) -> bool:
    """Are these answers right, as they are now? If not, print which of them are missing."""
    missing: dict[str, list[str]] = {}
    for answer in answers:
        kind = found(answer, answer.__name__)
        state = {"right": "", "not written": "not written yet"}.get(kind, "not right yet")
        missing.setdefault(state, []).append(answer.__name__)
    missing.pop("", None)
    if missing:
        say("… This needs " + ", ".join(f"{', '.join(names)} ({state})" for state, names in missing.items()) + ".")
    return not missing


def progress(*names: str, file: str | os.PathLike | None = None) -> None:
    """Print how far these tasks are, as check has found them.

    file: where this is kept (JSON), once something is right. What an earlier session found is taken up from there, and
    marked as earlier. A file that cannot be read or written is told, and left as it is.
    """
    kinds, earlier = {name: seen[name][1] for name in names if name in seen}, {}
    try:
        if file is not None and Path(file).exists():
            earlier = json.loads(Path(file).read_text(encoding="utf-8"))
            if not isinstance(earlier, dict) or not all(isinstance(kind, str) for kind in earlier.values()):
                raise ValueError("expected the kinds of the tasks, by name")
    except (OSError, ValueError) as error:
        say(
            f"? {file} cannot be read ({error}). It is left as it is, and nothing is saved; move it away to begin anew."
        )
        earlier, file = {}, None
    kinds = earlier | kinds
    states = {name: kinds.get(name, "not checked yet") for name in names}
    for name, kind in states.items():
        when = " (found earlier)" if name in earlier and name not in seen else ""
        print(f"{MARKS.get(kind, '✗' if name in kinds else '…')} {name:24} {kind}{when}")
    right = sum(kind == "right" for kind in states.values())
    print(f"{'✓' if right == len(names) else '…'} {right} of {len(names)} are right.")
    if file is not None and "right" in kinds.values():
        new = Path(f"{file}.new")  # beside it, so that a full disk leaves the old one as it was
        try:
            new.write_text(json.dumps(kinds, indent=1), encoding="utf-8")
            new.replace(file)
        except OSError as error:
            new.unlink(missing_ok=True)
            say(f"? {file} cannot be written ({error}): what it was before is kept.")
