"""The notebooks as files: valid, executed once from top to bottom, no errors or machine paths, honest about nbval."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXERCISES = sorted((ROOT / "exercises").glob("*.ipynb"))
PAGES = sorted(ROOT.glob("*.md"))
REASONS = {"depends-on-data", "depends-on-cpu", "animation"}
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def texts(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]


@every_notebook
def test_valid_and_small(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    assert path.stat().st_size < 5e6


@every_notebook
def test_executed_once_from_top_to_bottom_without_errors(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)


@every_notebook
def test_no_machine_paths_or_stray_warnings(path):
    for cell in code_cells(path):
        for output in cell.outputs:
            data = [str(value) for kind, value in output.get("data", {}).items() if "image" not in kind]
            text = "\n".join([output.get("text", ""), *data])
            assert not re.search(r"(?<![\w.:/])/(home|root|tmp|usr|work|content|Users)/|[A-Z]:\\", text), text[:300]
            assert "Warning: " not in text, text[:300]


@every_notebook
def test_every_cell_is_compared_or_tagged_with_the_reason(path):
    """nbval-ignore-output comes with exactly one reason; nothing is skipped and no check goes uncompared."""
    for cell in code_cells(path):
        tags = set(cell.metadata.get("tags", []))
        assert not tags or ("nbval-ignore-output" in tags and len(tags & REASONS) == 1 and len(tags) == 2)
        assert not re.search(r"NBVAL_(SKIP|IGNORE)", cell.source)
        reports_own = cell.source.startswith("if REPORTS_STREAM:")  # says so itself where it cannot be checked
        assert not (tags and "assert " in cell.source) or reports_own, f"a check must be compared: {cell.source[:80]}"


@every_notebook
def test_what_is_called_checked_is_asserted(path):
    checks = [cell for cell in code_cells(path) if 'print("Checked: ' in cell.source]
    assert len(checks) >= 5 and all("assert " in cell.source for cell in checks)


@every_notebook
def test_cells_are_short(path):
    lengths = sorted(len(cell.source.splitlines()) for cell in code_cells(path))
    assert lengths[-1] <= 25 and lengths[len(lengths) // 2] <= 8


@pytest.mark.parametrize("path", [*NOTEBOOKS, *EXERCISES], ids=lambda path: "/".join(path.parts[-2:]))
def test_what_is_shown_fits_where_it_is_read(path):
    """No line of code, shown source or printed output is above 96 columns (progress bars, on stderr, excepted)."""
    for cell in code_cells(path):
        shown = [cell.source]
        for output in cell.outputs:
            shown += [output.text] if output.get("name") == "stdout" else []
            data = output.get("data", {})
            kinds = () if "text/html" in data else ("text/markdown", "text/plain")
            shown += [data[kind] for kind in kinds if kind in data]
        for line in "\n".join(shown).splitlines():
            assert len(line) <= 96, line


@every_notebook
def test_texts_are_short(path):
    for text in texts(path):
        assert len(text.split()) <= 150, text[:80]


@pytest.mark.parametrize("path", [*NOTEBOOKS, *EXERCISES, *PAGES], ids=lambda path: "/".join(path.parts[-2:]))
def test_formulas_are_understood_by_github(path):
    """Not by its renderer: operators and definitions of one's own, references, links. And in a page, where Markdown is
    read before TeX, a backslash before punctuation is lost."""
    refused = (
        r"\\(operatorname|newcommand|renewcommand|def|let|DeclareMathOperator|require|label|tag|(eq)?ref|href|url)\b"
    )
    for text in [path.read_text(encoding="utf-8")] if path in PAGES else texts(path):
        formulas = re.findall(r"\$\$.+?\$\$|\$[^$\n]+?\$", re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S), re.S)
        for formula in formulas:
            assert not re.search(refused, formula), formula
            assert path not in PAGES or not re.search(r"\\[^A-Za-z]", formula), formula
        assert text.count("$$") % 2 == 0, text[:80]


@every_notebook
def test_every_figure_has_a_text_for_those_who_do_not_see_it(path):
    figures = [c for c in code_cells(path) if any("image/png" in output.get("data", {}) for output in c.outputs)]
    assert len(figures) >= 5
    for cell in figures:
        assert len(cell.metadata.get("alt", "")) > 40, cell.source[:80]


@every_notebook
def test_every_seed_moves_with_seed_shift(path):
    """No generator is seeded by a number alone; shifted, or SEED and SEEDS made with it, are in between."""
    for cell in code_cells(path):
        fixed = re.search(r"(set_seed|manual_seed|default_rng|random_state=|seed=)\(?\d", cell.source)
        assert not fixed, cell.source[:80]
