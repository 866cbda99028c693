"""What students handed in, and where each task is in their notebooks, whatever was deleted, renamed or doubled."""

import ast
import functools
import re
import stat
import symtable
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

BYTES, MEMBERS = 100_000_000, 10_000  # of the notebooks of a submission, and of a zip
NOT_THERE = "not in the notebook"
BLANK = "not written", NOT_THERE, "not handed in"
MEANS = re.compile(  # how code could reach into the checker that judges it
    r"import\s+checker|\bchecker\.\w|\bFound\b|sys\.modules|_getframe|currentframe|inspect\.stack|f_back|f_globals|f_locals|"
    r"__code__|__globals__|__closure__|__subclasses__|__builtins__|import\s+builtins|get_referrers|get_objects|settrace|"
    r"setprofile|ctypes|get_ipython\(\)(?!\.(?:run_\w+_magic|system|getoutput)\()|(?<![.\w])(?:exec|eval|__import__)\s*\("
)

# ------------------------------------------------------------------------------------------------- what was handed in


def handed_in(path: Path) -> tuple[dict[str, bytes], list[str]]:
    """The notebooks in a file, a folder or a zip, by name, and what was refused. Nothing is unpacked to the disk."""
    files: dict[str, bytes] = {}
    refused: list[str] = []

    def add(name: str, size: int, read: Callable[[], bytes]) -> None:
        if sum(map(len, files.values())) + size > BYTES:
            raise ValueError(f"more than {BYTES // 10**6} MB of notebooks")
        files[name] = read()

    for file in sorted(path.rglob("*")) if path.is_dir() and not path.is_symlink() else [path]:
        name = file.relative_to(path.parent).as_posix()
        try:
            if file.is_symlink():
                refused.append(f"{name}: a link")
            elif file.is_dir() or hidden(name):
                continue
            elif file.suffix.lower() == ".zip":
                with zipfile.ZipFile(file) as archive:
                    unpack(archive, name, add, refused)
            elif file.suffix.lower() == ".ipynb" or file == path:
                add(name, file.stat().st_size, file.read_bytes)
        except Exception as error:  # whatever is wrong with this file, the others are read
            refused.append(f"{name}: cannot be read ({type(error).__name__}: {error})")
    if not files and not refused:
        refused.append(f"{path.name}: no notebook in it")
    return files, refused


def hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def unpack(archive: zipfile.ZipFile, name: str, add: Callable, refused: list[str]) -> None:
    members = archive.infolist()
    if len(members) > MEMBERS:
        raise ValueError(f"{len(members)} files in a zip")
    for member in members:
        inside = PurePosixPath(member.filename.replace("\\", "/"))
        if inside.is_absolute() or ".." in inside.parts or re.match("[A-Za-z]:", str(inside)):
            refused.append(f"{name}: {member.filename} leads out of the folder")
        elif stat.S_ISLNK(member.external_attr >> 16):
            refused.append(f"{name}: {member.filename} is a link")
        elif inside.suffix.lower() == ".ipynb" and not hidden(str(inside)):
            add(f"{name}/{inside}", member.file_size, functools.partial(archive.read, member))


# ------------------------------------------------------------------------------------------------- cells and tasks


@dataclass
class Cell:
    """What a code cell has at its top level."""

    code: str
    defined: dict[str, bool]  # name -> is it a class or function?
    checks: dict[str, str]  # task -> the expression that is given to check
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    ours: list[ast.stmt] = field(default_factory=list)  # check(...), progress(...), if ready(...)


def look(source: str) -> Cell:
    source = re.sub(r"\A\s*%%(?:time|capture)\b.*", "", source.replace("\r\n", "\n"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = TransformerManager().transform_cell(source)
            body, symbols = ast.parse(code).body, symtable.symtable(code, "cell", "exec").get_symbols()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        asked = re.findall(r"""check\(\s*(\w+)\s*,\s*(?:name\s*=\s*)?["']([\w-]+)["']""", source)
        defined = re.findall(r"^(?:class|def)\s+(\w+)", source, re.M)
        return Cell(source, dict.fromkeys(defined, True), {name: expression for expression, name in asked})
    own = [s for s in symbols if s.is_assigned() and not s.is_imported()]
    cell = Cell(code, {s.get_name(): s.is_namespace() for s in own}, {})
    cell.used = {s.get_name() for s in symbols if s.is_referenced()}
    for node in body:
        called = node.value if isinstance(node, ast.Expr) else None
        function = getattr(getattr(called, "func", None), "id", None)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            cell.definitions[node.name] = node
        guarded = isinstance(node, ast.If) and re.search(r"\bready\(", ast.unparse(node.test))
        if guarded or function in ("check", "progress"):
            cell.ours.append(node)
        if function == "check" and called.args:
            labels = [*called.args[1:2], *(k.value for k in called.keywords if k.arg == "name"), called.args[0]]
            label = getattr(labels[0], "value", None) or getattr(labels[0], "id", None)
            if isinstance(label, str):
                cell.checks[label] = ast.unparse(called.args[0])
    return cell


def without(code: str, nodes: list[ast.stmt]) -> str:
    """The code with pass in the place of these statements; the lines keep their numbers."""
    lines = code.encode().split(b"\n")
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset), reverse=True):
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1
        last, rest = node.end_lineno, lines[node.end_lineno - 1][node.end_col_offset :]
        lines[first:last] = [lines[first][: node.col_offset] + b"pass" + rest, *[b""] * (last - 1 - first)]
    return b"\n".join(lines).decode()


def plain(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def code_cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str, str]]:
    """(source, id, the text before it) of each code cell."""
    found, before = [], ""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found.append((cell.source, cell.get("id", ""), before))
        before = plain(cell.source) if cell.cell_type == "markdown" else ""
    return found


