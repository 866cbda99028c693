"""The exercises: made from the solution, and handed out without it (that they can be done: proofs/)."""

import re
import zipfile
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

import make
from right_answers import RIGHT, RIGHT_FORMULAS

EXERCISES = Path(__file__).parents[1] / "exercises"
NAMES = "01_optimization", "02_mnist_mlp", "03_losses_and_regularization", "theory"
MADE = make.notebooks()


def stored(name):
    return nbformat.read(EXERCISES / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", NAMES)
def test_the_notebooks_are_those_of_the_tasks(name):
    assert set(MADE) == set(NAMES)
    seen, made = ([(c.cell_type, c.source, c.id) for c in nb.cells] for nb in (stored(name), MADE[name]))
    assert seen == made, "run python exercises/make.py"


@pytest.mark.parametrize("name", NAMES)
def test_as_shipped_nothing_is_written_and_nothing_fails(name):
    for cell in stored(name).cells:
        for output in cell.get("outputs", []):
            assert output.output_type == "stream" and output.name == "stdout", output
            assert all(line.startswith("…") for line in output.text.splitlines()), output.text
        if make.asked(cell.source) and cell.cell_type == "code":
            assert "not written yet" in cell.outputs[0].text


def test_every_task_is_in_the_exercises():
    code = "\n".join(cell.source for made in MADE.values() for cell in made.cells if cell.cell_type == "code")
    asked = set(re.findall(r"^check\((\w+)\)", code, re.M)) | set(re.findall(r'check\(\w+, "([\w-]+)"\)', code))
    assert asked == set(RIGHT) | set(RIGHT_FORMULAS)


def test_the_links_to_the_solution_lead_to_its_sections():
    for name, made in MADE.items():
        text = "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
        anchors = [unquote(anchor) for anchor in re.findall(rf"notebooks/{name}\.ipynb#([^)]*)\)", text)]
        solution = EXERCISES.parent / "notebooks" / f"{name}.ipynb"
        assert bool(anchors) == solution.is_file()
        if anchors:
            cells = nbformat.read(solution, as_version=4).cells
            headings = re.findall("^#+ (.*)$", "\n".join(c.source for c in cells if c.cell_type == "markdown"), re.M)
            assert set(anchors) <= {heading.replace(" ", "-") for heading in headings}


def test_a_notebook_that_somebody_has_worked_in_is_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "HERE", tmp_path)
    monkeypatch.setattr(make, "execute", lambda made: made)
    (tmp_path / "tasks.md").write_text("# theory: A title\n\n```python\nx = 1\n```\n", encoding="utf-8")
    make.write()
    make.write()  # nobody has
    path = tmp_path / "theory.ipynb"
    worked = path.read_text(encoding="utf-8").replace("x = 1", "x = 2")
    path.write_text(worked, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"theory\.ipynb has been worked in"):
        make.write()
    assert path.read_text(encoding="utf-8") == worked
    make.write(force=True)
    assert path.read_text(encoding="utf-8") != worked


def handed_out(folder):
    """The homework without its solution, packed and unpacked in this folder."""
    with zipfile.ZipFile(make.hand_out(folder / "homework2.zip")) as archive:
        archive.extractall(folder)
    return folder / "homework2"


def test_the_hand_out_has_no_line_of_the_solution(tmp_path):
    homework = handed_out(tmp_path)
    made = [homework / f"{module.__name__}.py" for module in make.WANTED]
    handed = {line.strip() for path in made for line in path.read_text(encoding="utf-8").splitlines()}
    notebooks = [nbformat.read(path, as_version=4) for path in homework.glob("exercises/*.ipynb")]
    handed |= {line.strip() for nb in notebooks for cell in nb.cells for line in cell.source.splitlines()}
    for module in make.MODULES:
        name = f"{module.__name__}.py"
        kept = (homework / name).read_text(encoding="utf-8").splitlines() if (homework / name).exists() else []
        gone = set((make.ROOT / name).read_text(encoding="utf-8").splitlines()) - set(kept)
        code = [line.strip() for line in gone if not re.match(r"\s*(class|def) ", line)]
        lines = {line for line in code if len(line) > 25 and re.search(r"[-+*/@=(]", line)}
        assert len(lines) > 15 and not lines & handed, lines & handed
    assert make.repository() not in "".join(handed)


def test_no_line_of_the_checker_gives_the_solution_away():
    checker = "\n".join(path.read_text(encoding="utf-8") for path in EXERCISES.glob("checker/*.py"))
    code = "".join(checker.split())
    for name, text in RIGHT.items():
        body = [line.strip() for line in text.splitlines() if re.search(r"[-+*/@]", line) and "=" in line]
        for line in body:
            formula = "".join(line.partition("=")[2].replace("self.", "").split())
            assert len(formula) < 12 or "(*" in formula or formula not in code, (name, line)


def test_a_hand_out_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "homework2.zip"
    path.write_text("the old one")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(SystemExit, match="No space left"):
        make.hand_out(path)
    assert path.read_text() == "the old one" and [*tmp_path.iterdir()] == [path]
