"""The notebooks' first cell in a Drive folder, in Colab and in Kaggle (stubs; a repository on this disk for GitHub)."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import address

ROOT = Path(__file__).resolve().parents[2]
GITHUB = f"https://github.com/{address.owner_and_name()}"
HOSTS = {
    "Colab": "import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')",
    "Kaggle": "import os; os.environ['KAGGLE_KERNEL_RUN_TYPE'] = 'Interactive'",
}
every_host = pytest.mark.parametrize("host", HOSTS)


def first_cell(name: str = "notebooks/01_optimization.ipynb") -> str:
    return next(cell.source for cell in nbformat.read(ROOT / name, as_version=4).cells if cell.cell_type == "code")


def run(command: list[str], folder: Path, home: Path) -> subprocess.CompletedProcess:
    """Run a command that sees git's settings in home, and none of the user's or of a git hook that runs these tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "KAGGLE_"))}
    environment = kept | {
        "LC_ALL": "C",  # git's messages are translated
        "PYTHONUTF8": "1",
        "PYTHONPATH": "",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CEILING_DIRECTORIES": str(home.parent),
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=60)


def run_first_cell(folder: Path, home: Path, setup: str = "") -> subprocess.CompletedProcess:
    """Execute the first cell in a folder, then print the folder of modules that it found."""
    return run([sys.executable, "-c", f"{setup}\n{first_cell()}\nprint(sys.path[0])"], folder, home)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder whose Drive holds a copy of the repository; git clones it when asked for the one on GitHub."""
    home = tmp_path_factory.mktemp("home")
    copy = home / "My Drive" / "Übung zwei"
    parts = "*.py", "notebooks/*.ipynb", "exercises/**/*.*", "theory/*.*"
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


def test_in_a_drive_folder_with_a_difficult_name(home):
    root = home / "My Drive" / "Übung zwei"
    for folder in root, root / "notebooks":
        done = run_first_cell(folder, home)
        assert Path(done.stdout.strip()) == root, done.stderr


def test_elsewhere_it_says_what_to_do(home, tmp_path):
    done = run_first_cell(tmp_path, home)
    assert "FileNotFoundError" in done.stderr and f"open this notebook inside a clone of {GITHUB}" in done.stderr


def test_an_exercise_in_colab_finds_its_checker(home, tmp_path):
    cell = first_cell("exercises/theory.ipynb")
    code = f"{HOSTS['Colab']}\n{cell}\nimport checker; checker.check('', 'ce-psd')"
    done = run([sys.executable, "-c", code], tmp_path, home)
    assert done.stdout.strip() == "… ce-psd: not written yet", done.stderr


@every_host
@pytest.mark.parametrize("left", ["nothing", "an empty folder", "the user's folder", "half a clone", "a whole clone"])
def test_it_clones_what_is_not_there_and_loses_nothing(host, left, home, tmp_path):
    clone, mine = tmp_path / "deep_learning_hw2", "what a student has written"
    if left == "a whole clone":
        run_first_cell(tmp_path, home, HOSTS[host])
    elif left != "nothing":
        clone.mkdir()
    if left == "half a clone":
        (clone / ".git").mkdir()
        (clone / ".git" / "index.lock").write_text("")
    if clone.exists() and left != "an empty folder":
        (clone / "mine.txt").write_text(mine)
    done = run_first_cell(tmp_path, home, HOSTS[host])
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]) == clone and (clone / "sweeps.py").read_bytes()
    kept = [path.read_text() for path in tmp_path.rglob("mine.txt")]
    assert kept == ([] if left in ("nothing", "an empty folder") else [mine])
    assert ("set aside" in done.stdout) == (left not in ("nothing", "a whole clone"))


@every_host
def test_without_a_network_it_says_what_to_do(host, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text('[url "http://127.0.0.1:9/"]\n insteadOf = https://github.com/\n')
    done = run_first_cell(tmp_path, home, HOSTS[host])
    assert f"git clone {GITHUB} brought no sweeps.py" in done.stderr
    assert "unable to access" in done.stderr and "In Kaggle, turn on Internet" in done.stderr


def test_with_the_wrong_address_it_says_so(home, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for command in ["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "another repository"]:
        assert run(["git", *command], other, home).returncode == 0
    cell = first_cell().replace(GITHUB, other.as_uri())
    done = run([sys.executable, "-c", f"{HOSTS['Colab']}\n{cell}"], tmp_path, home)
    assert "brought no sweeps.py" in done.stderr and "Is REPOSITORY the right address?" in done.stderr
