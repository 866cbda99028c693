"""A student's cells in a kernel of their own, and what the checker finds there."""

import ast
import contextlib
import functools
import inspect
import io
import json
import logging
import os
import re
import signal
import site
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError

from .submissions import Plan

GIGABYTE = 1024**3

# ------------------------------------------------------------------------- these functions run in the student's kernel


def parts() -> dict[str, list]:
    """What the checker consists of, and the classes and modules that it uses."""
    import builtins
    import inspect
    import sys

    wrapped = "manual_seed", "step"  # by torch itself, for its optimizers

    def note(place: str, owner: object, every: bool) -> None:
        for name, value in list(vars(owner).items()):
            if (every or callable(value)) and name not in wrapped:
                code = [value.__code__, value.__defaults__] if inspect.isfunction(value) else []
                found[f"{place}.{name}"] = [value, *code]

    found = {}
    note("builtins", builtins, False)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("checker", "numpy", "torch"):
            found[f"the module {name}"] = [module]
        if name.partition(".")[0] == "checker":
            note(name, module, True)
            for key, value in list(vars(module).items()):
                if inspect.isclass(value):
                    note(f"{value.__module__}.{value.__name__}", value, value.__module__.startswith("checker"))
                elif inspect.ismodule(value) and value.__name__ not in ("sys", "warnings"):
                    note(value.__name__, value, False)
                elif isinstance(value, dict):
                    found |= {f"{name}.{key}[{k!r}]": [v] for k, v in list(value.items()) if callable(v)}
                elif isinstance(value, list):
                    found[f"{name}.{key}"] = [value, *value]
    return found


def ask(expression: str, name: str, limit: float, space: dict) -> str:
    """[kind, text] of a task, and the identities of the checker's parts after that."""
    import json

    from checker.core import LIMIT, diagnose

    try:
        answer = eval(expression, space)
    except NameError as error:
        found = "missing", str(error)
    except LookupError:
        found = "not in the notebook", "the notebook has no cell for it."
    except BaseException as error:
        found = "error", f"{type(error).__name__}: {error}"
    else:
        found = diagnose(answer, name, min(LIMIT, limit / 2)) if name else ("", "")
    if name != expression:
        space.pop(expression, None)  # answer: it is not to stand for that of the next formula
    identities = {place: [id(x) for x in objects] for place, objects in parts().items()}
    return json.dumps([str(found[0])[:100], str(found[1])[:4000], identities])


def bound(memory: int, processes: int, space: dict) -> None:
    """Limits that the kernel cannot lift. The checker's parts are kept alive, so that no identity is used twice."""
    import atexit

    atexit.register(id, parts())
    with contextlib.suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (10**8, 10**8))
        if processes:
            resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))


def calling(function: Callable, *arguments: Any) -> str:
    """An expression that calls one of these functions in the kernel, and leaves no name of it there."""
    source = "import contextlib\n" + "\n".join(map(inspect.getsource, (parts, ask, bound)))
    given = "".join(f"{argument!r}, " for argument in arguments)
    run = f"__import__('builtins').exec({source!r}, space)"
    return f"(lambda space: {run} or space[{function.__name__!r}]({given}globals()))({{}})"


# ------------------------------------------------------------------------- a kernel


class Trouble(Exception):
    """A cell that costs its kernel: the kind, and what a student reads."""


@dataclass
class Settings:
    handout: bytes
    fonts: dict[str, bytes]  # Matplotlib's list of them, which takes a second
    limit: float
    memory: int


class Quiet(NotebookClient):
    """Keeps nothing of what students print."""

    def process_message(self, msg: dict, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] == "status":
            return super().process_message(msg, cell, cell_index)


def environment(folder: Path) -> dict[str, str]:
    """Of the teacher's environment only where the programs are. Downloads fail, but of who insists."""
    kept = "PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV"
    places = "HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "IPYTHONDIR", "MPLCONFIGDIR"
    closed = {"GIT_ALLOW_PROTOCOL": "none", "PIP_NO_INDEX": "1", "no_proxy": ""}
    closed |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    own = {"USER": "student", "LOGNAME": "student", "MNIST": "5k", "PYTHONUSERBASE": site.getuserbase()}
    found = {name: os.environ[name] for name in kept if name in os.environ}
    return found | dict.fromkeys(places, str(folder)) | closed | threads | own


def watch(process: psutil.Process, memory: int, over: threading.Event, used: list[int]) -> None:
    """Kill a kernel that uses too much memory, with its children; used[0] is the most that it used."""
    while not over.wait(0.2):
        with contextlib.suppress(psutil.Error):
            tree = [process, *process.children(recursive=True)]
            total = sum(p.memory_info().rss for p in tree)
            if total > memory:  # what children share with it is counted once
                total = sum(p.memory_full_info().uss for p in tree)
            used[0] = max(used[0], total)
            if total > memory:
                process.kill()


