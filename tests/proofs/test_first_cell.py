"""The first cell of notebooks, studies and exercises: in a clone, and where only the notebook is open, as in Colab and
Kaggle (a repository on this disk for GitHub). What is there already is never changed."""

import os
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import address

ROOT = Path(__file__).resolve().parents[2]
GITHUB = f"https://github.com/{address.owner_and_name()}"
STUDY, EXERCISE = "studies/forty_splits.ipynb", "exercises/theory.ipynb"
TITANIC = "from data_utils import load_titanic; print(type(load_titanic()).__name__)"
CHECK = "from checker import check; check('', 'ce-psd')"

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


def first_cell(name: str = "notebooks/01_optimization.ipynb") -> str:
    return next(cell.source for cell in nbformat.read(ROOT / name, as_version=4).cells if cell.cell_type == "code")


def settings(home: Path) -> dict[str, str]:
    """An environment with git's settings in home, and none of the user's or of a git hook that runs these tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
        "LC_ALL": "C",  # git's messages are translated
        "PYTHONUTF8": "1",
        "PYTHONPATH": "",
        "PYTHONUSERBASE": site.getuserbase(),  # packages that pip has installed into the real home
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CEILING_DIRECTORIES": str(home.parent),
    }


def run(command: list[str], folder: Path, home: Path) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=folder, env=settings(home), capture_output=True, encoding="utf-8", timeout=60)


def run_first_cell(folder: Path, home: Path, cell: str | None = None) -> subprocess.CompletedProcess:
    """Execute the first cell in a folder, then print the folder that it found."""
    return run([sys.executable, "-c", f"{cell or first_cell()}\nprint(sys.path[0])"], folder, home)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder whose Drive holds a copy of the repository; git clones it when asked for the one on GitHub."""
    home = tmp_path_factory.mktemp("home")
    copy = home / "My Drive" / "Übung zwei"
    parts = "*.py", "notebooks/*.ipynb", "studies/*.ipynb", "exercises/**/*.*", "theory/*.*", "data/*.csv"
    for path in (path for part in parts for path in ROOT.glob(part) if path.is_file()):
        copied = copy / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(path.read_bytes())  # without its mode: a checkout may be read-only
    (home / ".gitconfig").write_text(
        f'[user]\n name = x\n email = x@example.org\n[url "{copy.as_uri()}"]\n insteadOf = {GITHUB}\n'
    )
    for command in ["init", "-q"], ["add", "."], ["commit", "-q", "-m", "copy"]:
        assert run(["git", *command], copy, home).returncode == 0
    return home


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_in_a_folder_with_a_difficult_name(home):
    root = home / "My Drive" / "Übung zwei"
    for folder in root, root / "notebooks", root / "exercises":
        done = run_first_cell(folder, home)
        assert Path(done.stdout.strip()) == root, done.stderr


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_where_only_the_notebook_is_open_it_clones_once(left, home, tmp_path):
    """What a student has written into the clone is left alone the next time."""
    folder = tmp_path / "Neuer Ordner ü"
    clone = folder / "deep_learning_hw2"
    (folder if left == "nothing" else clone).mkdir(parents=True)
    done = run_first_cell(folder, home)
    assert Path(done.stdout.splitlines()[-1]) == clone, done.stderr
    (clone / "sweeps.py").write_text("mine = 1")
    before = contents(folder)
    for here in folder, clone, clone / "notebooks":
        done = run_first_cell(here, home)
        assert done.stdout.strip() == str(clone), done.stderr
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("name", "then", "said"), [(STUDY, TITANIC, "DataFrame"), (EXERCISE, CHECK, "… ce-psd: not written yet.")]
)
def test_a_study_finds_its_data_and_an_exercise_its_checker(name, then, said, home, tmp_path):
    """In a clone of its own, and in the repository."""
    for folder in tmp_path, home / "My Drive" / "Übung zwei" / "exercises":
        done = run([sys.executable, "-c", f"{first_cell(name)}\n{then}"], folder, home)
        assert done.stdout.splitlines()[-1] == said, done.stderr


@pytest.mark.parametrize("left", ["the user's folder", "half a clone", "a file"])
def test_a_folder_of_that_name_is_not_changed(left, home, tmp_path):
    clone = tmp_path / "deep_learning_hw2"
    mine = clone if left == "a file" else clone / "mine.txt"
    if left == "half a clone":
        (clone / ".git").mkdir(parents=True)
        (clone / ".git" / "index.lock").write_text("")
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("what a student has written")
    before = contents(tmp_path)
    done = run_first_cell(tmp_path, home)
    assert "'deep_learning_hw2' already exists and is not an empty directory" in done.stdout
    assert done.returncode == 1 and contents(tmp_path) == before


def test_without_a_network_it_says_so_and_leaves_nothing(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text('[url "http://no-such-host.invalid/"]\n insteadOf = https://github.com/\n')
    done = run_first_cell(tmp_path, home)
    assert "Could not resolve host" in done.stdout and done.returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_without_git_it_says_so_and_a_whole_copy_needs_none(home, tmp_path, monkeypatch):
    """Such as GitHub's zip of the repository."""
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run_first_cell(tmp_path, home)
    assert re.search("git.* not (found|recognized)", done.stdout) and done.returncode == 1
    assert [*tmp_path.iterdir()] == []
    copy = home / "My Drive" / "Übung zwei"
    assert run_first_cell(copy / "notebooks", home).stdout.strip() == str(copy)


def test_the_reader_sees_what_git_says(home, tmp_path, monkeypatch):
    """In a kernel, too, in whose output it stands above the error, and the next cells are not run."""
    (tmp_path / "deep_learning_hw2").mkdir()
    (tmp_path / "deep_learning_hw2" / "mine.txt").write_text("")
    for name, value in settings(home).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(first_cell())])
    with pytest.raises(CellExecutionError):
        NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    said, error = notebook.cells[0].outputs
    assert "already exists and is not an empty directory" in said.text and error.output_type == "error"


def test_with_the_wrong_address_it_stops(home, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for command in ["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "another repository"]:
        assert run(["git", *command], other, home).returncode == 0
    done = run_first_cell(tmp_path, home, first_cell().replace(GITHUB, other.as_uri()))
    assert done.returncode == 1 and "Cloning into 'deep_learning_hw2'" in done.stdout


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_in_a_folder_that_cannot_be_written_it_says_so(home, tmp_path):
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)
    done = run_first_cell(folder, home)
    assert done.returncode == 1 and "Permission denied" in done.stdout
