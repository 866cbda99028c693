"""Runs side by side: the same numbers on every backend, each alone in its process; on a dask cluster, too."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import joblib
import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from torch import nn
from torch.utils.data import TensorDataset

import sweeps
from data_utils import BatchLoader
from layers import DropoutLayer, FCLayer, ReLULayer
from losses import CrossEntropyLoss
from optim import SGD
from sweeps import side_by_side
from train_utils import set_seed, train

ROOT = Path(__file__).resolve().parents[1]
BACKENDS = [pytest.param("loky", marks=pytest.mark.proof), "sequential"]  # starting processes takes seconds


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
    return model.history, outputs, np.random.rand(), torch.get_num_threads()


JOBS = {f"seed {seed}": partial(trained, seed) for seed in range(6)}


def same(results: dict, expected: dict) -> None:
    assert list(results) == list(expected)
    for name, (history, outputs, *numbers) in expected.items():
        assert results[name][0] == history and results[name][2:] == tuple(numbers)
        assert torch.equal(results[name][1], outputs), name


@pytest.fixture(scope="module")
def expected():
    """One after the other, in this process."""
    threads = torch.get_num_threads()
    with joblib.parallel_config(backend="sequential"):
        results = side_by_side(JOBS, DATASETS)
    assert torch.get_num_threads() == threads and {result[-1] for result in results.values()} == {1}
    return results


@sent
def process(datasets=None):
    time.sleep(0.2)
    return os.getpid()


@pytest.mark.proof
@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_processes_give_the_same_numbers(n_jobs, expected):
    with joblib.parallel_config(backend="loky", n_jobs=n_jobs):
        same(side_by_side(JOBS, DATASETS), expected)
        assert len(set(side_by_side({seed: process for seed in range(2 * n_jobs)}).values())) == n_jobs


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_datasets_and_without_jobs(backend):
    with joblib.parallel_config(backend=backend):
        assert side_by_side({"b": partial(max, 1, 2), "a": partial(min, 1, 2)}) == {"b": 2, "a": 1}
        assert side_by_side({}) == {}


@sent
def change(datasets):
    seen = float(max(tensor.max() for dataset in datasets for tensor in dataset.tensors))
    for dataset in datasets:
        for tensor in dataset.tensors:
            tensor.fill_(7)
    return seen


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_job_that_changes_its_data_changes_them_for_nobody_else(backend):
    with joblib.parallel_config(backend=backend):
        assert set(side_by_side({seed: change for seed in range(6)}, DATASETS).values()) == {1.0}
    assert DATASETS[0].tensors[0].max() <= 1


def test_threads_are_refused():
    with joblib.parallel_config(backend="threading", n_jobs=2), pytest.raises(RuntimeError, match="two jobs in one"):
        side_by_side({seed: process for seed in range(4)})
    with sweeps._alone:  # as soon as the first job has ended
        pass
    with joblib.parallel_config(backend="sequential"):
        assert side_by_side({"after": partial(max, 1, 2)}) == {"after": 2}


@pytest.mark.proof
def test_a_worker_with_other_modules_is_refused(monkeypatch):
    """The caller's modules as if they had been changed since the workers imported theirs."""
    with joblib.parallel_config(backend="loky", n_jobs=2):
        monkeypatch.setattr(sweeps, "DIGEST", "another")
        with pytest.raises(RuntimeError, match="restart the kernel"):
            side_by_side({"one": partial(max, 1, 2), "two": partial(max, 1, 2)})


@sent
def fail(datasets=None):
    raise ZeroDivisionError("in a job")


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_error_in_a_job_is_raised_and_the_next_sweep_runs(backend):
    with joblib.parallel_config(backend=backend):
        with pytest.raises(ZeroDivisionError, match="in a job"):
            side_by_side({"fails": fail}, DATASETS)
        assert side_by_side({"after": partial(max, 1, 2)}) == {"after": 2}


# ------------------------------------------------------------------------------------------------------ on a cluster

CLUSTER = """
from dask.distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        input()
"""


