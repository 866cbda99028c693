"""Independent runs, such as those of a sweep over seeds, side by side: on all cores, or on a cluster."""

import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

import torch
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend
from numpy import ndarray
from torch.utils.data import TensorDataset
from tqdm import tqdm

Name = TypeVar("Name", bound=Hashable)
Datasets = tuple[TensorDataset, TensorDataset]
ROOT = Path(__file__).resolve().parent

_alone = threading.Lock()  # in each process


def side_by_side(jobs: dict[Name, Callable], datasets: Datasets | None = None) -> dict[Name, Any]:
    """Run the jobs and return {name: job()} in their order, with a progress bar.

    A job is a function, such as a functools.partial, that seeds itself with a seed it was given; its results must not
    depend on what ran before it. Each runs alone in a process, on one thread, so that the numbers are the same on any
    number of workers. datasets, (train, test), goes to the workers once, not with every job, and to each job as the
    keyword argument ``datasets``.

    The workers are joblib's: the processes of this machine, or inside ``with joblib.parallel_config(backend="dask")``
    those of a dask cluster, which get the repository's modules, too.

    Raises RuntimeError if a second job starts in a process, as it would draw from the random numbers of the first:
    with joblib's threads, and in dask workers of several threads.
    """
    _send_modules(get_active_backend()[0])
    arrays = [] if datasets is None else [tensor.numpy() for dataset in datasets for tensor in dataset.tensors]
    # Arrays, which joblib maps into the memory of its processes ("c": a worker's changes stay its own), and dask
    # scatters; tensors would be copied for each job.
    results = Parallel(n_jobs=-1, return_as="generator", mmap_mode="c")(
        delayed(_run)(job, *arrays) for job in jobs.values()
    )
    return dict(zip(jobs, tqdm(results, total=len(jobs)), strict=True))


def _run(job: Callable, *arrays: ndarray) -> Any:
    """job(), or job(datasets=...), alone in its process and on one thread."""
    if not _alone.acquire(blocking=False):
        raise RuntimeError(
            "two jobs in one process would share its random numbers; use joblib's processes (its default), or dask "
            "workers of one thread each: Client(threads_per_worker=1), or dask worker --nthreads 1"
        )
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        if not arrays:
            return job()
        X, Y, X_test, Y_test = map(torch.from_numpy, arrays)
        return job(datasets=(TensorDataset(X, Y), TensorDataset(X_test, Y_test)))
    finally:
        torch.set_num_threads(threads)
        _alone.release()


def _send_modules(backend: Any) -> None:
    """The modules of this folder, to the workers that a dask cluster has or will have: they may stand elsewhere."""
    if client := getattr(backend, "client", None):
        for path in sorted(ROOT.glob("*.py")):
            client.upload_file(str(path), load=False)
