"""Tests run on 5,000 MNIST digits unless the environment says otherwise; as the root conftest, this file also puts
the folder of layers.py, optim.py and train_utils.py on the path of the tests."""

import os

os.environ.setdefault("MNIST", "5k")
