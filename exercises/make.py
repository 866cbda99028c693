"""Make the exercise notebooks from tasks.md and the solution: python exercises/make.py [--force].

A task's cell is the solution's signature with a hole for the body. The notebooks are executed as they are shipped. One
that somebody has worked in is not overwritten without --force.

python exercises/make.py --hand-out homework2.zip packs the homework without its solution, for students;
python exercises/make.py --nbgrader FOLDER makes a course of nbgrader's of it, with a point for each task.
"""

import ast
import hashlib
import inspect
import re
import sys
import textwrap
import zipfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT)]

import layers  # noqa: E402
import losses  # noqa: E402
import optim  # noqa: E402
import plot_utils  # noqa: E402
import train_utils  # noqa: E402

MODULES = layers, losses, optim, train_utils, plot_utils
METHODS = "__init__", "forward", "backward", "step", "zero_grad", "train", "evaluate"
HOLE = 'raise NotImplementedError("not written yet")'
COLAB = "In Colab, first save a copy: *File, Save a copy in Drive*. "
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


# ------------------------------------------------------------------------------------------------- the solution's shape


def find(name: str) -> object:
    return next(vars(m)[name] for m in MODULES if getattr(vars(m).get(name), "__module__", "") == m.__name__)


def signature(function: object) -> str:
    """def name(arguments): as in the solution, without annotations and without its keyword-only options."""
    definition = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body[0]
    arguments = definition.args
    arguments.kwonlyargs, arguments.kw_defaults = [], []
    for argument in arguments.args:
        argument.annotation = None
    line = f"def {definition.name}({ast.unparse(arguments)}):".replace("'", '"')
    if len(line) <= 92:  # 96 in a class
        return line
    parts = line[:-2].partition("(")[2].split(", ")
    return "\n".join([f"def {definition.name}(", *(f"    {part}," for part in parts), "):"])


def skeleton(task: str, docstring: str) -> str:
    """The solution's class or function with holes for bodies; a task may bring its own signature, name(arguments)."""
    name, given, arguments = task.partition("(")
    doc = f'"""{docstring.strip()}"""'
    solution = None if given else find(name)
    if not inspect.isclass(solution):
        line = f"def {name}({arguments}:" if given else signature(solution)
        return f"{line}\n" + textwrap.indent(f"{doc}\n{HOLE}", "    ")
    own = [c for c in solution.__mro__ if c.__module__ in [m.__name__ for m in MODULES]]
    base = next((c for c in own if c.__name__ in ("Layer", "Loss")), None)
    own = [c for c in own if c is not base]
    bases = f"({base.__name__})" if base else "(nn.Module)" if name == "SimpleMLP" else ""
    methods = [next(vars(c)[m] for c in own if m in vars(c)) for m in METHODS if any(m in vars(c) for c in own)]
    body = [doc, *(f"{signature(method)}\n    {HOLE}" for method in methods)]
    return f"class {name}{bases}:\n" + textwrap.indent("\n\n".join(body), "    ")


# ------------------------------------------------------------------------------------------------- the notebooks


def repository() -> str:
    return re.search(r'^repository = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]


def first_cell() -> str:
    """The first code cell of the solved notebooks; it finds the checker instead, and the checker finds the modules."""
    cells = nbformat.read(ROOT / "notebooks" / "01_optimization.ipynb", as_version=4).cells
    first = next(c.source for c in cells if c.cell_type == "code")
    return first.replace("str(p)", 'str(p / "exercises")')


def head(file: str, title: str) -> str:
    blob = repository().removeprefix("https://github.com/") + f"/blob/main/exercises/{file}.ipynb"
    return (
        f"# {title}\n\n"
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{blob})\n"
        f"[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/{blob})\n\n"
        f"{COLAB}Each task is a cell with a hole, and one that checks it and says what kind of mistake was made. What "
        "is not written yet says so, and the notebook goes on."
    )


def notebooks() -> dict[str, nbformat.NotebookNode]:
    """The four notebooks, not executed, by file name."""
    text = re.sub(r"<!--.*?-->", "", (HERE / "tasks.md").read_text(encoding="utf-8"), flags=re.S)
    parts = re.split(r"^# ([a-z0-9_]+): (.*)$", text, flags=re.M)[1:]
    return {file: notebook(file, title, body) for file, title, body in zip(*[iter(parts)] * 3, strict=True)}


