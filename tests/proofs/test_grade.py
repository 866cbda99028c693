"""A class is graded: 60 submissions made from the catalogue, and one that does all that should stop a grader."""

import csv
import html
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

import make
from grading import submissions
from grading.feedback import write
from right_answers import RIGHT, RIGHT_FORMULAS
from test_exercises_done import solved
from wrong_answers import WRONG, WRONG_FORMULAS

GRADE = Path(make.__file__).with_name("grade.py")
SIZES = {"01_optimization": 26, "theory": 26, "02_mnist_mlp": 4, "03_losses_and_regularization": 4}
SLOW = "endless"  # tried once, below


def right(name):
    made = solved(make.without_solution(make.notebooks()[name]))
    made.cells.insert(
        0, nbformat.v4.new_code_cell("from matplotlib.figure import Figure\nfrom tqdm import tqdm\nimport math")
    )
    return made


def wrong(made, number):
    """Put the catalogue's wrong answers with this number into a notebook with right ones: kind by task."""
    kinds = {}
    for cell in (cell for cell in made.cells if cell.cell_type == "code"):
        name = next((n for n in re.findall(r"^(?:class|def) (\w+)", cell.source, re.M) if n in RIGHT), None)
        label = next((n for n in re.findall(r'check\(\w+, "([\w-]+)"\)', cell.source)), None)
        if name:
            variants = [(kind, old, new) for task, kind, old, new in WRONG if task == name and kind != SLOW]
            kind, old, new = [("right", "", ""), *variants][number % (len(variants) + 1)]
            cell.source = cell.source.replace(
                RIGHT[name].strip(), RIGHT[name].replace(old, new).strip() if old else RIGHT[name]
            )
        elif label:
            variants = [(kind, text) for task, kind, text in WRONG_FORMULAS if task == label]
            kind, text = [("right", RIGHT_FORMULAS[label][0]), *variants][number % (len(variants) + 1)]
            cell.source = re.sub(r'r""".*"""', lambda m, text=text: f"r'''{text}'''", cell.source, flags=re.S)
        if name or label:
            kinds[name or label] = kind
    return kinds


ATTACKS = [  # what the row of a formula says, and what was added to its cell; the other rows are right
    ("endless", "while True: pass"),
    ("memory", "kept = []\nwhile True: kept.append(bytearray(b'x' * 10**8))"),
    ("kernel died", "import os; os.kill(os.getpid(), 9)"),
    ("kernel died", "import os; os._exit(0)"),
    ("checker patched", "import checker; checker.core.diagnose = checker.diagnose = lambda *a, **k: ('right', '')"),
    ("checker patched", "from checker import compare; compare.same.__code__ = (lambda a, b, t=1: True).__code__"),
    ("checker patched", "import numpy as np; np.allclose = np.abs = lambda *a, **k: True"),
    ("checker patched", "import sys, types; sys.modules['checker'] = types.ModuleType('checker')"),
    ("error", "for x in:"),
    ("right", "1 / 0"),
    ("right", "for _ in range(5): print('x' * 10**6)"),
    ("right", "open('../../../outside.txt', 'w').write('x'); open('../optim.py', 'w').write('x')"),
    ("right", "import subprocess; subprocess.Popen(['sleep', '4321'], start_new_session=True)"),
]


def attacked():
    made = right("theory")
    kinds = dict.fromkeys(RIGHT_FORMULAS.keys() - {"prediction-nll", "prediction-kldiv"}, "right")
    for label, (kind, code) in zip(sorted(kinds), ATTACKS, strict=False):
        cell = next(cell for cell in made.cells if f'"{label}"' in cell.source and cell.cell_type == "code")
        cell.source = f"{code}\n{cell.source}" if kind == "memory" else f"{cell.source}\n{code}"
        kinds[label] = kind
    return made, kinds