@dataclass
class Task:
    expression: str  # what is given to check
    ids: set[str] = field(default_factory=set)
    questions: set[str] = field(default_factory=set)


@dataclass
class Book:
    """One of our notebooks: its tasks by name, all its code cells, and those that only import or define."""

    tasks: dict[str, Task] = field(default_factory=dict)
    ours: set[str] = field(default_factory=set)
    start: list[str] = field(default_factory=list)

    def add(self, notebook: nbformat.NotebookNode, hole: str) -> None:
        """A version of the notebook; the cells of the last one are run."""
        self.start, homes = [], {}
        for source, cell_id, question in code_cells(notebook):
            cell = look(source)
            self.ours.add(plain(source))
            homes |= dict.fromkeys(cell.defined, (cell_id, question))
            for name, expression in cell.checks.items():
                task, home = self.tasks.setdefault(name, Task(expression)), homes.get(expression, (cell_id, question))
                task.ids.add(home[0])
                task.questions |= {home[1]} - {""}
            if not cell.ours and hole not in source:
                self.start.append(source)

    def named(self, task: Task) -> bool:
        """Has this task a name of its own in the notebook? (The formulas are all called answer.)"""
        return sum(other.expression == task.expression for other in self.tasks.values()) == 1


@dataclass
class Home:
    """Where a student's notebook has a task: last written, or as it was handed out."""

    written: int  # 2 or 3 if the student has written it; a definition goes before a mere assignment
    cell: int
    asked: int  # the cell after which it is checked
    expression: str


@dataclass
class Plan:
    """What is run of a student's notebook, in order, and what is known without.

    A step is (code, [(task, expression) that are checked after it], [tasks that are lost if it fails]).
    """

    file: str
    steps: list[tuple[str, list[tuple[str, str]], list[str]]]
    found: dict[str, tuple[str, str]]
    points: tuple[int, int]


def homes(cells: list[tuple[str, str, str]], looks: list[Cell], book: Book) -> dict[str, Home]:
    found: dict[str, Home] = {}
    lost: dict[str, Home] = {}  # in the cell of a task, or under its question, but with another name
    for number, ((source, cell_id, question), cell) in enumerate(zip(cells, looks, strict=True)):
        written = 2 * (plain(source) not in book.ours)
        for name, task in book.tasks.items():
            asked, named, new = cell.checks.get(name), book.named(task), None
            if named and task.expression in cell.defined:
                new = Home(written + cell.defined[task.expression], number, number, task.expression)
            elif asked and not (named and asked == task.expression):
                new = Home(written + 1, number, number, asked)
            elif asked and name in found:
                found[name].asked = number
            elif written and cell.defined and (cell_id in task.ids or question in task.questions):
                only = [n for n, definition in cell.defined.items() if definition == max(cell.defined.values())]
                lost[name] = Home(2, number, number, task.expression if task.expression in only else only[-1])
            if new and (name not in found or new.written >= found[name].written):
                found[name] = new
    return lost | found


def plan(file: str, cells: list[tuple[str, str, str]], book: Book) -> Plan:
    looks = [look(source) for source, *_ in cells]
    edited = [plain(source) not in book.ours for source, *_ in cells]
    theirs = "\n".join(source for (source, *_), new in zip(cells, edited, strict=True) if new)
    home = homes(cells, looks, book)
    latest = {h.expression: h.cell for name, h in home.items() if book.named(book.tasks[name])}
    found = {name: ("not written", "not written yet.") for name, h in home.items() if h.written < 2}
    steps = [(source, [], []) for source in book.start]
    for number, cell in enumerate(looks):
        asked = [(name, h.expression) for name, h in home.items() if h.asked == number and name not in found]
        old = [
            node
            for name, node in cell.definitions.items()
            if latest.get(name, 0) > number and name not in looks[latest[name]].used
        ]
        holds = [name for name, h in home.items() if h.cell == number]
        if edited[number] or any(book.named(book.tasks[name]) for name in holds):
            steps.append((without(cell.code, cell.ours + old), asked, holds))
        elif asked:
            steps.append(("", asked, []))
    for name in book.tasks.keys() - home.keys():
        found[name] = NOT_THERE, "the notebook has no cell for it."
        if re.search(
            f"[\"']{re.escape(name)}[\"']", theirs
        ):  # in a loop, perhaps: it is asked as the student's check was
            del found[name]
            steps.append(("", [(name, f"__import__('checker').seen[{name!r}][0]")], []))
    same = sum(not new for new in edited)
    return Plan(file, steps, found, (len(home), same))


def plans(send: Any, files: dict[str, bytes], books: dict[str, Book]) -> None:
    """Send for each notebook which of ours it is, and its plan; of two of one kind only that with more written."""
    best: dict[str, Plan] = {}
    for file, data in files.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cells = code_cells(nbformat.reads(data.decode("utf-8-sig"), as_version=4))
            found = {name: plan(file, cells, book) for name, book in books.items()}
        except Exception as error:
            send.send(("refused", f"{file}: not a notebook ({type(error).__name__}: {str(error)[:200]})"))
            continue
        name = max(found, key=lambda name: found[name].points)
        if not found[name].points[0]:
            send.send(("refused", f"{file}: none of the tasks is in it"))
            continue
        both = [found[name], *([best[name]] if name in best else [])]
        both.sort(key=lambda plan: sum(kind in BLANK for kind, _ in plan.found.values()))
        best[name] = both[0]
        if len(both) > 1:
            send.send(("refused", f"{both[1].file}: {both[0].file} has more of the same tasks"))
    send.send(("plans", best))
