"""The exercises: generated from the solution, solvable, and handed out without it."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

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


EXTRA = "import io\nfrom matplotlib.figure import Figure\nfrom PIL import Image"


@pytest.mark.proof
@pytest.mark.parametrize("name", NAMES)
def test_the_exercises_can_be_done(name, tmp_path):
    """With right answers every check says so, and the student's own classes train."""
    made = solved(make.notebooks()[name])
    made.cells.insert(
        next(i for i, c in enumerate(made.cells) if "from checker" in c.source), nbformat.v4.new_code_cell(EXTRA)
    )
    place = {"metadata": {"path": str(EXERCISES)}}
    if name.startswith("03"):
        made.cells[-1].source = made.cells[-1].source.replace(
            '"boundaries.gif"', repr(str(tmp_path / "boundaries.gif"))
        )
    NotebookClient(made, timeout=900, kernel_name="python3", resources=place).execute()
    printed = "".join(o.get("text", "") for c in made.cells for o in c.get("outputs", []) if o.get("name") == "stdout")
    assert "✗" not in printed and "…" not in printed.replace("...", "")
    assert printed.count("✓") == sum(
        "check(" in c.source and "import" not in c.source for c in made.cells if c.cell_type == "code"
    )
    if name.startswith("02"):
        assert "well done" in printed
