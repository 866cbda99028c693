"""The exercises can be done from top to bottom, in the repository and as they are handed out."""

import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

import make
from right_answers import RIGHT, RIGHT_FORMULAS
from test_exercises import EXERCISES, NAMES, handed_out


def solved(made):
    """The notebook with a right answer in every hole."""
    for cell in (cell for cell in made.cells if cell.cell_type == "code"):
        name = re.match(r"(?:class|def) (\w+)", cell.source)
        hole = make.HOLE in cell.source
        cell.source = re.sub("^(import io)$", r"\1\nfrom matplotlib.figure import Figure", cell.source, flags=re.M)
        if hole and name:
            cell.source = RIGHT[name[1]].strip()
        elif hole:
            cell.source = cell.source[: cell.source.index("def loss_setting")] + RIGHT["loss_setting"].strip()
        elif asked := re.search(r'check\((\w+), "([\w-]+)"\)', cell.source):
            cell.source = f'{asked[1]} = r"""{RIGHT_FORMULAS[asked[2]][0]}"""\n{asked[0]}'
    return made


def run(made, folder):
    """Execute the notebook in this folder, and return what it prints."""
    NotebookClient(made, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return "".join(o.text for c in made.cells for o in c.get("outputs", []) if o.get("name") == "stdout")


@pytest.mark.parametrize("name", NAMES)
def test_the_exercises_can_be_done(name, tmp_path):
    """With right answers every check says so, and the student's own classes train."""
    made = solved(make.notebooks()[name])
    for cell in made.cells:
        cell.source = re.sub(r'"(boundaries.gif|progress_.*?)"', lambda m: repr(str(tmp_path / m[1])), cell.source)
    printed = run(made, EXERCISES)
    checks = [c for c in made.cells if c.cell_type == "code" and re.search(r"^check\(", c.source, re.M)]
    assert "✗" not in printed and not re.search("^…", printed, re.M) and printed.count("✓") == 2 * len(checks) + 1
    assert not name.startswith("02") or "Above 0.85" in printed


@pytest.mark.parametrize("name", NAMES)
def test_the_hand_out_can_be_worked_in(name, tmp_path):
    path = handed_out(tmp_path) / "exercises" / f"{name}.ipynb"
    printed = run(nbformat.read(path, as_version=4), path.parent)
    assert all(line.startswith("…") for line in printed.splitlines()) and "not written yet" in printed
    printed = run(solved(nbformat.read(path, as_version=4)), path.parent)
    assert "✓" in printed and "✗" not in printed


@pytest.mark.parametrize("name", NAMES)
def test_the_hand_out_is_found_in_colabs_files(name, tmp_path):
    """Where the notebook lies alone beside the uploaded zip, its first cell unpacks it, never over a student's work."""
    made = nbformat.read(handed_out(tmp_path) / "exercises" / f"{name}.ipynb", as_version=4)
    alone = tmp_path / "content"
    alone.mkdir()
    (tmp_path / "homework2.zip").rename(alone / "homework2.zip")
    shutil.rmtree(tmp_path / "homework2")
    assert "not written yet" in run(made, alone)
    mine = alone / "homework2" / "exercises" / f"{name}.ipynb"
    mine.write_text("what a student has written")
    assert "not written yet" in run(made, alone)
    assert mine.read_text() == "what a student has written"


def test_the_hand_out_is_found_in_a_drive_and_asked_for_elsewhere(tmp_path):
    homework = handed_out(tmp_path)
    first = f"{make.FIRST_CELL}\nprint(root)".replace("/content/drive/MyDrive", tmp_path.as_posix())
    alone = tmp_path / "content"
    alone.mkdir()
    done = subprocess.run([sys.executable, "-c", first], cwd=alone, capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == str(homework), done.stderr
    shutil.rmtree(homework)
    done = subprocess.run([sys.executable, "-c", first], cwd=alone, capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and "or put homework2.zip beside it" in done.stderr


@pytest.mark.skipif(not shutil.which("nbgrader"), reason="nbgrader is not installed: pip install nbgrader")
def test_nbgrader_gives_points_for_right_answers_only(tmp_path):
    course = make.nbgrader(tmp_path / "course")

    def nbgrader(*arguments):
        subprocess.run(["nbgrader", *arguments], cwd=course, check=True, capture_output=True)

    nbgrader("generate_assignment", "homework2", "--create")
    for student in "right", "wrong":
        folder = course / "submitted" / student / "homework2"
        shutil.copytree(course / "release" / "homework2", folder)
        for path in folder.glob("*.ipynb"):
            if path.stem not in ("01_optimization", "theory"):
                path.unlink()
                continue
            made = nbformat.read(path, as_version=4)
            for cell in made.cells:
                task = cell.metadata.get("nbgrader", {}).get("grade_id", "").removeprefix("answer-")
                if task in RIGHT and student == "right":
                    cell.source = RIGHT[task].strip()
                elif task in RIGHT_FORMULAS:
                    cell.source = f'answer = r"""{RIGHT_FORMULAS[task][0] if student == "right" else "1 + 1"}"""'
            nbformat.write(made, path)
    nbgrader("autograde", "homework2", "--create")
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        scores = {
            s: {n.name: (n.score, n.max_score) for n in book.find_submission("homework2", s).notebooks}
            for s in ("right", "wrong")
        }
    for name in "01_optimization", "theory":
        score, points = scores["right"][name]
        assert score == points > 5 and scores["wrong"][name][0] == 0
