"""Tests run on 5,000 MNIST digits unless the environment says otherwise; as the root conftest, this file also puts
the folder of layers.py, optim.py and train_utils.py on the path of the tests."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("MNIST", "5k")

if not os.access(Path.home(), os.W_OK):  # IPython and Matplotlib would warn of it in every notebook
    folder = tempfile.TemporaryDirectory()
    for name in "IPYTHONDIR", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR":
        os.environ.setdefault(name, folder.name)