@pytest.fixture
def distributed():
    return pytest.importorskip("distributed", reason="needs dask: python -m pip install distributed")


@contextlib.contextmanager
def cluster_in(folder: Path):
    """The address of a dask cluster of two workers, started in a folder from which the modules cannot be imported."""
    script = folder / "cluster.py"
    script.write_text(CLUSTER, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        [sys.executable, script], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as cluster:
        try:
            address = cluster.stdout.readline().strip()
            assert address, "the cluster did not start"
            yield address
        finally:
            cluster.communicate("\n", timeout=60)


@sent
def where(datasets):
    """The process, how many arrays of how many bytes its dask worker keeps, and where its modules are."""
    from distributed import get_worker

    import layers

    time.sleep(0.1)
    stored = [value for value in get_worker().data.values() if isinstance(value, np.ndarray)]
    return os.getpid(), len(stored), sum(array.nbytes for array in stored), layers.__file__


@pytest.mark.proof
def test_a_cluster_gives_the_same_numbers(distributed, expected, tmp_path):
    with (
        cluster_in(tmp_path) as address,
        distributed.Client(address) as client,
        joblib.parallel_config(backend="dask"),
    ):
        with pytest.raises(ModuleNotFoundError, match="No module named 'sweeps'"):
            client.submit(lambda: __import__("sweeps")).result()
        same(side_by_side(JOBS, DATASETS), expected)
        places = side_by_side({seed: where for seed in range(20)}, DATASETS)
        size = sum(tensor.nbytes for dataset in DATASETS for tensor in dataset.tensors)
        assert {place[1:3] for place in places.values()} == {(4, size)}, "each array once in a worker"
        assert len({place[0] for place in places.values()}) == 2
        assert set(side_by_side({seed: change for seed in range(6)}, DATASETS).values()) == {1.0}
        assert not any(Path(place[3]).is_relative_to(ROOT) for place in places.values())


@pytest.mark.proof
@pytest.mark.parametrize(
    "workers", [dict(n_workers=1, threads_per_worker=2), dict(n_workers=2, processes=False)], ids=str
)
def test_workers_that_share_random_numbers_are_refused(distributed, workers):
    with (
        distributed.Client(dashboard_address=None, **workers),
        joblib.parallel_config(backend="dask"),
        pytest.raises(RuntimeError, match="dask worker --nthreads 1"),
    ):
        side_by_side({seed: process for seed in range(8)})
    with sweeps._alone:  # if it was this process: as soon as the first job has ended
        pass


def outputs(path: Path, first: str) -> list[str]:
    """What each cell of a notebook prints and displays, without pictures and progress bars; first is a line put in."""
    notebook = nbformat.read(path, as_version=4)
    next(cell for cell in notebook.cells if "sys.path.insert" in cell.source).source += f"\n{first}"
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    cells = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(map(text, shown)) for shown in cells]


def text(output: nbformat.NotebookNode) -> str:
    if output.get("name") == "stderr":
        return ""
    texts = output.get("text", ""), *(output.get("data", {}).get(f"text/{kind}", "") for kind in ("plain", "html"))
    return re.sub(r"T_[0-9a-f]+|0x[0-9a-f]+|base64,[^\"]*", "", "".join(texts))  # what is new in each run


@pytest.mark.proof
@pytest.mark.parametrize("name", ["02_mnist_mlp", "03_losses_and_regularization"])
def test_a_notebook_runs_on_a_cluster_unchanged(name, distributed, tmp_path, monkeypatch):
    """With one line more, and the same numbers to the last digit shown."""
    monkeypatch.setenv("MNIST", "5k")
    path = ROOT / "notebooks" / f"{name}.ipynb"
    with cluster_in(tmp_path) as address:
        line = "import joblib, distributed; client = distributed.Client({!r}); joblib.parallel_config(backend='dask');"
        found = outputs(path, line.format(address))
        with distributed.Client(address) as client:
            used = client.run(lambda: "sweeps" in __import__("sys").modules)
        assert len(used) == 2 and all(used.values()), "the jobs did not run on the cluster"
    assert found == outputs(path, "")
