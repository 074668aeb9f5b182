"""One job for each of many arguments: one after the other, over processes of this machine, or over a Ray cluster.

The answers are the same. Jobs and arguments must be picklable; a cluster's machines must see the same folders and have this package
installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from perception_node.arguments import zero_or_more
from perception_node.errors import DatasetError, MissingDependencyError, PerceptionError, one_line, unexpected

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Spread:
    """Where jobs are computed.

    Attributes:
        processes: at once on this machine, 0 = as many as the cores carry. over: "processes" or "ray" (`processes` then does not
            count). threads: that one job uses, 0 = all.
    """

    processes: int = 1
    over: str = "processes"
    threads: int = 1

    def workers(self, jobs: int) -> int:
        """How many processes so many jobs get."""
        cores = os.cpu_count() or 1
        return min(self.processes or max(1, cores // (self.threads or cores)), jobs)


@dataclass(frozen=True)
class Done(Generic[Answer]):
    """One job's end: its number among the arguments, and its answer or what went wrong."""

    number: int
    answer: Answer | None
    error: PerceptionError | None


def spread(job: Callable[..., Answer], arguments: Sequence[tuple[Any, ...]], how: Spread, desc: str = "", unit: str = "job",
           progress: bool = True) -> Iterator[Done[Answer]]:
    """Do a job for each of some arguments; one that fails does not stop the others.

    Args:
        job: a function at the top level of a module. arguments: of each call. how: where. desc, unit: of the progress bar.
        progress: show one.

    Yields:
        Each job as it ends, in any order.

    Raises:
        MissingDependencyError: Ray is asked for and not installed.
    """
    if how.processes < 0:
        raise DatasetError(f"processes: expected 0 (by cores) or more, got {how.processes}")
    with tqdm(total=len(arguments), desc=desc or None, unit=unit, disable=None if progress else True, leave=False) as bar:
        for done in _run(job, arguments, how):
            bar.update()
            yield done


def gather(job: Callable[..., Answer], arguments: Sequence[tuple[Any, ...]], how: Spread, desc: str = "", unit: str = "job",
           progress: bool = True) -> list[Answer]:
    """All answers, in the order of the arguments; as `spread`.

    Raises:
        PerceptionError: that of the first job, in the order of the arguments, that failed.
    """
    ended = sorted(spread(job, arguments, how, desc, unit, progress), key=lambda done: done.number)
    for done in ended:
        if done.error is not None:
            raise done.error
    return [done.answer for done in ended]  # type: ignore[misc]  # without an error there is an answer


def add_spread_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare --processes and --over; what: such as "recordings"."""
    parser.add_argument("--processes", type=zero_or_more, default=0, metavar="N", help=f"{what} at once (default: by cores)")
    parser.add_argument("--over", choices=("processes", "ray"), default="processes", help=f"where {what} are computed")


def _run(job: Callable[..., Answer], arguments: Sequence[tuple[Any, ...]], how: Spread) -> Iterator[Done[Answer]]:
    if how.over == "ray":
        yield from _over_ray(job, arguments, how)
    elif how.workers(len(arguments)) <= 1:
        yield from (Done(number, *_answer(job, values)) for number, values in enumerate(arguments))
    else:
        yield from _over_processes(job, arguments, how.workers(len(arguments)))


def _answer(job: Callable[..., Answer], arguments: tuple[Any, ...]) -> tuple[Answer | None, PerceptionError | None]:
    """One job, in whatever process."""
    try:
        return job(*arguments), None
    except PerceptionError as error:
        return None, error
    except Exception as error:  # as for a frame of the node: a fault of ours must cost one job and be said
        return None, DatasetError(one_line(error) if isinstance(error, OSError) else unexpected(error))


def _over_processes(job: Callable[..., Answer], arguments: Sequence[tuple[Any, ...]], workers: int) -> Iterator[Done[Answer]]:
    spawn = multiprocessing.get_context("spawn")  # a forked runtime with threads hangs
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        futures = {pool.submit(_answer, job, values): number for number, values in enumerate(arguments)}
        for future in as_completed(futures):
            try:
                yield Done(futures[future], *future.result())
            except Exception as error:
                yield Done(futures[future], None, DatasetError(f"its process ended: {one_line(error)}"))


def _over_ray(job: Callable[..., Answer], arguments: Sequence[tuple[Any, ...]], how: Spread) -> Iterator[Done[Answer]]:
    """Each job is one task, of as many cores as it has threads; the cluster is that of RAY_ADDRESS, else this machine."""
    if importlib.util.find_spec("ray") is None:
        raise MissingDependencyError("--over ray needs Ray, which is not installed: pip install ray")
    import ray

    if not ray.is_initialized():
        ray.init(address=os.environ.get("RAY_ADDRESS") or None, log_to_driver=False)
    remote: Callable[..., Any] = ray.remote(num_cpus=max(how.threads, 1))(_answer).remote
    numbers = {remote(job, values): number for number, values in enumerate(arguments)}
    waiting = list(numbers)
    while waiting:
        ended, waiting = ray.wait(waiting, num_returns=1)
        for reference in ended:
            try:
                yield Done(numbers[reference], *ray.get(reference))
            except Exception as error:  # Ray's own types: the worker died
                yield Done(numbers[reference], None, DatasetError(f"its task ended: {one_line(error, 300)}"))
