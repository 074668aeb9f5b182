"""Many recordings at once: over processes of this machine, or over a Ray cluster. The results are those of one after the other."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm import tqdm

from perception_node.bag.run import Settings, replay_one
from perception_node.errors import DatasetError, MissingDependencyError, PerceptionError

Outcome = tuple[str, "dict[str, Any] | None", str]
"""Name of the recording, its summary or None, and the error."""


def recordings_below(folder: Path) -> list[Path]:
    """All recordings of a folder, in order of their names: folders with metadata.yaml or storage files, and bare files beside them.

    Raises:
        DatasetError: no such folder, or none in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: expected a folder with recordings")
    found = set()
    for file in folder.rglob("*"):
        if file.suffix in (".mcap", ".db3") or file.name.endswith((".mcap.zstd", ".db3.zstd")):
            found.add(file if file.parent == folder and not (folder / "metadata.yaml").exists() else file.parent)
    if not found:
        raise DatasetError(f"{folder}: expected recordings (rosbag2 folders, .mcap or .db3 files) in it, found none")
    return sorted(found)


def names_of(recordings: list[Path], folder: Path) -> list[str]:
    """A folder name for each recording's results: its path below `folder`, without slashes; all different."""
    names = [str(path.relative_to(folder)).replace("/", ".") if path != folder else folder.resolve().name for path in recordings]
    assert len(set(names)) == len(names)
    return names


def replay_many(folder: Path, out: Path, settings: Settings, *, processes: int = 0, over: str = "processes",
                replace: bool = False) -> list[Outcome]:
    """Replay all recordings of a folder, each into `out/NAME`; one that cannot be replayed does not stop the others.

    Args:
        folder, out, settings, replace: as for `replay_one`. processes: at once, 0 = as many as the cores carry with
            `segment.threads` each. over: "processes" or "ray".

    Returns:
        One outcome for each recording, in the order of their names.

    Raises:
        DatasetError: no recordings. MissingDependencyError: Ray is asked for and not installed.
    """
    recordings = recordings_below(folder)
    names = names_of(recordings, folder)
    jobs = [(name, path, out / name, settings, replace) for name, path in zip(names, recordings, strict=True)]
    run = _over_ray if over == "ray" else _over_processes
    outcomes: dict[str, Outcome] = {}
    with tqdm(total=len(jobs), unit="recording", disable=None) as bar:
        for outcome in run(jobs, processes or max(1, (os.cpu_count() or 1) // settings.config.segment.threads)):
            outcomes[outcome[0]] = outcome
            bar.update()
    return [outcomes[name] for name, *_ in jobs]


def job(name: str, path: Path, out: Path, settings: Settings, replace: bool) -> Outcome:
    """One recording, in whatever process."""
    try:
        return name, replay_one(path, out, settings, replace=replace, progress=False), ""
    except (PerceptionError, OSError) as error:
        return name, None, " ".join(str(error).split())


def _over_processes(jobs: list[tuple[Any, ...]], processes: int) -> Iterator[Outcome]:
    if processes == 1:
        yield from (job(*arguments) for arguments in jobs)
        return
    spawn = multiprocessing.get_context("spawn")  # a forked runtime with threads hangs
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=spawn) as pool:
        futures = {pool.submit(job, *arguments): arguments[0] for arguments in jobs}
        for future in as_completed(futures):
            try:
                yield future.result()
            except Exception as error:  # the process died
                yield futures[future], None, f"its process ended: {' '.join(str(error).split()) or type(error).__name__}"


def _over_ray(jobs: list[tuple[Any, ...]], processes: int) -> Iterator[Outcome]:
    """Each recording is one task; the cluster's machines must see the same folders and have this package installed."""
    if importlib.util.find_spec("ray") is None:
        raise MissingDependencyError("--over ray needs Ray, which is not installed: pip install ray")
    import ray

    if not ray.is_initialized():
        ray.init(address=os.environ.get("RAY_ADDRESS") or None, log_to_driver=False)
    remote: Callable[..., Any] = ray.remote(num_cpus=jobs[0][3].config.segment.threads)(job).remote
    names = {remote(*arguments): arguments[0] for arguments in jobs}
    waiting = list(names)
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1)
        for reference in done:
            try:
                yield ray.get(reference)
            except Exception as error:  # Ray's own types: the worker died
                yield names[reference], None, f"its task ended: {' '.join(str(error).split())[:300]}"
