"""Grade a class: python exercises/grade.py FOLDER [--csv FILE] [--html FOLDER]

The students' code runs on this machine, as you. Only a container keeps it from reading what you can read (the checker,
the solution, other submissions), from the network, from your other processes and files, and from filling the disk:

  printf 'FROM python:3.13\\nCOPY requirements.txt .\\nRUN pip install -r requirements.txt\\n' |
      docker build -t homework -f - .
  docker run --rm --network none --read-only --memory 16g --pids-limit 4000 --tmpfs /tmp:size=8g \\
      --tmpfs /private:mode=700 \\
      -v "$PWD":/private/homework:ro -v FOLDER:/private/class:ro -v "$PWD/grades":/private/grades homework \\
      python /private/homework/exercises/grade.py /private/class --state /private/grades/state \\
      --csv /private/grades/grades.csv --html /private/grades

There, as wherever root starts this, each submission runs as a user of its own, who cannot look into /private.

FOLDER has a notebook, a folder or a zip for each student. Their cells are put between ours, each student's into a fresh
copy of the hand-out, and run and checked in a process of its own. What is done is kept in --state, and done again only
for other files, another checker or other limits. A student's code shares its process with the checker that judges it: a
checker that was changed is recognized, and a right answer beside code that could do more is marked "to be read".
"""

import argparse
import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import nbformat
import psutil
from tqdm import tqdm

from grading import kernel
from grading.feedback import Row, pages, summary, table, write
from grading.submissions import MEANS, Book, Plan, handed_in, plans

PROCESSES = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
if os.name != "nt":  # imported once, and not by each process
    PROCESSES.set_forkserver_preload(["IPython.core.inputtransformer2", "nbclient", "nbformat", "psutil", "tqdm"])
CHANGED = "the submission was changed while the class was graded; grade it again"


def isolated(function: Callable, *arguments: Any, seconds: float) -> list[tuple]:
    """What a function sends from a process of its own, until that ends or the time is over."""
    receive, send = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=function, args=(send, *arguments), daemon=True)
    process.start()
    send.close()
    events, end = [], time.monotonic() + seconds
    with contextlib.suppress(EOFError, OSError):
        while receive.poll(max(0.0, end - time.monotonic())):
            events.append(receive.recv())
    process.kill()
    process.join()
    receive.close()
    return events


def sweep(folder: Path, user: int | None) -> None:
    """End all processes that a submission has left, also in other process groups."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HOME") == str(folder) or (user and process.uids().real == user):
                process.kill()


def judge(job: Plan, ours: int, settings: kernel.Settings, place: Path, user: int | None) -> tuple[dict, int]:
    """(kind, text) of a notebook's tasks, and the memory it used. What costs a kernel costs one cell, not the rest."""
    failed: set[int] = set()
    found, used, starts, end = dict(job.found), 0, 0, time.monotonic() + 10 * settings.limit
    trouble = "", ""
    while pending := {name for _, asked, _ in job.steps for name, _ in asked} - found.keys():
        left = end - time.monotonic()
        if left <= 0 or starts == 3:
            late = "endless", "the time for the whole notebook was over before this was checked."
            found |= dict.fromkeys(pending, late if starts < 3 else ("not graded", trouble[1]))
            break
        folder = Path(tempfile.mkdtemp(dir=place))
        events = isolated(kernel.run, job, ours, failed, found, settings, folder, user, left, seconds=left + 60)
        sweep(folder, user)
        shutil.rmtree(folder, ignore_errors=True)
        last = {what: values for what, *values in events}
        found |= {values[0]: tuple(values[1:]) for what, *values in events if what == "found"}
        used = max(used, *last.get("used", [0]))
        trouble = tuple(last.get("trouble", ("kernel died", "the process that ran this was stopped.")))
        number, name = last.get("at", (-1, None))
        if "end" in last:
            continue
        if name:
            found[name] = trouble
        elif number >= ours:
            failed.add(number)
            found |= {name: trouble for name in job.steps[number][2] if name not in found}
        else:
            starts += 1  # without success: not even our cells have run
    code = "\n".join(code for number, (code, *_) in enumerate(job.steps) if number >= ours and number not in failed)
    if means := sorted(set(MEANS.findall(code))):
        text = f"found right, but the notebook's code names {', '.join(means)}: read it."
        found |= {name: ("to be read", text) for name, (kind, _) in found.items() if kind == "right"}
    return found, used


