"""README against the repository: results, pictures, links; and the notebooks' first cell on every kind of machine."""

import base64
import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def html_outputs(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    return [output.get("data", {}).get("text/html", "") for cell in cells for output in cell.get("outputs", [])]


def results(path: Path) -> list[list[str]]:
    """The rows of a notebook's table of results: experiment, report, ours, verdict."""
    (table,) = (text for text in html_outputs(path) if "verdict" in text)
    rows = re.findall(r"<tr.*?>(.*?)</tr>", table, re.S)
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in rows]
    return [[html.unescape(re.sub("<.*?>", "", cell)).strip() for cell in row] for row in rows[2:]]  # after two headers


def test_the_results_are_those_stored_in_the_notebooks():
    expected = [[path.stem[:2], *row] for path in NOTEBOOKS for row in results(path)]
    lines = "\n".join("| " + " | ".join(row) + " |" for row in expected)
    assert len(expected) > 20
    assert lines in README, f"README's table of results is not that of the notebooks; it should be\n{lines}"


@pytest.mark.parametrize(("picture", "number"), [("paths.gif", 0), ("boundaries.gif", 2)])
def test_the_pictures_are_those_stored_in_the_notebooks(picture, number):
    (stored,) = re.findall(r'src="data:image/gif;base64,([^"]+)"', "".join(html_outputs(NOTEBOOKS[number])))
    assert (ROOT / "images" / picture).read_bytes() == base64.b64decode(stored), "images/README.md says how to renew it"
    assert f"images/{picture}" in README


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README) + re.findall(r'src="(?!https?:)([^"]+)"', README)
    assert len(links) >= 6
    for link in links:
        assert (ROOT / link).exists(), link
    for path in NOTEBOOKS:
        assert re.search(rf"\(https://colab\.research\.google\.com/github/[^)]*/notebooks/{path.name}\)", README), (
            "badge"
        )


# ------------------------------------------------------------------------------------ the first cell, everywhere


def run_first_cell(path: Path, folder: Path, in_colab: bool = False, **environment) -> subprocess.CompletedProcess:
    """Execute a notebook's first cell in a folder, then print the folder of modules that it found."""
    cell = next(cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    colab = "import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')\n" if in_colab else ""
    return subprocess.run(
        [sys.executable, "-c", colab + cell.source + "\nprint(sys.path[0])"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": "", "GIT_CEILING_DIRECTORIES": str(folder.parent)} | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def copy(tmp_path):
    """A copy of the repository's modules and notebooks in a folder with a difficult name."""
    folder = tmp_path / "My Drive" / "Übung zwei"
    for part in "notebooks", "data":
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("MNIST", ".ipynb_checkpoints"))
    for file in ROOT.glob("*.py"):
        shutil.copy(file, folder)
    return folder


@every_notebook
def test_first_cell_in_the_notebooks_folder_the_root_and_a_drive_folder(path, copy):
    for folder in ROOT / "notebooks", ROOT, copy, copy / "notebooks":
        done = run_first_cell(path, folder)
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()) == (copy if copy in [folder, *folder.parents] else ROOT)


@every_notebook
def test_first_cell_elsewhere_says_what_to_do(path, tmp_path):
    done = run_first_cell(path, tmp_path)
    assert "FileNotFoundError" in done.stderr and "open this notebook inside a clone of https://" in done.stderr


@every_notebook
def test_first_cell_in_colab_clones_once(path, copy, tmp_path):
    """A stub google.colab and, in place of GitHub, a repository on this disk."""
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(copy)]
    for command in ["init", "-q"], ["add", "."], ["commit", "-q", "-m", "copy"]:
        subprocess.run([*git, *command], check=True)
    (address,) = set(re.findall(r'REPOSITORY = "([^"]+)"', nbformat.read(path, as_version=4).cells[1].source))
    instead = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{copy.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
    }
    content = tmp_path / "content"
    content.mkdir()
    for _ in range(2):
        done = run_first_cell(path, content, in_colab=True, **instead)
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()) == content / "deep_learning_hw2"
    assert (content / "deep_learning_hw2" / "train_utils.py").is_file()
