"""The test run does not depend on the user's environment, or refuses to run in it."""

import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

import conftest

ROOT = Path(__file__).resolve().parents[2]

NOTEBOOK = """import os, warnings
import matplotlib.pyplot as plt
warnings.warn("not an error")
assert "inline" in plt.get_backend() and plt.rcParams["figure.dpi"] == 100
assert not {"PYTHONSTARTUP", "PYTHONWARNINGS"} & set(os.environ)"""


@pytest.fixture
def folder(tmp_path):
    """A copy of the settings of the test run, and a notebook that checks them."""
    for name in "conftest.py", "pyproject.toml":
        shutil.copyfile(ROOT / name, tmp_path / name)
    cell = nbformat.v4.new_code_cell(NOTEBOOK, metadata={"tags": ["nbval-ignore-output"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "one.ipynb")
    return tmp_path


def run(folder: Path, python: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "one.ipynb"]
    settings = os.environ | environment
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=120)


def test_the_users_settings_are_set_aside(folder, tmp_path_factory):
    user = tmp_path_factory.mktemp("user")
    startup = user / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "first.py").write_text("raise SystemExit('the user starts otherwise')", encoding="utf-8")
    (user / "startup.py").write_text("raise SystemExit", encoding="utf-8")
    (user / "matplotlibrc").write_text("figure.dpi: 33", encoding="utf-8")
    done = run(
        folder,
        MPLBACKEND="Agg",
        IPYTHONDIR=str(user),
        PYTHONSTARTUP=str(user / "startup.py"),
        PYTHONWARNINGS="error::UserWarning",
        MATPLOTLIBRC=str(user / "matplotlibrc"),
        LC_ALL="C",
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("python", "environment"), [(("-O",), {}), ((), {"PYTHONOPTIMIZE": "1"})], ids=["-O", "PYTHONOPTIMIZE"]
)
def test_checks_that_would_not_run_are_refused(folder, python, environment):
    done = run(folder, python, **environment)
    assert done.returncode == 4 and "removes every assert" in done.stderr


@pytest.mark.parametrize(
    ("nbval", "dist", "refused"),
    [(True, "load", True), (True, "loadfile", False), (True, "no", False), (False, "load", False)],
)
def test_cells_are_not_distributed(nbval, dist, refused):
    """As pytest-xdist sets the option: it is not installed here."""
    config = SimpleNamespace(option=SimpleNamespace(nbval=nbval, dist=dist))
    with pytest.raises(pytest.UsageError, match="dist loadfile") if refused else nullcontext():
        conftest.pytest_configure(config)
