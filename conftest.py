"""What a test run must not depend on: the user's environment is set aside, for kernels, too.

Tests run on 5,000 MNIST digits unless the environment says otherwise. That this file lies here
puts the folder of the modules on the path of the tests.
"""

import atexit
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

os.environ.setdefault("MNIST", "5k")

# A backend without pictures, warnings as errors, code that runs before a notebook's.
for name in "MPLBACKEND", "PYTHONWARNINGS", "PYTHONSTARTUP":
    os.environ.pop(name, None)
# Profiles, kernels and settings from elsewhere, or from the user's home, which may not exist.
folder = tempfile.TemporaryDirectory()
atexit.register(folder.cleanup)
for name in "JUPYTER_PATH", "JUPYTER_CONFIG_PATH":
    os.environ.pop(name, None)
for name in "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR":
    os.environ[name] = folder.name
matplotlib = Path(find_spec("matplotlib").origin).parent
os.environ["MATPLOTLIBRC"] = str(matplotlib / "mpl-data" / "matplotlibrc")
if not os.access(os.path.expanduser("~"), os.W_OK):
    os.environ["MPLCONFIGDIR"] = folder.name


def pytest_configure(config: pytest.Config) -> None:
    if sys.flags.optimize:
        raise pytest.UsageError("PYTHONOPTIMIZE or -O removes every assert: run without it")
    nbval, dist = (getattr(config.option, name, None) for name in ("nbval", "dist"))
    if nbval and dist not in (None, "no", "loadfile"):
        raise pytest.UsageError("cells need each other: no -n with --nbval, or --dist loadfile")
