"""Make the exercise notebooks from tasks.md and the solution: python exercises/make.py [--force].

A task's cell is the solution's signature with a hole for the body. The notebooks are executed as they are shipped. One
that somebody has worked in is not overwritten without --force.

python exercises/make.py --hand-out homework2.zip packs the homework without its solution, for students.
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


def skeleton(name: str, docstring: str) -> str:
    """The solution's class or function with holes for bodies."""
    solution = find(name)
    doc = f'"""{docstring.strip()}"""'
    if not inspect.isclass(solution):
        return f"{signature(solution)}\n" + textwrap.indent(f"{doc}\n{HOLE}", "    ")
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
    body = body.replace("(QUESTIONS)", f"({blob}theory/questions.pdf)").replace(
        "(THEORY)", f"({blob}theory/theory.pdf)"
    )
    body = body.replace("(SOLVED", f"({blob}notebooks/{file}.ipynb")
    fences = re.split(r"^```(python|task|formula|hint) ?(\S*)\n(.*?)^```$", body, flags=re.M | re.S)
    for text, kind, name, content in zip(*[iter([*fences, "", "", ""])] * 4, strict=True):
        cells += [("markdown", part.strip()) for part in text.split("\n+++\n") if part.strip()]
        if kind == "python":
            cells.append(("code", content))
        elif kind == "hint":
            cells.append(("markdown", f"<details><summary>Hint</summary>\n\n{content.strip()}\n\n</details>"))
        elif kind == "task":
            cells += [("code", skeleton(name, content)), ("code", f"check({name})")]
        elif kind == "formula":
            cells += [("markdown", content), ("code", f'answer = r""\ncheck(answer, "{name}")')]
    first = next(i for i, (kind, _) in enumerate(cells) if kind == "code")
    cells.insert(first, ("code", first_cell()))
    made = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for number, (kind, source) in enumerate(cells):
        new = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        made.cells.append(new(source.strip(), id=f"{file[:2]}-{number:03d}"))
    return made


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

GIVEN = [  # what a student gets as it is; the modules below come with holes
    *(f"exercises/{name}.py" for name in ("checker", "check_code", "check_formulas", "diagnoses")),
    *("theory/evaluator.py", "theory/questions.pdf", "data/titanic.csv", "requirements.txt", "LICENSE"),
    *("checks.py", "data_utils.py"),
]
KEPT = [  # what is not asked for
    *("Layer", "add_grad", "Loss", "Step", "set_seed", "without_input_grad", "prepare"),
    *("largest", "above", "labels", "guess", "AutogradLoss", "with_backward"),
    *("shifted", "use_style", "show_source", "show_gif"),
]
FIRST_CELL = """# Find the modules of the homework.
import sys
from pathlib import Path

root = next((p for p in [Path.cwd(), *Path.cwd().parents] if (p / "train_utils.py").is_file()), None)
if root is None:
    raise FileNotFoundError(f"no train_utils.py above {Path.cwd()}: open this notebook inside the unpacked folder")
sys.path[:0] = [str(root), str(root / "exercises"), str(root / "theory")]"""
READ_ME = """# Homework 2

    python -m pip install -r requirements.txt && python -m jupyter lab exercises

Four notebooks in `exercises/` are to be worked in; `theory/questions.pdf` has the theory questions. Each task is a
cell with a hole, and a cell that checks it.
"""


def emptied(source: str) -> str:
    """A module whose functions and methods, but those in KEPT, are holes; of a docstring the first line is left."""
    tree, lines = ast.parse(source), source.splitlines()
    for node in reversed([n for n in tree.body if getattr(n, "name", None) not in (None, *KEPT)]):
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        for function in reversed([n for n in inner if isinstance(n, ast.FunctionDef)]):
            lines[function.body[0].lineno - 1 : function.end_lineno] = [" " * function.body[0].col_offset + HOLE]
        if isinstance(node, ast.ClassDef) and ast.get_docstring(node):
            doc = node.body[0]
            first = lines[doc.lineno - 1].rstrip('"')
            lines[doc.lineno - 1 : doc.end_lineno] = [f'{first}"""']
    return "\n".join(lines) + "\n"


def without_solution(made: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without what leads to the solution: badges, links, and the cell that clones the repository."""
    for cell in made.cells:
        cell.source = re.sub(r"(\[!\[Open in .*\n)+\n|\n\n\*\[Solved\].*", "", cell.source)
        cell.source = re.sub(r" The solved notebook is \[here\][^\n]*| The derivations, [^\n]*", "", cell.source)
        cell.source = re.sub(r"\[([^]]*)\]\([^)]*questions.pdf\)", r"[\1](../theory/questions.pdf)", cell.source)
        cell.source = cell.source.replace(COLAB, "")
        if "REPOSITORY" in cell.source:
            cell.source = FIRST_CELL
    return made


def hand_out(path: str | Path) -> Path:
    """A zip with the homework and without its solution: the notebooks, the checker, and the modules with holes."""
    path = Path(path)
    if path.suffix != ".zip":
        raise SystemExit(f"expected the name of a .zip file, got {path}")
    files = {name: (ROOT / name).read_bytes() for name in GIVEN} | {"README.md": READ_ME.encode()}
    for module in MODULES:
        name = f"{module.__name__}.py"
        files[name] = emptied((ROOT / name).read_text(encoding="utf-8")).encode()
    for file, made in notebooks().items():
        files[f"exercises/{file}.ipynb"] = (nbformat.writes(without_solution(made)) + "\n").encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(f"homework2/{name}", content)
    print(f"wrote {path}: {len(files)} files")
    return path


if __name__ == "__main__":
    if "--hand-out" in sys.argv:
        hand_out("".join(sys.argv[sys.argv.index("--hand-out") + 1 :]))
    else:
        write(force="--force" in sys.argv[1:])