def moved():
    """Deleted, renamed, doubled and moved cells without ids, and no check cells."""
    made = right("01_optimization")
    made.cells = [c for c in made.cells if not c.source.startswith("check(")]
    cells = {
        name: next(c for c in made.cells if c.source.startswith(f"def {name}("))
        for name in ("GD", "Newton", "rosenbrock")
    }
    made.cells.remove(cells["Newton"])
    made.cells.remove(cells["GD"])
    made.cells.append(cells["GD"])
    made.cells.append(nbformat.v4.new_code_cell("def rosenbrock(x):\n    return 0, x"))  # doubled: the last one counts
    for cell in made.cells:
        cell.pop("id", None)
    made.nbformat_minor = 4
    return made, {"rosenbrock": "wrong", "rosenbrock_hessian": "right", "GD": "right", "Newton": "not in the notebook"}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """(expected kinds, rows, what was printed, folder)"""
    folder = tmp_path_factory.mktemp("class")
    (folder / "in").mkdir()
    expected = {}
    for name, size in SIZES.items():
        for number in range(size):
            made = right(name)
            expected[f"{name} {number}"] = wrong(made, number)
            (folder / "in" / f"{name} {number}.ipynb").write_text(nbformat.writes(made), encoding="utf-8")
    made, expected["'=<b>1"] = attacked()
    (folder / "in" / "=<b>1").mkdir()
    (folder / "in" / "=<b>1" / "my homework (1).ipynb").write_text(nbformat.writes(made), encoding="utf-8")
    made, expected["zip"] = moved()
    with zipfile.ZipFile(folder / "in" / "zip.zip", "w") as archive:
        archive.writestr("homework2/exercises/x.ipynb", nbformat.writes(made))
        archive.writestr("../outside.ipynb", nbformat.writes(made))
    (folder / "in" / "broken.ipynb").write_text('{"cells": [')
    command = [
        sys.executable,
        GRADE,
        folder / "in",
        "--csv",
        folder / "grades.csv",
        "--html",
        folder / "html",
        "--limit",
        "20",
    ]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    print(done.stdout[-2000:], done.stderr[-2000:])
    assert done.returncode == 0
    with open(folder / "grades.csv", encoding="utf-8", newline="") as file:
        return expected, list(csv.DictReader(file)), command, folder


def test_all_rows_agree_with_what_is_known(graded):
    expected, rows, _, _ = graded
    found = {(row["student"], row["task"]): row["kind"] for row in rows if row["task"]}
    known = {(student, task): kind for student, kinds in expected.items() for task, kind in kinds.items()}
    differ = {key: (found.get(key), kind) for key, kind in known.items() if found.get(key) != kind}
    assert not differ and len(expected) == 62


def test_what_cannot_be_read_has_its_reason(graded):
    _, rows, _, folder = graded
    assert {row["kind"] for row in rows if row["student"] == "broken"} == {"unreadable", "refused"}
    assert any("leads out" in row["text"] for row in rows if row["student"] == "zip")
    assert not list(folder.rglob("outside*"))


def test_nothing_is_left_and_nothing_is_done_again(graded):
    _, _, command, folder = graded
    assert "4321" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, encoding="utf-8").stdout
    before = (folder / "grades.csv").read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "in.graded").iterdir()}
    subprocess.run(command, check=True, timeout=240)
    assert (folder / "grades.csv").read_bytes() == before
    assert stamps == {path: path.stat().st_mtime_ns for path in (folder / "in.graded").iterdir()}


def test_the_pages(graded):
    _, rows, _, folder = graded
    index = (folder / "html" / "index.html").read_text(encoding="utf-8")
    pages = list((folder / "html" / "students").iterdir())
    assert len(pages) == len({row["student"] for row in rows}) and all(
        f"students/{page.name}" in index for page in pages
    )
    assert "<b>" not in index and html.escape("=<b>1") in index


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, capsys):
    assert write(tmp_path / "grades.csv", "old")

    def full(self, *_, **__):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert not write(tmp_path / "grades.csv", "new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    assert "No space left" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["../x.ipynb", "/x.ipynb", "a/../../x.ipynb", r"..\x.ipynb", "C:/x.ipynb", "link.ipynb"]
)
def test_members_outside_the_folder_and_bombs_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "BYTES", 10**6)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo(name)
        member.external_attr = 0o120777 << 16 if "link" in name else 0
        archive.writestr(member, "{}")
        archive.writestr("good.ipynb", "{}")
        archive.writestr("bomb.ipynb", "0" * 10**6)
    files, refused = submissions.handed_in(tmp_path / "a.zip")
    assert list(files) == ["a.zip/good.ipynb"] and len(refused) == 2 and "MB" in refused[1]


def test_inputs_taken_from_a_checker_are_noticed():
    from checker import newton, rosenbrock
    from grading.kernel import parts

    assert isinstance(rosenbrock.POINTS, tuple)  # of numbers, which nobody can change
    before = parts()["checker.newton.HILLS"]
    kept = newton.HILLS.pop()
    try:
        assert len(parts()["checker.newton.HILLS"]) == len(before) - 1
    finally:
        newton.HILLS.append(kept)
