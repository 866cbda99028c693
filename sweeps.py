"""Independent runs, such as those of a sweep over seeds, side by side: on all cores, or on a
cluster."""

import hashlib
import threading
import weakref
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend
from torch.utils.data import TensorDataset
from tqdm import tqdm

Name = TypeVar("Name", bound=Hashable)
Datasets = tuple[TensorDataset, TensorDataset]

MODULES = sorted(
    path for path in Path(__file__).resolve().parent.glob("*.py") if path.name != "conftest.py"
)
DIGEST = hashlib.sha256(
    b"".join(path.read_bytes() for path in MODULES)
).hexdigest()  # as they were when imported

_alone = threading.Lock()  # held by the job that runs in this process
_informed = weakref.WeakSet()  # the clients of clusters that have the modules


def side_by_side(
    jobs: dict[Name, Callable], datasets: Datasets | None = None
) -> dict[Name, Any]:
    """Run the jobs and return {name: job()} in their order, with a progress bar.

    A job is a function, such as a functools.partial, that seeds torch's or NumPy's generator
    with a seed it was given and draws from that alone (dask's own threads draw from Python's).
    Each runs on one thread, and no two at a time in a process, so the numbers are the same on
    any number of workers. datasets, (train, test), is given to each job as the keyword argument
    ``datasets``; large arrays go to each worker once a sweep, not with every job.

    The workers are joblib's: processes of this machine, as many as it has cores (a single one
    is the caller's own process, whose random generators the jobs then reseed), or as
    ``joblib.parallel_config`` says. With backend="dask" they are those of a dask cluster, which
    get the repository's modules; the packages of requirements.txt must be there, on the
    scheduler, too.

    Raises RuntimeError if two jobs meet in a process, as they would share its random numbers
    (joblib's threads, dask workers of several threads), and if a worker has imported other
    modules than the caller.
    """
    backend, n_jobs = get_active_backend()
    _send_modules(backend)
    arrays = (
        []
        if datasets is None
        else [tensor.numpy() for dataset in datasets for tensor in dataset.tensors]
    )
    # joblib maps arrays into the memory of its processes ("c": what a job changes stays its
    # own), and dask scatters them; tensors would be copied for each job.
    parallel = Parallel(
        n_jobs=-1 if n_jobs is None else n_jobs, return_as="generator", mmap_mode="c"
    )
    results = parallel(delayed(_run)(DIGEST, job, *arrays) for job in jobs.values())
    return dict(zip(jobs, tqdm(results, total=len(jobs)), strict=True))


def _run(digest: str, job: Callable, *arrays: np.ndarray) -> Any:
    """job(), or job(datasets=...), in a worker: on one thread, and alone in its process."""
    if digest != DIGEST:
        raise RuntimeError(
            "a module has changed since it was imported here: restart the kernel (and client)"
        )
    if not _alone.acquire(blocking=False):
        raise RuntimeError(
            "two jobs in one process would share its random numbers; use joblib's processes "
            "(its default), or dask workers of one thread each: Client(threads_per_worker=1), "
            "or dask worker --nthreads 1"
        )
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        if not arrays:
            return job()
        own = (array if isinstance(array, np.memmap) else array.copy() for array in arrays)
        X, Y, X_test, Y_test = map(torch.from_numpy, own)
        return job(datasets=(TensorDataset(X, Y), TensorDataset(X_test, Y_test)))
    finally:
        torch.set_num_threads(threads)
        _alone.release()


def _send_modules(backend: Any) -> None:
    """If the workers are a dask cluster's: the modules beside this one, which may not be
    there."""
    client = getattr(backend, "client", None)
    if client is None or client in _informed:
        return
    from distributed.diagnostics.plugin import SchedulerUploadFile, UploadFile

    for path in MODULES:
        # Named, so that a later version takes the place of an older.
        for plugin in UploadFile, SchedulerUploadFile:
            client.register_plugin(
                plugin(str(path), load=False), name=f"{plugin.__name__} {path.name}"
            )
    _informed.add(client)
