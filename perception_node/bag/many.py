"""Many recordings at once: over processes of this machine, or over a Ray cluster. The results are those of one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perception_node.bag.run import Settings, replay_one
from perception_node.errors import DatasetError, one_line
from perception_node.spread import Spread, spread

Outcome = tuple[str, "dict[str, Any] | None", str]
"""Name of the recording, its summary or None, and the error."""


def recordings_below(folder: Path) -> list[Path]:
    """All recordings of a folder, in order of their names: folders with metadata.yaml or storage files, and bare files beside them.
    What replays have written is none of them.

    Raises:
        DatasetError: no such folder, or none in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: expected a folder with recordings")
    found = set()
    for file in folder.rglob("*"):
        written = file.parent.name == "published" and (file.parent.parent / "summary.json").exists()
        if not written and (file.suffix in (".mcap", ".db3") or file.name.endswith((".mcap.zstd", ".db3.zstd"))):
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
    jobs = [(path, out / name, settings, replace) for name, path in zip(names, recordings, strict=True)]
    how = Spread(processes, over, settings.config.segment.threads)
    outcomes: dict[int, Outcome] = {}
    for done in spread(_job, jobs, how, unit="recording"):
        error = "" if done.error is None else one_line(done.error)
        outcomes[done.number] = names[done.number], done.answer, error
    return [outcomes[number] for number in range(len(jobs))]


def _job(path: Path, out: Path, settings: Settings, replace: bool) -> dict[str, Any]:
    return replay_one(path, out, settings, replace=replace, progress=False)
