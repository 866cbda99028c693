"""The pages against the repository: results, pictures, links, badges, address; a notebook's first cell in a clone."""

import base64
import html
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import address

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path: path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *ROOT.glob("[dit]*/README.md")]}
README, PERSIAN = PAGES[ROOT / "README.md"], PAGES[ROOT / "README.fa.md"]
NOTEBOOKS, STUDIES, EXERCISES = (sorted((ROOT / f).glob("*.ipynb")) for f in ("notebooks", "studies", "exercises"))


def html_outputs(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    return [output.get("data", {}).get("text/html", "") for cell in cells for output in cell.get("outputs", [])]


def first_cell(path: Path) -> str:
    return next(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")


def results(path: Path) -> list[str]:
    """The rows of a notebook's table of results, experiment, report, ours, verdict, as README writes them."""
    (table,) = (text for text in html_outputs(path) if "verdict" in text)
    rows = re.findall(r"<tr.*?>(.*?)</tr>", table[table.index("<tbody>") :], re.S)
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in rows]
    rows = [[html.unescape(re.sub("<.*?>", "", cell)).strip() for cell in row] for row in rows]
    return [" | ".join([path.stem[:2], *row]) for row in rows]


def test_the_results_are_stored_in_the_notebooks():
    rows = re.findall(r"^\| (0\d \|.*) \|$", README, re.M)
    assert {row[:2] for row in rows} == {path.stem[:2] for path in NOTEBOOKS}
    stored = [row for path in NOTEBOOKS for row in results(path)]
    for row in rows:
        assert row in stored, f"{row}\nis none of\n" + "\n".join(stored)


@pytest.mark.parametrize(("picture", "number"), [("paths.gif", 0), ("boundaries.gif", 2)])
def test_the_pictures_are_those_stored_in_the_notebooks(picture, number):
    (stored,) = re.findall(r'src="data:image/gif;base64,([^"]+)"', "".join(html_outputs(NOTEBOOKS[number])))
    assert (ROOT / "images" / picture).read_bytes() == base64.b64decode(stored), "python tools/pictures.py renews it"
    assert f"images/{picture}" in README


def anchors(page: str) -> list[str]:
    """What a link may name after #: GitHub's form of each heading, and what has an id."""
    headings = [re.sub(r"[^\w\- ]", "", heading).lower() for heading in re.findall(r"^#+ (.*)$", page, re.M)]
    return [heading.replace(" ", "-") for heading in headings] + re.findall(r' id="([^"]+)"', page)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    text = PAGES[path]
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text) + re.findall(r'src="(?!https?:)([^"]+)"', text):
        file, _, anchor = link.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), link
        assert not anchor or anchor in anchors(PAGES[there]), link
    for label in re.findall(r"\]\[(\w+)\]", text):
        assert f"\n[{label}]: https://" in text, label


@pytest.mark.parametrize("path", [*NOTEBOOKS, *STUDIES, *EXERCISES], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_badges_open_every_notebook(path):
    """In its head; in the pages, too, but for a study, of which README has the first."""
    name = path.relative_to(ROOT).as_posix()
    hosts = ["colab.research.google.com/github", "kaggle.com/kernels/welcome?src=https://github.com"]
    hosts += ["nbviewer.org/github"] * (path not in EXERCISES)  # those are not to be read
    head = nbformat.read(path, as_version=4).cells[0].source
    for host in hosts:
        link = f"https://{host}/{address.owner_and_name()}/blob/main/{name}"
        assert f"({link})" in head, link
        for page in README, PERSIAN:
            assert f"({name})" in page, name
            if path not in STUDIES:
                (label,) = re.findall(rf"^\[(\w+)\]: {re.escape(link)}$", page, re.M)
                assert f"][{label}]" in page, link
        assert path not in STUDIES or host != hosts[0] or f"({link})" in README, link


def test_the_persian_page_has_the_same_commands():
    commands = re.findall(r"^ *((?:git|cd|python3?|\.) .*)$", README, re.M)
    assert len(commands) == 7 and all(f"\n{command}\n" in PERSIAN for command in commands)


def test_the_dev_container_is_made_with_readmes_commands():
    cpu = re.search(r"^python -m pip install torch .*$", README, re.M)[0]
    all_else = re.search(r"^    (python -m pip install -r .*) && python -m jupyter", README, re.M)[1]
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert container["postCreateCommand"] == f"{cpu} && {all_else}"


def test_conda_gets_the_lower_bounds_of_requirements():
    """On conda-forge two packages have other names; what is for one system only is left to conda."""
    names = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
    python = re.search(r"Python (3\.\d+) or newer", README)[1]
    bounds = re.findall(r"^([\w-]+)(>=[\d.]+)$", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)
    expected = ["conda-forge", "nodefaults", f"python>={python}", *(names.get(n, n) + bound for n, bound in bounds)]
    assert re.findall(r"^  - (.*)$", (ROOT / "environment.yml").read_text(encoding="utf-8"), re.M) == expected


def test_the_address_is_the_same_everywhere():
    assert address.others() == [], "python tools/address.py ADDRESS writes one address everywhere"
    first_cells = {first_cell(path) for path in [*NOTEBOOKS, *STUDIES]}
    assert len(first_cells) == 1 and f'"https://github.com/{address.owner_and_name()}"' in first_cells.pop()


def test_a_fork_changes_the_address_with_one_command(tmp_path):
    for path in address.files(ROOT):
        copied = tmp_path / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(path.read_bytes())  # without its mode: a checkout may be read-only
    old = address.owner_and_name()
    assert len(address.move("https://github.com/some-one/a.b_c.git", tmp_path)) >= 6
    assert address.owner_and_name(tmp_path) == "some-one/a.b_c" and address.others(tmp_path) == []
    assert not [path for path in address.files(tmp_path) if old in path.read_text(encoding="utf-8")]
    forgotten = tmp_path / "notebooks" / NOTEBOOKS[0].name
    forgotten.write_bytes(NOTEBOOKS[0].read_bytes())
    assert address.others(tmp_path) == [f"notebooks/{forgotten.name}: {old}"]
    forgotten.unlink()
    address.move(f"https://github.com/{old}", tmp_path)
    for path in address.files(tmp_path):
        assert path.read_bytes() == (ROOT / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize("bad", ["", "you/yours", "https://github.com/you/", "https://gitlab.com/you/yours"])
def test_no_address(bad):
    with pytest.raises(ValueError, match="expected an address such as"):
        address.move(bad)


def test_the_changes_and_the_citation_are_of_one_edition():
    newest = re.search(r"^## (\S+) \((\S+)\)$", PAGES[ROOT / "CHANGELOG.md"], re.M)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r'^version: (.*)\ndate-released: "(.*)"$', citation, re.M) == [newest.groups()]


def test_readme_is_short():
    assert len(README.splitlines()) <= 115 and len(README.split()) <= 1170


@pytest.mark.parametrize("folder", [ROOT, ROOT / "notebooks"], ids=["root", "notebooks"])
def test_the_first_cell_finds_the_modules(folder):
    command = [sys.executable, "-c", f"{first_cell(NOTEBOOKS[0])}\nprint(sys.path[0])"]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=60)
    assert Path(done.stdout.strip()) == ROOT, done.stderr