@contextlib.contextmanager
def kernel(settings: Settings, folder: Path, user: int | None, seconds: float, used: list[int]) -> Iterator[Callable]:
    """A kernel in a fresh copy of the hand-out. What is yielded runs code there, and returns the kernel's reply."""
    with zipfile.ZipFile(io.BytesIO(settings.handout)) as archive:
        archive.extractall(folder)
    for name, data in settings.fonts.items():
        (folder / name).write_bytes(data)
    end, replies, over = time.monotonic() + seconds, [], threading.Event()
    client = Quiet(
        nbformat.v4.new_notebook(),
        **dict(kernel_name="python3", allow_errors=True, record_timing=False, shutdown_kernel="immediate"),
        timeout_func=lambda cell: max(0.1, min(settings.limit, end - time.monotonic())),
        on_cell_executed=lambda cell, cell_index, execute_reply: replies.append(execute_reply["content"]),
    )
    manager = client.create_kernel_manager()
    if os.name == "posix":  # no ports, which kernels side by side could take from each other
        manager.transport, manager.cache_ports, manager.connection_file = "ipc", False, str(folder / "kernel.json")
        manager.write_connection_file()
    as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
    for path in (folder, *folder.rglob("*")) if user else []:
        os.chown(path, user, user)
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    exercises = next(folder.glob("*/exercises"))
    client.start_new_kernel(cwd=str(exercises), env=environment(folder), **silent, **as_user)
    process = manager.provisioner.process
    threading.Thread(target=watch, args=(psutil.Process(process.pid), settings.memory, over, used), daemon=True).start()

    def reply(code: str, expression: str = "None") -> dict:
        client.kc.execute = functools.partial(type(client.kc).execute, client.kc, user_expressions={"": expression})
        client.nb.cells = [nbformat.v4.new_code_cell(code if code.strip() else "None")]
        try:
            client.execute_cell(client.nb.cells[0], 0, store_history=False)
        except CellTimeoutError:
            spent = "the time for the whole notebook" if time.monotonic() >= end else f"{settings.limit:g} seconds"
            raise Trouble("endless", f"it was not done after {spent}, and was stopped.") from None
        except Exception:
            if used[0] > settings.memory:
                text = f"it used more than {settings.memory / GIGABYTE:g} GB of memory, and was stopped."
                raise Trouble("memory", text) from None
            code = process.poll()
            how = "no answer" if code is None else f"exit code {code}" if code >= 0 else signal.Signals(-code).name
            raise Trouble("kernel died", f"the kernel died while this ran ({how}).") from None
        return replies.pop()

    try:
        client.start_new_kernel_client()
        yield reply
    finally:
        over.set()
        with contextlib.suppress(Exception):
            client._cleanup_kernel()


def run(send: Any, job: Plan, ours: int, failed: set, found: dict, settings: Settings, *place: Any) -> None:
    """Send what is found in a notebook's tasks, up to the first trouble; failed cells are left out."""
    logging.disable()
    used, before, errors = [0], {}, {}
    pending = {name for _, asked, _ in job.steps for name, _ in asked} - found.keys()
    try:
        with kernel(settings, *place, used) as reply:

            def verdict(expression: str, name: str) -> tuple[str, str]:
                shown = reply("", calling(ask, expression, name, settings.limit))["user_expressions"][""]
                try:
                    kind, text, now = json.loads(ast.literal_eval(shown["data"]["text/plain"]))
                except (KeyError, TypeError, ValueError, SyntaxError):
                    failed = f"the checker does not answer any more: {shown.get('ename')}: {shown.get('evalue')}"
                    raise Trouble("checker patched", failed[:400]) from None
                changed = sorted(part for part, identity in before.items() if now.get(part) != identity)
                if changed:
                    raise Trouble("checker patched", f"this replaced {', '.join(changed[:3])}.")
                before.update({} if before else now)
                return kind, text

            for number, (code, asked, holds) in enumerate(job.steps):
                if not pending:
                    break
                if number not in failed:
                    send.send(("at", number, None))
                    errors |= dict.fromkeys(holds, said(reply(code)))
                    if number == ours - 1:
                        reply("", calling(bound, settings.memory, 512 if place[1] else 0))
                    if number >= ours - 1 and not inert(code):
                        verdict("None", "")
                for name, expression in asked:
                    if name not in pending:  # found before a restart; its answer is not that of the next formula
                        if name != expression:
                            reply("", f"globals().pop({expression!r}, None)")
                        continue
                    send.send(("at", number, name))
                    send.send(("found", name, *described(*verdict(expression, name), errors.get(name))))
                    pending.remove(name)
        send.send(("used", used[0]))
        send.send(("end",))
    except Trouble as trouble:
        send.send(("used", used[0]))
        send.send(("trouble", *trouble.args))
    except Exception as error:
        send.send(("trouble", "not graded", f"{type(error).__name__}: {error}"[:400]))


def inert(code: str) -> bool:
    """Does it only assign strings or numbers? Such cells, most formulas, cannot change the checker."""
    kinds = ast.Module, ast.Assign, ast.Name, ast.expr_context, ast.Constant, ast.Expr, ast.Pass
    try:
        return all(isinstance(node, kinds) for node in ast.walk(ast.parse(code)))
    except SyntaxError:
        return False


def described(kind: str, text: str, error: str | None) -> tuple[str, str]:
    """The kind and text of a task whose cell ended with this error."""
    if kind == "missing":
        kind, text = "error", error or f"{text}."
    elif error:
        text += f"\n  Then the cell stopped: {error}"
    if kind == "error" and re.search("MemoryError|can't allocate memory", text):
        kind = "memory"
    return kind, text


def said(reply: dict) -> str:
    """The error of a cell, and its line."""
    if reply["status"] == "ok":
        return ""
    traceback = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(reply.get("traceback", [])))
    line = re.findall(r"^-+> *\d+ (.*)$", traceback, re.M)[:1]
    text = f"{reply.get('ename')}: {reply.get('evalue')}"[:1000].removesuffix(": ")
    return f"an error in your line\n      {line[0].strip()[:200]}\n  {text}" if line else text
