"""The checker of the exercises: each wrong answer of the catalogue gets its own diagnosis."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from checker import diagnose
from checker.core import TASKS
from checker.formulas import SAID, check_formula
from right_answers import RIGHT, RIGHT_FORMULAS
from test_checker import answer
from wrong_answers import WRONG, WRONG_FORMULAS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "kind", "old", "new"), WRONG)
def test_a_wrong_variant_gets_its_own_diagnosis(name, kind, old, new):
    assert RIGHT[name].count(old) >= 1, "the catalogue's text is not in the right answer"
    found, text = diagnose(answer(name, RIGHT[name].replace(old, new)), name, limit=5)
    assert found == kind, text
    assert len(text) < 700


@pytest.mark.parametrize(("label", "kind", "text"), WRONG_FORMULAS)
def test_a_wrong_formula_gets_its_own_diagnosis(label, kind, text):
    assert diagnose(text, label)[0] == kind, diagnose(text, label)[1]


def collected(file):
    return json.loads((Path(__file__).parent / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("label", "texts"), collected("right_formulas.json").items())
def test_right_formulas_in_many_spellings_are_read(label, texts):
    """1,700 of them: LaTeX of many hands and programs, Unicode, Python."""
    refused = [(text, found) for text in texts if (found := diagnose(text, label))[0] != "right"]
    assert not refused


@pytest.fixture(scope="module")
def found():
    """(label, what is found) of each of the 839 wrong formulas."""
    return [(label, diagnose(text, label)[0]) for label, text, _ in collected("wrong_formulas.json")]


def test_wrong_formulas_are_named(found):
    """What is unreadable has no name, nor has what is only shown to be wrong."""
    kinds = [kind for _, kind in found]
    assert "right" not in kinds and "error" not in kinds
    unnamed = sum(kind in ("wrong", "unreadable", "endless") for kind in kinds)
    assert unnamed < 0.05 * len(kinds)


def test_each_mistake_that_a_question_knows_is_found(found):
    """A name that no formula gets is that of a mistake that nobody makes, or comes after another of the same value."""
    asked = {label: task.args[:2] for label, task in TASKS.items() if getattr(task, "func", None) is check_formula}
    tables = {label: draw(np.random.default_rng(0))[n].wrong for label, (draw, n) in asked.items()}
    known = {(label, kind) for label, wrong in tables.items() for kind in wrong}
    assert all(text.endswith((".", "?")) for wrong in tables.values() for _, text in wrong.values())
    named = {(label, kind) for label, kind, _ in WRONG_FORMULAS}.union(found)
    assert len(known) > 300 and known <= named
    assert SAID.keys() <= {kind for _, kind in named}


def test_the_catalogue_is_large_and_knows_every_task():
    assert len({(name, kind) for name, kind, *_ in WRONG + WRONG_FORMULAS}) > 150
    assert set(RIGHT) | set(RIGHT_FORMULAS) == set(TASKS)
    assert {name for name, *_ in WRONG + WRONG_FORMULAS} == set(TASKS)


def test_a_function_is_no_formula():
    assert diagnose(lambda yh, y: yh - y, "softmax-ce-grad")[0] == "no formula"


def test_a_formula_in_python_needs_nothing_that_ran_before():
    code = "from checker import check; check('(yh-y).sum()', 'logistic-grad-b'); check('yh-', 'ce-hessian')"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("exercises", "theory"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    right, unreadable = done.stdout.splitlines()[:2]
    assert right.startswith("✓") and unreadable.startswith("?") and "not Python" in unreadable
