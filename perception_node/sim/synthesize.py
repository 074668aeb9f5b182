"""Writes a data set of simulated pictures: ``python -m perception_node.sim.synthesize OUT --images N``."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perception_node.arguments import Parser, file_to_write, folder_to_write, one_or_more, zero_or_more
from perception_node.errors import PerceptionError
from perception_node.files import folder_aside, put_json

if TYPE_CHECKING:
    from perception_node.sim.cell import SimulatedCell

Job = tuple[int, int, list[int], str, tuple[int, int], str, str, "SimulatedCell | None"]
"""Seed, number of the pile, numbers of the pictures, folder, (width, height), style, content, cell."""

STYLES = ("train", "validation", "opengl")
CONTENTS = ("mixed", "packages", "goods", "nothing")


def _prepare() -> None:
    import cv2

    cv2.setNumThreads(1)


def _group(job: Job) -> list[tuple[int, list[dict[str, Any]]]]:
    """Makes one pile's pictures and writes them; runs in a worker."""
    from perception_node.sim.dataset import annotations_of, write_sample
    from perception_node.sim.sample import Picture, pile_samples

    seed, group, numbers, out, size, style, content, cell = job
    done = []
    try:
        if style == "opengl":
            from perception_node.sim.opengl import opengl_samples

            samples = opengl_samples(seed, group, numbers, Picture(*size, content=content))
        else:
            samples = pile_samples(seed, group, numbers, Picture(*size, style=style, content=content), cell)
    except PerceptionError:
        raise
    except Exception as error:
        raise PerceptionError(f"pictures {numbers} of seed {seed} cannot be made: {error!r}; please report this") from error
    for number, sample in zip(numbers, samples, strict=True):
        write_sample(Path(out), number, sample)
        done.append((number, annotations_of(number, sample.labels, sample.meta)))
    return done


def check_arguments(out: Path, images: int, workers: int) -> None:
    """Raises PerceptionError for what cannot work, before anything is written."""
    if images < 1:
        raise PerceptionError(f"--images: expected 1 or more, got {images}")
    if workers < 1:
        raise PerceptionError(f"--workers: expected 1 or more, got {workers}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PerceptionError(f"{out} exists already: give a new or an empty folder")
    parent = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not os.access(parent, os.W_OK):
        raise PerceptionError(f"{parent} is not writable")
    need = images * 700_000
    free = shutil.disk_usage(parent).free
    if free < need:
        raise PerceptionError(f"{images} pictures need about {need / 1e9:.1f} GB, {parent} has {free / 1e9:.1f} GB free")
    import perception_node.sim.needs  # noqa: F401  says what is missing


def synthesize(
    out: Path, images: int, seed: int = 0, workers: int = 1, width: int = 640, height: int = 480,
    progress: bool = True, style: str = "train", cell: SimulatedCell | None = None, content: str = "mixed",
) -> float:  # fmt: skip
    """Writes `images` pictures into the new folder `out`.

    The bytes depend on seed, size, style and content only, not on the number of workers. Everything is written into
    a folder beside it and renamed at the end, so a folder of the final name is always complete.

    Args:
        out: folder to make.
        images: number of pictures.
        seed: any whole number from 0.
        workers: processes.
        width, height: size of the pictures in pixels.
        progress: draw a progress bar on stderr.
        style: "train"; "validation" for a differently weighted world; "opengl" for pictures by another engine, to select
            models on.
        content: "mixed"; "packages" = no goods; "goods" = goods only; "nothing" = neither, to count what is taken for one.
        cell: all pictures are of one cell ("train" only), None = each is of another place.

    Returns:
        Pictures per second and worker.

    Raises:
        PerceptionError: bad arguments, missing libraries or no disk space.
    """
    out = Path(out)
    check_arguments(out, images, workers)
    from tqdm import tqdm

    from perception_node.sim.dataset import write_annotations
    from perception_node.sim.sample import VIEWS_PER_PILE

    step = VIEWS_PER_PILE if cell is None else 1
    began = time.monotonic()
    with folder_aside(out) as aside:
        jobs = [
            (seed, g, list(range(g * step, min(images, (g + 1) * step))), str(aside), (width, height), style, content, cell)
            for g in range((images + step - 1) // step)
        ]
        with tqdm(total=images, unit="pic", disable=not progress) as bar:
            found = _make_all(jobs, workers, bar.update)
        ordered = [a for n in range(images) for a in found[n]]
        note = f"simulated packages, perception_node, seed {seed}, style {style}, content {content}"
        write_annotations(aside, [(n, width, height) for n in range(images)], ordered, note)
    return images / (time.monotonic() - began) / workers


def _make_all(jobs: list[Job], workers: int, advance: Callable[[], object]) -> dict[int, list[dict[str, Any]]]:
    """Annotations of every picture by number; calls `advance` once for each."""
    found: dict[int, list[dict[str, Any]]] = {}

    def take(made: list[tuple[int, list[dict[str, Any]]]]) -> None:
        for number, records in made:
            found[number] = records
            advance()

    if workers == 1:
        _prepare()
        for job in jobs:
            take(_group(job))
        return found
    spawn = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, spawn, _prepare)
    try:
        for future in concurrent.futures.as_completed([pool.submit(_group, job) for job in jobs]):
            take(future.result())
    except BrokenProcessPool as error:
        raise PerceptionError("a worker was killed (out of memory?): try fewer --workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return found


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status (0 done, 2 bad input)."""
    parser = Parser(prog="perception synthesize", description="Make training pictures of simulated packages: colour, depth, masks "
                    "and true geometry.")
    parser.add_argument("out", type=folder_to_write, help="folder to make")
    parser.add_argument("--images", type=one_or_more, default=300, help="number of pictures (300)")
    parser.add_argument("--seed", type=zero_or_more, default=0, help="same seed, same bytes (0)")
    parser.add_argument("--workers", type=one_or_more, default=1, help="processes (1)")
    parser.add_argument("--width", type=one_or_more, default=640, help="pixels (640)")
    parser.add_argument("--height", type=one_or_more, default=480, help="pixels (480)")
    parser.add_argument("--style", choices=STYLES, default="train", help="which world: opengl is drawn by another engine (train)")
    words = "what lies there: nothing = neither packages nor goods, to count what is taken for one (mixed: all of these)"
    parser.add_argument("--content", choices=CONTENTS, default="mixed", help=words)
    parser.add_argument("--json", type=file_to_write, help="write what was made and how fast to this file")
    arguments = parser.parse_args(argv)
    try:
        rate = synthesize(
            arguments.out, arguments.images, arguments.seed, arguments.workers, arguments.width, arguments.height,
            style=arguments.style, content=arguments.content,
        )  # fmt: skip
    except PerceptionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; nothing was kept", file=sys.stderr)
        return 130
    print(f"{arguments.out}: {arguments.images} pictures, {rate:.1f} pictures/s per worker")
    if arguments.json:
        put_json(arguments.json, {"images": arguments.images, "pictures_per_s_per_worker": rate})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