def notebook(file: str, title: str, body: str) -> nbformat.NotebookNode:
    cells = [("markdown", head(file, title))]
    blob = repository() + "/blob/main/"
    body = body.replace("(QUESTIONS)", f"({blob}theory/questions.pdf)")
    body = body.replace("(THEORY)", f"({blob}theory/theory.pdf)")
    body = body.replace("(SOLVED", f"({blob}notebooks/{file}.ipynb")
    fences = re.split(r"^```(python|task|formula|hint) ?([^\n]*)\n(.*?)^```$", body, flags=re.M | re.S)
    for text, kind, name, content in zip(*[iter([*fences, "", "", ""])] * 4, strict=True):
        cells += [("markdown", part.strip()) for part in text.split("\n+++\n") if part.strip()]
        if kind == "python":
            cells.append(("code", content))
        elif kind == "hint":
            summary = "Hint" if "<details>" not in cells[-1][1] else "Another hint"
            cells.append(("markdown", f"<details><summary>{summary}</summary>\n\n{content.strip()}\n\n</details>"))
        elif kind == "task":
            answer = name.partition("(")[0]
            cells += [("code", skeleton(name, content)), ("code", f"check({answer})")]
        elif kind == "formula":
            cells += [("markdown", content), ("code", f'answer = r""\ncheck(answer, "{name}")')]
    tasks = [task for kind, source in cells if kind == "code" for task in asked(source)]
    names = textwrap.indent(",\n".join(f'"{name}"' for name in tasks), "    ")
    cells.append(("markdown", "**How far are you?** The file keeps it for the next time."))
    cells.append(("code", f'progress(\n{names},\n    file="progress_{file[:2]}.json",\n)'))
    first = next(i for i, (kind, _) in enumerate(cells) if kind == "code")
    cells.insert(first, ("code", first_cell()))
    made = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for number, (kind, source) in enumerate(cells):
        new = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        made.cells.append(new(source.strip(), id=f"{file[:2]}-{number:03d}"))
    return made


def asked(source: str) -> list[str]:
    """The task that a cell checks: its last line is check(name) or check(answer, "name")."""
    match = re.search(r'^check\((?:(\w+)|\w+, "([\w-]+)")\)$', source, flags=re.M)
    return [match[1] or match[2]] if match else []


def execute(made: nbformat.NotebookNode) -> nbformat.NotebookNode:
    options = dict(timeout=600, kernel_name="python3", record_timing=False, coalesce_streams=True)
    NotebookClient(made, **options, resources={"metadata": {"path": str(HERE)}}).execute()
    return made


def fingerprint(made: nbformat.NotebookNode) -> str:
    """Of the code cells, but the first, in which tools/address.py may write another address."""
    code = [c.source for c in made.cells if c.cell_type == "code" and "REPOSITORY" not in c.source]
    return hashlib.sha256("\n\n".join(code).encode()).hexdigest()


def worked_in(path: Path) -> bool:
    """Has somebody changed a code cell of the notebook since it was made?"""
    if not path.is_file():
        return False
    stored = nbformat.read(path, as_version=4)
    return fingerprint(stored) != stored.metadata.get("made")


def write(force: bool = False) -> None:
    for file, made in notebooks().items():
        path = HERE / f"{file}.ipynb"
        if worked_in(path) and not force:
            raise SystemExit(f"{path.name} has been worked in; move it away, or overwrite it with --force")
        made.metadata["made"] = fingerprint(made)
        path.write_text(nbformat.writes(execute(made)) + "\n", encoding="utf-8")
        print(f"wrote {path.name}: {len(made.cells)} cells")


# ------------------------------------------------------------------------------------------------- the hand-out

GIVEN = "theory/questions.pdf", "data/titanic.csv", "requirements.txt", "LICENSE", "checks.py", "data_utils.py"
WANTED = {  # of the modules; and what these need
    layers: {"Layer", "add_grad"},
    losses: {"Loss", "CosineEmbeddingLoss"},
    optim: {"Step"},
    train_utils: {"set_seed"},
}
FIRST_CELL = """# Find the homework: above this notebook, in Colab's files, or in a mounted Drive.
import sys
from pathlib import Path
from zipfile import ZipFile

if Path("homework2.zip").is_file() and not Path("homework2").exists():
    ZipFile("homework2.zip").extractall()
places = [*Path("here").resolve().parents, Path("homework2").resolve(), Path("/content/drive/MyDrive/homework2")]
root = next((p for p in places if (p / "exercises" / "checker").is_dir()), None)
assert root, "open this notebook in the unpacked folder homework2, or put homework2.zip beside it"
sys.path[:0] = [str(root), str(root / "exercises")]"""
READ_ME = """# Homework 2

    python -m pip install -r requirements.txt && python -m jupyter lab exercises

Four notebooks in `exercises/` are to be worked in; `theory/questions.pdf` has the theory questions. Each task is a
cell with a hole, and a cell that checks it. The modules have what the tasks use, and nothing of what they ask for.

**In Colab:** open a notebook of `exercises/` there (*File, Upload notebook*), and upload `homework2.zip` as it is
(the folder symbol on the left, then the arrow); the first cell unpacks it. Colab forgets uploaded files with each new
runtime. To keep them, unpack the zip into your Drive as `MyDrive/homework2`, open the notebook there, and run
`from google.colab import drive; drive.mount("/content/drive")` before its first cell.
"""