def grade(files: dict[str, bytes], refused: list[str], books: dict[str, Book], *where: Any) -> dict:
    """What is kept of a submission: (file, notebook, task, kind, text) for each task, seconds, and bytes of memory."""
    begin, rows, used = time.monotonic(), [], 0
    events = isolated(plans, files, books, seconds=120)
    refused = refused + [text for what, text in events if what == "refused"]
    if "plans" not in dict(events):
        refused.append("the notebooks stopped the process that reads them")
    for notebook, job in dict(events).get("plans", {}).items():
        found, most = judge(job, len(books[notebook].start), *where)
        used = max(used, most)
        rows += [(job.file, notebook, task, *found[task]) for task in books[notebook].tasks]
    rows += [("", "", "", "refused", text) for text in refused]
    return {"rows": rows, "seconds": time.monotonic() - begin, "memory": used}


# ------------------------------------------------------------------------------------------------- the class


def first_user(number: int) -> int | None:
    """The first of so many unused user numbers, if root starts this and such a user can run this Python."""
    if os.name == "nt" or os.geteuid() != 0:
        return None
    import pwd

    first = 40_000
    if {entry.pw_uid for entry in pwd.getpwall()} & set(range(first, first + number)):
        return None
    try:
        test = [sys.executable, "-c", "import ipykernel"]
        subprocess.run(test, user=first, group=first, extra_groups=[], env={}, capture_output=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return first


def preparation(place: Path, arguments: argparse.Namespace) -> tuple[dict[str, Book], kernel.Settings, str]:
    """Our notebooks, what each kernel needs, and a hash of all that judges."""
    import matplotlib

    import make  # and with it torch, which the processes of the submissions do not need

    with contextlib.redirect_stdout(None):
        packed = make.hand_out(place / "homework.zip").read_bytes()
    (place / "homework.zip").unlink()
    books, judging = {}, hashlib.sha256(repr((arguments.limit, arguments.memory, arguments.notebook)).encode())
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        for name, made in make.notebooks().items():
            books[name] = Book()
            member = next(m for m in archive.namelist() if m.endswith(f"/{name}.ipynb"))
            for notebook in made, nbformat.reads(archive.read(member).decode(), as_version=4):
                books[name].add(notebook, make.HOLE)
        for member in sorted(archive.namelist()):
            judging.update(repr((member, archive.read(member))).encode())
    for file in [Path(__file__), *sorted(Path(kernel.__file__).parent.glob("*.py"))]:
        judging.update(file.read_bytes())
    fonts = {path.name: path.read_bytes() for path in Path(matplotlib.get_cachedir()).glob("fontlist*.json")}
    settings = kernel.Settings(packed, fonts, arguments.limit, int(arguments.memory * kernel.GIGABYTE))
    return books, settings, judging.hexdigest()


def students(folder: Path, but: list[Path]) -> dict[str, Path]:
    """Whose submission is where: a notebook, a zip or a folder for each."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.resolve() not in but:
            name = path.name if path.is_dir() or path.stem in found else path.stem
            found[name] = path
    return found


def key(files: dict[str, bytes], refused: list[str], judging: str) -> str:
    return hashlib.sha256(repr((judging, refused, sorted(files.items()))).encode()).hexdigest()[:32]


def graded(path: Path, before: str, state: Path, judging: str, *rest: Any) -> dict:
    """The result of a submission: that of an earlier run, if there is one."""
    files, refused = handed_in(path)
    now, kept = key(files, refused, judging), state / f"{before}.json"
    if now != before:
        return {"rows": [("", "", "", "refused", CHANGED)], "seconds": 0, "memory": 0}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        result = json.loads(kept.read_text(encoding="utf-8"))
        return result | {"rows": [tuple(map(str, row)) for row in result["rows"]], "seconds": 0}
    try:
        result = grade(files, refused, *rest)
    except Exception as error:  # the grader's own: the others are graded
        text = f"the grader failed ({type(error).__name__}: {error})"
        result = {"rows": [("", "", "", "not graded", text)], "seconds": 0, "memory": 0}
    if all(kind != "not graded" for *_, kind, _ in result["rows"]):
        write(kept, json.dumps(result))
    return result


def all_rows(results: dict[str, dict], books: dict[str, Book], wanted: str | None) -> list[Row]:
    """A row for each student and task, for who has handed in nothing that can be read, too."""
    rows, usual = [], Counter(row[1] for result in results.values() for row in result["rows"] if row[1])
    for student, result in results.items():
        own = [Row(student, *row) for row in result["rows"]]
        there = {row.notebook for row in own} - {""}
        for notebook in [wanted] if wanted else [name for name, _ in usual.most_common(1)] if not there else []:
            kind, text = "not handed in", "this notebook was not handed in."
            if not there:
                kind, text = "unreadable", "; ".join(row.text for row in own)
            tasks = books[notebook].tasks if notebook not in there else []
            own = [Row(student, "", notebook, task, kind, text) for task in tasks] + own
        rows += own
    return rows


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        usage=argparse.SUPPRESS, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with a notebook, a folder or a zip for each student")
    parser.add_argument("--csv", type=Path, help="the table: student, file, notebook, task, kind, text")
    parser.add_argument("--html", type=Path, help="a folder for the summary, and a page for each student")
    parser.add_argument("--state", type=Path, help="a folder for what is done (FOLDER.graded)")
    parser.add_argument("--notebook", help="the name of the notebook that all should have handed in")
    parser.add_argument(
        "--limit", type=float, default=30, help="seconds for a cell; ten times that for a notebook (30)"
    )
    parser.add_argument("--memory", type=float, default=2, help="gigabytes for a notebook (2)")
    parser.add_argument("--jobs", type=int, help="how many side by side (one a core, if the memory is enough)")
    arguments = parser.parse_args(given)
    folder, begin = arguments.folder.resolve(), time.monotonic()
    if not folder.is_dir():
        parser.error(f"{folder} is no folder")
    state = (arguments.state or folder.with_name(f"{folder.name}.graded")).resolve()
    memory = psutil.virtual_memory().total / kernel.GIGABYTE
    jobs = arguments.jobs or max(1, min(os.cpu_count() or 1, int(0.9 * memory / arguments.memory)))
    paths = students(folder, [p.resolve() for p in (arguments.csv, arguments.html, state) if p])
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as temporary:
        place = Path(temporary).resolve()
        place.chmod(0o711)
        books, settings, judging = preparation(place, arguments)
        if arguments.notebook not in (None, *books):
            parser.error(f"there is no notebook {arguments.notebook}; there are {', '.join(books)}")
        keys = {student: key(*handed_in(path), judging) for student, path in paths.items()}
        first = first_user(len(paths))
        with ThreadPoolExecutor(jobs) as pool:
            futures = {}
            for number, (student, path) in enumerate(paths.items()):
                rest = keys[student], state, judging, books, settings, place, first and first + number
                futures[pool.submit(graded, path, *rest)] = student
            try:
                for future in tqdm(as_completed(futures), total=len(futures), unit=" submissions"):
                    results[futures[future]] = future.result()
            finally:
                pool.shutdown(cancel_futures=True)
        changed = [student for student, path in paths.items() if key(*handed_in(path), judging) != keys[student]]
    rows = all_rows({student: results[student] for student in paths}, books, arguments.notebook)
    print(summary(rows))
    most = max(results, key=lambda student: results[student]["memory"], default="")
    note = f"{len(paths)} submissions in {time.monotonic() - begin:.0f} s, {jobs} side by side"
    if most:
        note += f"; the most memory: {results[most]['memory'] / kernel.GIGABYTE:.2f} GB ({most})"
    print(f"{note}.")
    if changed:
        print(f"Changed while the class was graded: {', '.join(changed)}")
    done = [write(arguments.csv, table(rows))] if arguments.csv else []
    done += [pages(rows, arguments.html, f"{note}.")] if arguments.html else []
    return int(bool(changed) or not all(done))


if __name__ == "__main__":
    sys.exit(main())
