"""Runs side by side in this process: on one thread, with data of their own (in others: proofs/test_workers.py)."""

import os
import time
from collections.abc import Callable
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import sweeps
from data_utils import BatchLoader
from layers import DropoutLayer, FCLayer, ReLULayer
from losses import CrossEntropyLoss
from optim import SGD
from sweeps import side_by_side
from train_utils import set_seed, train


def sent(job: Callable) -> Callable:
    """A job that goes to the workers as it is, like one defined in a notebook; they need not have this file."""
    job.__module__ = "__main__"
    return job


def digits(n: int, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(
        torch.rand(n, 784, generator=generator), torch.eye(10)[torch.randint(10, (n,), generator=generator)]
    )


DATASETS = digits(400), digits(100, seed=1)


@sent
def trained(seed, datasets):
    """A training that draws from torch's random numbers at every step; and NumPy's next number."""
    set_seed(seed)
    model = nn.Sequential(FCLayer(784, 32), ReLULayer(), DropoutLayer(0.5), FCLayer(32, 10))
    batches = BatchLoader(datasets[0], 32, shuffle=True)
    train(model, CrossEntropyLoss(), SGD(model.parameters(), 0.1), batches, 2, "cpu", verbose=False)
    outputs = model.eval()(datasets[1].tensors[0]).detach()
    return model.history, outputs.tolist(), np.random.rand(), torch.get_num_threads()


@sent
def process(datasets=None):
    time.sleep(0.2)
    return os.getpid()


@sent
def change(datasets):
    seen = float(max(tensor.max() for dataset in datasets for tensor in dataset.tensors))
    for dataset in datasets:
        for tensor in dataset.tensors:
            tensor.fill_(7)
    return seen


@sent
def fail(datasets=None):
    raise ZeroDivisionError("in a job")


TRAININGS = {f"seed {seed}": partial(trained, seed) for seed in range(6)}
CHANGES = dict.fromkeys(range(6), change)


@pytest.fixture
def in_this_process():
    with joblib.parallel_config(backend="sequential"):
        yield


def test_each_job_runs_on_one_thread(in_this_process):
    threads = torch.get_num_threads()
    results = side_by_side(TRAININGS, DATASETS)
    assert list(results) == list(TRAININGS) and {result[-1] for result in results.values()} == {1}
    assert torch.get_num_threads() == threads


def test_without_datasets_and_without_jobs(in_this_process):
    assert side_by_side({"b": partial(max, 1, 2), "a": partial(min, 1, 2)}) == {"b": 2, "a": 1}
    assert side_by_side({}) == {}


def test_a_job_that_changes_its_data_changes_them_for_nobody_else(in_this_process):
    assert set(side_by_side(CHANGES, DATASETS).values()) == {1.0}
    assert DATASETS[0].tensors[0].max() <= 1


def test_an_error_in_a_job_is_raised_and_the_next_sweep_runs(in_this_process):
    with pytest.raises(ZeroDivisionError, match="in a job"):
        side_by_side({"fails": fail}, DATASETS)
    assert side_by_side({"after": partial(max, 1, 2)}) == {"after": 2}


def test_threads_are_refused():
    with joblib.parallel_config(backend="threading", n_jobs=2), pytest.raises(RuntimeError, match="two jobs in one"):
        side_by_side(dict.fromkeys(range(4), process))
    with sweeps._alone:  # as soon as the first job has ended
        pass