def given(module: object) -> str:
    """Of a module what is WANTED, and what that uses."""
    source = Path(module.__file__).read_text(encoding="utf-8")
    tree, lines = ast.parse(source), source.splitlines()
    defined = {name: node for node in tree.body for name in names_of(node)}
    wanted, kept = [*WANTED[module]], []
    while wanted:
        node = defined.get(wanted.pop())
        if node is not None and node not in kept:
            kept.append(node)
            wanted += [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)]
    used = {inner.id for node in kept for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in imports:
        node.names = [alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) in used]
    needed = "\n".join(ast.unparse(node) for node in imports if node.names)
    parts = [f'"""What the homework gives of {module.__name__}.py."""', needed]
    for node in sorted(kept, key=lambda node: node.lineno):
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        parts.append("\n" + "\n".join(lines[first - 1 : node.end_lineno]))
    return "\n\n".join(part for part in parts if part) + "\n"


def names_of(node: ast.stmt) -> list[str]:
    """What a statement of a module defines."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return [node.name] if isinstance(node, ast.ClassDef | ast.FunctionDef) else []


def without_solution(made: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without what leads to the solution: badges, links, and the cell that clones the repository."""
    for cell in made.cells:
        cell.source = re.sub(r"(\[!\[Open in .*\n)+\n|\n\n\*\[Solved\].*", "", cell.source)
        cell.source = re.sub(r"^\*\[Solved\].*\n\n", "", cell.source)
        cell.source = re.sub(r" The solved notebook is \[here\][^\n]*| The derivations, [^\n]*", "", cell.source)
        cell.source = re.sub(r"\[([^]]*)\]\([^)]*questions.pdf\)", r"[\1](../theory/questions.pdf)", cell.source)
        cell.source = cell.source.replace(COLAB, "")
        if "REPOSITORY" in cell.source:
            cell.source = FIRST_CELL
    return made


def homework() -> dict[str, bytes]:
    """The files of the homework without its solution, by their path."""
    files = {name: (ROOT / name).read_bytes() for name in GIVEN} | {"README.md": READ_ME.encode()}
    files |= {f"exercises/checker/{path.name}": path.read_bytes() for path in (HERE / "checker").glob("*.py")}
    files |= {f"{module.__name__}.py": given(module).encode() for module in WANTED}
    for file, made in notebooks().items():
        files[f"exercises/{file}.ipynb"] = (nbformat.writes(without_solution(made)) + "\n").encode()
    return files


def hand_out(path: str | Path) -> Path:
    """A zip with the homework and without its solution. An old one is replaced when the new one is whole."""
    path = Path(path)
    if path.suffix != ".zip":
        raise SystemExit(f"expected the name of a .zip file, got {str(path)!r}")
    new = Path(f"{path}.new")
    try:
        with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in sorted(homework().items()):
                archive.writestr(f"homework2/{name}", content)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise SystemExit(f"{path} cannot be written: {error}. What was there before is as it was.") from None
    print(f"wrote {path}")
    return path


# ------------------------------------------------------------------------------------------------- for nbgrader

CONFIG = """c = get_config()
c.CourseDirectory.course_id = "homework2"
c.ClearSolutions.enabled = False  # there is none: a task's cell is a hole
"""


def nbgrader(folder: str | Path) -> Path:
    """A course folder: source/homework2 has the homework, a locked cell with a point behind each task."""
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty: give a new folder")
    for name, content in homework().items():
        if name.endswith(".ipynb"):
            name = Path(name).name  # nbgrader looks for them at the top
            content = (nbformat.writes(graded(nbformat.reads(content.decode(), as_version=4))) + "\n").encode()
        path = folder / "source" / "homework2" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    print(f"wrote {folder}: nbgrader generate_assignment homework2")
    return folder


def graded(made: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Each check in a locked cell of its own, where a wrong answer is an error, and nbgrader gives no point."""
    cells = []
    for cell in made.cells:
        for task in asked(cell.source) if cell.cell_type == "code" else []:
            before, _, call = cell.source.strip().rpartition("\n")
            if before:
                own = mark(f"answer-{task}", 0)
                cells.append(nbformat.v4.new_code_cell(before, id=f"{cell.id}-answer", metadata=own))
            else:
                cells[-1].metadata = mark(f"answer-{task}", 0)
            cell.source, cell.metadata = call.replace(")", ", strict=True)"), mark(f"check-{task}", 1)
        cells.append(cell)
    made.cells = [cell for cell in cells if not cell.source.startswith(("progress(", "**How far"))]
    return made


def mark(name: str, points: int) -> dict:
    """nbgrader's metadata of a student's cell, or with points of a locked check."""
    grade = {"grade": points > 0, "solution": not points, "locked": points > 0, "task": False, "schema_version": 3}
    return {"nbgrader": grade | {"grade_id": name, "cell_type": "code"} | ({"points": points} if points else {})}


if __name__ == "__main__":
    option = next((arg for arg in ("--hand-out", "--nbgrader") if arg in sys.argv), None)
    if option:
        {"--hand-out": hand_out, "--nbgrader": nbgrader}[option]("".join(sys.argv[sys.argv.index(option) + 1 :]))
    else:
        write(force="--force" in sys.argv[1:])
