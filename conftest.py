"""What a test run must not depend on: the user's environment is set aside, for the kernels of the notebooks, too.

Tests run on 5,000 MNIST digits unless the environment says otherwise; as the root conftest, this file also puts the
folder of the modules on the path of the tests.
"""

import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

os.environ.setdefault("MNIST", "5k")

# A backend without pictures, warnings as errors, code that runs before a notebook's: all from the user's environment.
for name in "MPLBACKEND", "PYTHONWARNINGS", "PYTHONSTARTUP", "JUPYTER_PATH", "JUPYTER_CONFIG_PATH":
    os.environ.pop(name, None)
# Profiles, kernels and settings from the user's home, which may not exist or be read-only.
folder = tempfile.TemporaryDirectory()
for name in "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR":
    os.environ[name] = folder.name
os.environ["MATPLOTLIBRC"] = str(Path(find_spec("matplotlib").origin).parent / "mpl-data" / "matplotlibrc")
try:
    writable = os.access(Path.home(), os.W_OK)
except RuntimeError:  # no HOME and no entry in the list of users
    writable = False
if not writable:
    os.environ["MPLCONFIGDIR"] = folder.name


def pytest_configure(config: pytest.Config) -> None:
    if sys.flags.optimize:
        raise pytest.UsageError("PYTHONOPTIMIZE or -O removes every assert, and with it every check: run without it")
    if getattr(config.option, "nbval", False) and getattr(config.option, "dist", "no") not in ("no", "loadfile"):
        raise pytest.UsageError(
            "the cells of a notebook need each other: run --nbval without -n, or with --dist loadfile"
        )
