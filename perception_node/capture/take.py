"""Pictures of a recording, spread evenly over it, as `perception prelabel` reads them."""

from __future__ import annotations

import re
from pathlib import Path

from tqdm import tqdm

from perception_node.bag.reader import Recording
from perception_node.capture import files
from perception_node.errors import DatasetError
from perception_node.files import folder_aside, put


def take(recording: Recording, name: str, out: Path, pictures: int, belt_plane: tuple[float, ...] = (),
         progress: bool = True) -> int:
    """Write pictures of a recording as rgb/NAME_NNNN.jpg, depth/NAME_NNNN.png (mm) and meta/NAME_NNNN.json (camera, stamp).

    Args:
        recording: opened. name: of the files. out: folder to make; it is there when everything in it is. pictures: so many, or all
            when it has fewer. belt_plane: as `belt.plane`, all zero or none = not calibrated. progress: show a bar.

    Returns:
        How many were written.

    Raises:
        DatasetError: `out` has content, the recording is damaged or has no usable picture.
    """
    if out.exists() and any(out.iterdir()):
        raise DatasetError(f"{out}: expected a folder that is new or empty, got one with files in it")
    stem, total, written = re.sub(r"[^\w.-]+", "_", name), recording.span.frames, 0
    with folder_aside(out) as part:
        for number, frame in enumerate(tqdm(recording.frames(), total=total, unit="frame", disable=None if progress else True)):
            if number * pictures < written * total:
                continue
            for kind, content in files.encode_picture(frame, belt_plane).items():
                put(part / kind / f"{stem}_{written:04d}{files.SUFFIXES[kind]}", content)
            written += 1
            if written == pictures:
                break
        if not written:
            raise recording.nothing_usable()
    return written
