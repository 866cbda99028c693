"""README against the repository: results, pictures, links, address; the notebooks' first cell on every kind of
machine."""

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

import address

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PERSIAN = (ROOT / "README.fa.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXERCISES = sorted((ROOT / "exercises").glob("*.ipynb"))
HEAD = "Do", "Learn", "Need"
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def html_outputs(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    return [output.get("data", {}).get("text/html", "") for cell in cells for output in cell.get("outputs", [])]


def first_cell(path: Path) -> str:
    return next(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")


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


def test_the_number_of_cells_whose_output_is_not_compared():
    cells = [cell for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    tagged = [cell for cell in cells if cell.metadata.get("tags")]
    assert f"({len(tagged)} of {len(cells)} code cells" in " ".join(README.split())


@pytest.mark.parametrize(("picture", "number"), [("paths.gif", 0), ("boundaries.gif", 2)])
def test_the_pictures_are_those_stored_in_the_notebooks(picture, number):
    (stored,) = re.findall(r'src="data:image/gif;base64,([^"]+)"', "".join(html_outputs(NOTEBOOKS[number])))
    assert (ROOT / "images" / picture).read_bytes() == base64.b64decode(stored), "images/README.md says how to renew it"
    assert f"images/{picture}" in README


@pytest.mark.parametrize("text", [README, PERSIAN], ids=["English", "Persian"])
def test_links_lead_to_files(text):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text) + re.findall(r'src="(?!https?:)([^"]+)"', text)
    assert len(links) >= 6
    for link in links:
        assert (ROOT / link).exists(), link
    assert {path.relative_to(ROOT).as_posix() for path in [*NOTEBOOKS, *EXERCISES]} < set(links)


def test_badges_open_every_notebook():
    main = f"{address.owner_and_name()}/blob/main"
    colab, kaggle = "colab.research.google.com/github", "kaggle.com/kernels/welcome?src=https://github.com"
    for path in [*NOTEBOOKS, *EXERCISES]:
        name = path.relative_to(ROOT).as_posix()
        hosts = colab, kaggle, *(["nbviewer.org/github"] if path in NOTEBOOKS else [])  # an exercise is not to be read
        head = nbformat.read(path, as_version=4).cells[0].source
        for link in (f"(https://{host}/{main}/{name})" for host in hosts):
            assert link in README and link in head, link
        assert all(f"* **{word}:** " in head + nbformat.read(path, as_version=4).cells[1].source for word in HEAD), name


def test_the_persian_page_has_the_same_commands():
    commands = re.findall(r"^    (python -m .*)$", README, re.M)
    assert len(commands) == 2 and all(f"\n{command}\n" in PERSIAN for command in commands)
    (light,) = re.findall(r"python -m pip install torch[^`\n]*", README.split("## ")[0])
    assert f"\n{light}\n" in PERSIAN


# ------------------------------------------------------------------------------------------------- the address


def test_the_address_is_the_same_everywhere():
    assert address.others() == [], "python tests/address.py ADDRESS writes one address everywhere"
    first_cells = {first_cell(path) for path in NOTEBOOKS}
    assert len(first_cells) == 1 and f'"https://github.com/{address.owner_and_name()}"' in first_cells.pop()


def test_a_fork_changes_the_address_with_one_command(tmp_path):
    for path in address.files(ROOT):
        copied = tmp_path / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied)
    old = address.owner_and_name()
    assert len(address.move("https://github.com/some-one/a.b_c.git", tmp_path)) >= 6
    assert address.owner_and_name(tmp_path) == "some-one/a.b_c" and address.others(tmp_path) == []
    assert not [path for path in address.files(tmp_path) if old in path.read_text(encoding="utf-8")]
    (tmp_path / "notebooks" / NOTEBOOKS[0].name).write_bytes(NOTEBOOKS[0].read_bytes())
    assert address.others(tmp_path) == [f"notebooks/{NOTEBOOKS[0].name}: {old}"]
    (tmp_path / "notebooks" / NOTEBOOKS[0].name).write_text("", encoding="utf-8")
    address.move(f"https://github.com/{old}", tmp_path)
    shutil.copy(NOTEBOOKS[0], tmp_path / "notebooks")
    assert all((tmp_path / p.relative_to(ROOT)).read_bytes() == p.read_bytes() for p in address.files(ROOT))


@pytest.mark.parametrize(
    "bad", ["", "you/yours", "https://github.com/you/", "https://gitlab.com/you/yours", "https://github.com/you"]
)
def test_no_address(bad):
    with pytest.raises(ValueError, match="expected an address such as"):
        address.move(bad)


# ------------------------------------------------------------------------------------ the first cell, everywhere


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


def run_first_cell(path: Path, folder: Path, home: Path, setup: str = "") -> subprocess.CompletedProcess:
    """Execute a notebook's first cell in a folder, then print the folder of modules that it found."""
    return run([sys.executable, "-c", f"{setup}\n{first_cell(path)}\nprint(sys.path[0])"], folder, home)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder whose Drive holds a copy of the repository, in a folder with a difficult name; git clones it when
    it is asked for the one on GitHub."""
    home = tmp_path_factory.mktemp("home")
    copy = home / "My Drive" / "Übung zwei"
    for part in "notebooks", "data", "exercises", "theory":
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("MNIST", ".ipynb_checkpoints"))
    for file in ROOT.glob("*.py"):
        shutil.copy(file, copy)
    (address,) = {a for path in NOTEBOOKS for a in re.findall(r'REPOSITORY = \\?"([^"\\]+)', path.read_text("utf-8"))}
    (home / ".gitconfig").write_text(
        f'[user]\n name = x\n email = x@example.org\n[url "{copy.as_uri()}"]\n insteadOf = {address}\n'
    )
    for command in ["init", "-q"], ["add", "."], ["commit", "-q", "-m", "copy"]:
        done = run(["git", *command], copy, home)
        assert done.returncode == 0, done.stderr
    return home


@every_notebook
def test_first_cell_in_the_notebooks_folder_the_root_and_a_drive_folder(path, home):
    for root in ROOT, home / "My Drive" / "Übung zwei":
        for folder in root, root / "notebooks":
            done = run_first_cell(path, folder, home)
            assert done.returncode == 0, done.stderr
            assert Path(done.stdout.strip()) == root


@every_notebook
def test_first_cell_elsewhere_says_what_to_do(path, home, tmp_path):
    done = run_first_cell(path, tmp_path, home)
    assert "FileNotFoundError" in done.stderr and "open this notebook inside a clone of https://" in done.stderr


HOSTS = {
    "Colab": "import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')",
    "Kaggle": "import os; os.environ['KAGGLE_KERNEL_RUN_TYPE'] = 'Interactive'",
}
every_host = pytest.mark.parametrize("host", HOSTS)  # stubs, with a repository on this disk in place of GitHub


@pytest.mark.proof
def test_an_exercise_in_colab_finds_its_checker(home, tmp_path):
    cell = first_cell(ROOT / "exercises" / "theory.ipynb")
    code = f"{HOSTS['Colab']}\n{cell}\nimport checker; checker.check('', 'ce-psd')"
    done = run([sys.executable, "-c", code], tmp_path, home)
    assert done.stdout.strip() == "… ce-psd: not written yet", done.stderr


LEFT = "nothing", "an empty folder", "a folder of the user's", "a whole clone"


@every_host
@pytest.mark.parametrize("left", ["half a clone", *(pytest.param(left, marks=pytest.mark.proof) for left in LEFT)])
def test_first_cell_clones_what_is_not_there_and_loses_nothing(host, left, home, tmp_path):
    clone, mine = tmp_path / "deep_learning_hw2", "what a student has written"
    if left == "a whole clone":
        run_first_cell(NOTEBOOKS[0], tmp_path, home, HOSTS[host])
    elif left != "nothing":
        clone.mkdir()
    if left == "half a clone":
        (clone / ".git").mkdir()
        (clone / ".git" / "index.lock").write_text("")
    if clone.exists() and left != "an empty folder":
        (clone / "mine.txt").write_text(mine)
    done = run_first_cell(NOTEBOOKS[0], tmp_path, home, HOSTS[host])
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]) == clone and (clone / "sweeps.py").read_bytes()
    assert [path.read_text() for path in tmp_path.rglob("mine.txt")] == [mine] * (
        left not in ("nothing", "an empty folder")
    )
    assert ("set aside" in done.stdout) == (left not in ("nothing", "a whole clone"))


@every_host
def test_first_cell_without_a_network_says_what_to_do(host, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text('[url "http://127.0.0.1:9/"]\n insteadOf = https://github.com/\n')
    done = run_first_cell(NOTEBOOKS[0], tmp_path, home, HOSTS[host])
    assert f"git clone https://github.com/{address.owner_and_name()} brought no sweeps.py" in done.stderr
    assert "unable to access" in done.stderr and "In Kaggle, turn on Internet" in done.stderr


def test_first_cell_with_the_wrong_address_says_so(home, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for command in ["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "another repository"]:
        assert run(["git", *command], other, home).returncode == 0
    setup = HOSTS["Colab"]
    cell = first_cell(NOTEBOOKS[0]).replace(f"https://github.com/{address.owner_and_name()}", other.as_uri())
    done = run([sys.executable, "-c", f"{setup}\n{cell}"], tmp_path, home)
    assert "brought no sweeps.py" in done.stderr and "Is REPOSITORY the right address?" in done.stderr


def test_the_names_of_the_tests_are_the_same_in_every_process(request):
    """pytest-xdist's workers, of which tests/README.md speaks, compare them."""
    assert [item.nodeid for item in request.session.items if " at 0x" in item.nodeid] == []
