"""The notebooks and studies as files: valid, executed once from top to bottom, no errors or machine paths, short,
honest about nbval, linked with each other."""

import re
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

import address

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS, STUDIES, EXERCISES = (sorted((ROOT / f).glob("*.ipynb")) for f in ("notebooks", "studies", "exercises"))
PAGES = sorted(ROOT.glob("*.md"))
REASONS = {"depends-on-data", "depends-on-cpu", "animation"}
BLOB = f"https://github.com/{address.owner_and_name()}/blob/main/"
CHECK = re.compile(r"^\s*check\(", re.M)


def each(*paths: Path):
    return pytest.mark.parametrize("path", paths, ids=lambda path: "/".join(path.parts[-2:]))


def cells(path: Path, kind: str) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def texts(path: Path) -> list[str]:
    return [cell.source for cell in cells(path, "markdown")]


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


@each(*NOTEBOOKS, *STUDIES)
def test_valid_and_small(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    assert path.stat().st_size < 5e6


@each(*NOTEBOOKS, *STUDIES)
def test_executed_once_from_top_to_bottom_without_errors(path):
    code = cells(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)


@each(*NOTEBOOKS, *STUDIES)
def test_no_machine_paths_or_stray_warnings(path):
    for cell in cells(path, "code"):
        for output in cell.outputs:
            data = [str(value) for kind, value in output.get("data", {}).items() if "image" not in kind]
            text = "\n".join([output.get("text", ""), *data])
            assert not re.search(r"(?<![\w.:/])/(home|root|tmp|usr|work|content|Users)/|[A-Z]:\\", text), text[:300]
            assert "Warning: " not in text, text[:300]


@each(*NOTEBOOKS, *STUDIES)
def test_every_cell_is_compared_or_tagged_with_the_reason(path):
    """nbval-ignore-output comes with exactly one reason; nothing is skipped and no check goes uncompared."""
    for cell in cells(path, "code"):
        tags = set(cell.metadata.get("tags", []))
        assert not tags or ("nbval-ignore-output" in tags and len(tags & REASONS) == 1 and len(tags) == 2)
        assert not re.search(r"NBVAL_(SKIP|IGNORE)", cell.source)
        reports_own = cell.source.startswith("if REPORTS_STREAM:")  # says so itself where it cannot be checked
        checks = CHECK.search(cell.source) or "assert " in cell.source
        assert not (tags and checks) or reports_own, f"a check must be compared: {cell.source[:80]}"


@each(*NOTEBOOKS, *STUDIES)
def test_what_is_called_checked_is_asserted(path):
    """By plot_utils.check, and by nothing else."""
    code = cells(path, "code")
    source = "\n".join(cell.source for cell in code)
    assert not re.search(r"def check\b|\bcheck =|print\(.*Checked", source)
    imported = re.findall(r"^from (\w+) import (\([^()]*\)|.*)", source, re.M)
    assert [module for module, names in imported if re.search(r"\bcheck\b", names)] == ["plot_utils"]
    checks = [cell for cell in code if CHECK.search(cell.source)]
    assert sum(len(CHECK.findall(cell.source)) for cell in checks) >= (5 if path in NOTEBOOKS else 3)
    silent = [c.source[:80] for c in checks if not ("Checked: " in printed(c) or "if REPORTS_STREAM:" in c.source)]
    assert not silent, silent


@each(*NOTEBOOKS)
def test_a_notebook_is_read_in_an_hour(path):
    code, words = cells(path, "code"), sum(len(text.split()) for text in texts(path))
    assert len(code) + len(texts(path)) <= 75 and words <= 1900
    assert sum(len(cell.source.splitlines()) for cell in code) <= 400


@each(*NOTEBOOKS, *STUDIES)
def test_the_head_says_what_it_is_for_and_how_long_it_takes(path):
    head = "\n".join(texts(path)[:2])
    for part in r"^# \S", r"\*\*Do\b", r"\*\*Learn\b", r"\*\*Need\b", r"minute.*\bread\b|\bread\b.*minute":
        assert re.search(part, head, re.M), part


@each(*NOTEBOOKS, *STUDIES)
def test_cells_are_short(path):
    lengths = sorted(len(cell.source.splitlines()) for cell in cells(path, "code"))
    assert lengths[-1] <= 25 and lengths[len(lengths) // 2] <= (8 if path in NOTEBOOKS else 12)


@each(*NOTEBOOKS, *STUDIES, *EXERCISES)
def test_the_first_cell_is_short(path):
    first = cells(path, "code")[0].source
    assert "REPOSITORY" in first and len(first.splitlines()) <= 10


@each(*NOTEBOOKS, *STUDIES, *EXERCISES)
def test_what_is_shown_fits_where_it_is_read(path):
    """No line of code, shown source or printed output is above 96 columns (progress bars, on stderr, excepted)."""
    for cell in cells(path, "code"):
        shown = [cell.source, printed(cell)]
        for data in (output.get("data", {}) for output in cell.outputs):
            kinds = () if "text/html" in data else ("text/markdown", "text/plain")
            shown += [data[kind] for kind in kinds if kind in data]
        for line in "\n".join(shown).splitlines():
            assert len(line) <= 96, line


@each(*NOTEBOOKS, *STUDIES)
def test_texts_are_short(path):
    for text in texts(path):
        assert len(text.split()) <= 150, text[:80]


@each(*NOTEBOOKS, *STUDIES, *EXERCISES, *PAGES)
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


@each(*NOTEBOOKS, *STUDIES)
def test_every_figure_has_a_text_for_those_who_do_not_see_it(path):
    shown = [(cell, output.get("data", {})) for cell in cells(path, "code") for output in cell.outputs]
    figures = [cell for cell, data in shown if "image/png" in data]
    assert len(figures) >= (4 if path in NOTEBOOKS else 1)
    for cell in figures:
        assert len(cell.metadata.get("alt", "")) > 40, cell.source
    for page in (data.get("text/html", "") for _, data in shown):
        assert all(re.search(r'alt="[^"]{40,}"', image) for image in re.findall("<img.*?>", page, re.S))


@each(*NOTEBOOKS, *STUDIES)
def test_every_seed_moves_with_seed_shift(path):
    """No generator is seeded by a number alone; shifted, or SEED and SEEDS made with it, are in between."""
    for cell in cells(path, "code"):
        fixed = re.search(r"(set_seed|manual_seed|default_rng|random_state=|seed=)\(?\d", cell.source)
        assert not fixed, cell.source[:80]


def links(path: Path) -> list[tuple[Path, str]]:
    """The files of this repository that a notebook's texts lead to, and where in them."""
    found = re.findall(r"\]\(([^)\s]+)\)", "\n".join(texts(path)))
    inside = [link.replace(BLOB, "../", 1) for link in found if link.startswith(BLOB) or "://" not in link]
    parts = [link.partition("#") for link in inside]
    return [((path.parent / file).resolve() if file else path, unquote(anchor)) for file, _, anchor in parts]


@each(*NOTEBOOKS, *STUDIES, *EXERCISES)
def test_links_lead_somewhere(path):
    for there, anchor in links(path):
        assert there.exists(), there
        if anchor:
            headings = re.findall("^#+ (.*)$", "\n".join(texts(there)), re.M)
            assert anchor in {heading.replace(" ", "-") for heading in headings}, f"{there}#{anchor}"


@each(*STUDIES)
def test_a_study_is_linked_from_a_notebook_and_leads_back(path):
    assert any(path == there for notebook in NOTEBOOKS for there, _ in links(notebook))
    assert any(there in NOTEBOOKS for there, _ in links(path))
