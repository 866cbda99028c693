"""Runs side by side on this machine's processes and on a dask cluster: the same numbers, each run alone in its process;
whole studies on a cluster, too."""

import contextlib
import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import joblib
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import sweeps
from sweeps import side_by_side
from test_sweeps import CHANGES, DATASETS, TRAININGS, fail, process, sent

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def expected():
    """One after the other, in this process."""
    with joblib.parallel_config(backend="sequential"):
        return side_by_side(TRAININGS, DATASETS)


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_processes_give_the_same_numbers(n_jobs, expected):
    with joblib.parallel_config(backend="loky", n_jobs=n_jobs):
        assert side_by_side(TRAININGS, DATASETS) == expected
        assert len(set(side_by_side(dict.fromkeys(range(2 * n_jobs), process)).values())) == n_jobs
        assert set(side_by_side(CHANGES, DATASETS).values()) == {1.0}
        assert side_by_side({}) == {}
        with pytest.raises(ZeroDivisionError, match="in a job"):
            side_by_side({"fails": fail}, DATASETS)
        assert side_by_side({"after": partial(max, 1, 2)}) == {"after": 2}


def test_a_worker_with_other_modules_is_refused(monkeypatch):
    """The caller's modules as if they had been changed since the workers imported theirs."""
    with joblib.parallel_config(backend="loky", n_jobs=2):
        monkeypatch.setattr(sweeps, "DIGEST", "another")
        with pytest.raises(RuntimeError, match="restart the kernel"):
            side_by_side({"one": partial(max, 1, 2), "two": partial(max, 1, 2)})


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


def test_a_cluster_gives_the_same_numbers(distributed, expected, tmp_path):
    with (
        cluster_in(tmp_path) as address,
        distributed.Client(address) as client,
        joblib.parallel_config(backend="dask"),
    ):
        with pytest.raises(ModuleNotFoundError, match="No module named 'sweeps'"):
            client.submit(lambda: __import__("sweeps")).result()
        assert side_by_side(TRAININGS, DATASETS) == expected
        places = side_by_side(dict.fromkeys(range(20), where), DATASETS).values()
        processes, arrays, sizes, files = zip(*places, strict=True)
        assert set(arrays) == {4}, "each array once in a worker"
        assert set(sizes) == {sum(tensor.nbytes for dataset in DATASETS for tensor in dataset.tensors)}
        assert len(set(processes)) == 2 and not any(Path(file).is_relative_to(ROOT) for file in files)
        assert set(side_by_side(CHANGES, DATASETS).values()) == {1.0}


@pytest.mark.parametrize(
    "workers", [dict(n_workers=1, threads_per_worker=2), dict(n_workers=2, processes=False)], ids=str
)
def test_workers_that_share_random_numbers_are_refused(distributed, workers):
    with (
        distributed.Client(dashboard_address=None, **workers),
        joblib.parallel_config(backend="dask"),
        pytest.raises(RuntimeError, match="dask worker --nthreads 1"),
    ):
        side_by_side(dict.fromkeys(range(8), process))
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


def test_a_study_runs_on_a_cluster_unchanged(distributed, tmp_path, monkeypatch):
    """With one line more, and the same numbers to the last digit shown."""
    monkeypatch.setenv("MNIST", "5k")
    path = ROOT / "studies" / "batch_normalisation.ipynb"
    with cluster_in(tmp_path) as address:
        line = "import joblib, distributed; client = distributed.Client({!r}); joblib.parallel_config(backend='dask');"
        found = outputs(path, line.format(address))
        with distributed.Client(address) as client:
            used = client.run(lambda: "sweeps" in __import__("sys").modules)
        assert len(used) == 2 and all(used.values()), "the jobs did not run on the cluster"
    assert found == outputs(path, "")
