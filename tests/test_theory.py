"""Every boxed answer and every worked example of theory/ checked, and the PDFs fresh and complete.

The checks are in theory/q1.py to q7.py, each under the label of its box (\\answer{label}{...}). ``printed`` evaluates
the text of the .tex on random inputs in float64, against autograd or a definition; where a box is words rather than a
formula, ``pinned`` holds its text next to the code that checks it, so that neither changes alone.
"""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
import torch

from between import DEFINITION
from printed import ANSWERS, BOXES, EXAMPLES, SOURCES, THEORY, WORKED

ROOT = Path(__file__).parents[1]

for number in range(1, 8):
    import_module(f"q{number}")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("label", ANSWERS)
def test_answer(label):
    ANSWERS[label]()


@pytest.mark.parametrize("label", WORKED)
def test_example(label):
    WORKED[label]()


def test_every_box_and_every_example_has_a_check_and_every_check_one():
    assert set(BOXES) == set(ANSWERS) and len(ANSWERS) > 40
    assert set(EXAMPLES) == set(WORKED) and len(WORKED) == 7


def test_a_check_stands_in_its_questions_file():
    """To which its label in the PDF links."""
    for name, text in SOURCES.items():
        for label in re.findall(r"\\(?:answer|example){([a-z0-9-]+)}", text) if re.match(r"q\d_", name) else ():
            checks = (ROOT / "tests" / "theory" / f"{name[:2]}.py").read_text(encoding="utf-8")
            assert f'"{label}"' in checks, label


@pytest.mark.parametrize("name", ["theory.pdf", "questions.pdf"])
def test_the_pdf_was_built_from_these_sources(name):
    digest = subprocess.run([sys.executable, THEORY / "source_hash.py"], capture_output=True, text=True, check=True)
    (stored,) = set(re.findall(rb"/SourceHash ?\(([0-9a-f]{64})\)", (THEORY / name).read_bytes()))
    assert stored.decode() == digest.stdout.strip(), f"{name} is older than its sources: run make -C theory"


def test_the_document_has_every_question_and_its_macros_mean_what_the_evaluator_takes_them_for():
    questions = [name for name in SOURCES if re.match(r"q\d_", name)]
    assert [f"{name}.tex" for name in re.findall(r"^\\input{(q.*)}$", SOURCES["theory.tex"], re.M)] == questions
    assert [macro for name in questions for _, macro in DEFINITION.findall(SOURCES[name])] == ["arraystretch"]
    meant = r"yh{\hat y} one{\mathbf 1} T{^{\!\top}} R{\mathbb R} E{\mathbb E} Var{Var} diag{diag} softplus{softplus} "
    meant += r"lse{logsumexp} dd[2]{\frac{\partial #1}{\partial #2}}"
    definition = r"^\\(?:newcommand|DeclareMathOperator){\\(\w+)}((?:\[\d\])?{.*})$"
    assert " ".join(map("".join, re.findall(definition, SOURCES["notation.tex"], re.M))) == meant


def test_the_table_of_questions_has_their_answers_and_sections():
    """On one of the pages: the labels of each question's file, and the notebook sections that the file refers to."""
    pages = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("*.md"))
    table = re.findall(r"^\| (Q\d) [^|]*\| ([^|]*) \| [^|]* \| ([^|]*) \|$", pages, re.M)
    found = []
    for name, text in SOURCES.items():
        if re.match(r"q\d_", name):
            sections = [f"0{book} §{section}" for book, section in re.findall(r"\\notebook{(\d)}{([0-9.]+?)\.?-", text)]
            labels = re.findall(r"\\answer{([a-z0-9-]+)}", text)
            found.append((name[:2].upper(), ", ".join(dict.fromkeys(sections)), ", ".join(labels)))
    assert table == found


def test_the_notebook_headings_that_the_theory_links_to_exist():
    for number, anchor in re.findall(r"\\notebook{(\d)}{([0-9.]+-[^}]*)}", "".join(SOURCES.values())):
        (path,) = (ROOT / "notebooks").glob(f"0{number}_*.ipynb")
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        headings = re.findall("^#+ (.*)$", text, re.M)
        assert anchor in [heading.replace(" ", "-") for heading in headings], (number, anchor)
