"""The exercises: generated from the solution, solvable, and handed out without it."""

import re
import zipfile
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from nbclient import NotebookClient

import make
from wrong_answers import RIGHT, RIGHT_FORMULAS

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
        if "check(" in cell.source and cell.cell_type == "code" and "import" not in cell.source:
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


def solved(made):
    """The notebook with a right answer in every hole."""
    for cell in (cell for cell in made.cells if cell.cell_type == "code"):
        name = re.match(r"(?:class|def) (\w+)", cell.source)
        hole = make.HOLE in cell.source
        if hole and name:
            cell.source = RIGHT[name[1]].strip()
        elif hole:
            cell.source = cell.source[: cell.source.index("def loss_setting")] + RIGHT["loss_setting"].strip()
        elif asked := re.search(r'check\((\w+), "([\w-]+)"\)', cell.source):
            cell.source = f'{asked[1]} = r"""{RIGHT_FORMULAS[asked[2]][0]}"""\n{asked[0]}'
    return made


EXTRA = "from matplotlib.figure import Figure"


def run(made, folder):
    """Execute the notebook in this folder, and return what it prints."""
    NotebookClient(made, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return "".join(o.text for c in made.cells for o in c.get("outputs", []) if o.get("name") == "stdout")


@pytest.mark.proof
@pytest.mark.parametrize("name", NAMES)
def test_the_exercises_can_be_done(name, tmp_path):
    """With right answers every check says so, and the student's own classes train."""
    made = solved(make.notebooks()[name])
    first = next(i for i, cell in enumerate(made.cells) if "from checker" in cell.source)
    made.cells.insert(first, nbformat.v4.new_code_cell(EXTRA))
    made.cells[-1].source = made.cells[-1].source.replace('"boundaries.gif"', repr(str(tmp_path / "boundaries.gif")))
    printed = run(made, EXERCISES)
    checks = [c for c in made.cells if c.cell_type == "code" and re.search(r"^check\(", c.source, re.M)]
    assert "✗" not in printed and not re.search("^…", printed, re.M) and printed.count("✓") == len(checks)
    assert not name.startswith("02") or "well done" in printed


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


# ------------------------------------------------------------------------------------------------- the hand-out


@pytest.fixture(scope="module")
def homework(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hand out")
    with zipfile.ZipFile(make.hand_out(folder / "homework2.zip")) as archive:
        archive.extractall(folder)
    return folder / "homework2"


def test_the_hand_out_has_no_line_of_the_solution(homework):
    handed = {
        line.strip()
        for path in homework.rglob("*")
        if path.suffix in (".py", ".ipynb", ".md")
        for line in path.read_text(encoding="utf-8").splitlines()
    }
    for module in make.MODULES:
        name = f"{module.__name__}.py"
        gone = set((make.ROOT / name).read_text(encoding="utf-8").splitlines()) - set(
            (homework / name).read_text(encoding="utf-8").splitlines()
        )
        lines = {line.strip() for line in gone if len(line.strip()) > 25 and re.search(r"[-+*/@=(]", line)}
        assert len(lines) > 15 and not lines & handed, lines & handed
    assert make.repository() not in "".join(handed) and "Solution" not in "".join(handed)


@pytest.mark.proof
@pytest.mark.parametrize("name", NAMES)
def test_the_hand_out_can_be_worked_in(homework, name):
    path = homework / "exercises" / f"{name}.ipynb"
    printed = run(nbformat.read(path, as_version=4), path.parent)
    assert all(line.startswith("…") for line in printed.splitlines()) and "not written yet" in printed
    if name in ("01_optimization", "theory"):
        printed = run(solved(nbformat.read(path, as_version=4)), path.parent)
        assert "✓" in printed and "✗" not in printed
