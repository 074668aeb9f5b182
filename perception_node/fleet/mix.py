"""A candidate mixed with the champion: most of what one cell gains, at a fraction of what the others lose by it.

Source: M. Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022; measured here: docs/fleet.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from perception_node.errors import ModelError
from perception_node.learn.dataset import Entry
from perception_node.segment.weights import ModelCard, file_sha256

SHARES = (0.6, 0.35, 0.2)
"""Shares of the candidate in the mixtures that are judged. Source: measured: docs/fleet.md."""


def mixed(candidate: Path, card: ModelCard, champion: Path, share: float, folder: Path, trained_on: Iterable[str],
          pictures: Mapping[Path, Sequence[Entry]], judged: Sequence[Entry]) -> Path:
    """Write NAME-PERCENT.onnx, .safetensors, .card.json and .int8.onnx, unless that one loses too much by its rounding.

    Args:
        candidate, champion: .onnx files with .safetensors beside them. card: the candidate's. share: of the candidate, 0..1.
        folder: of the new files. trained_on: content hashes of all data that either of the two was trained on.
        pictures: of all registered sets, by folder: each cell's show how large the 8-bit file's numbers get; labels play no part.
        judged: labelled pictures on which the 8-bit file is compared with the other; none = it is not.

    Raises:
        ModelError: the weights of one are missing or broken, or the two are networks of different shapes.
        DatasetError: a picture is broken.
    """
    from perception_node.learn.export import export_model, load_network
    from perception_node.learn.finetune import blend
    from perception_node.learn.quantise import JUDGED, PICTURES, inputs_of, spread, write_int8
    from perception_node.segment.model import with_classes

    theirs, ours = (load_network(model.with_suffix(".safetensors")) for model in (champion, candidate))
    if theirs.shape != ours.shape:
        raise ModelError(f"candidate {candidate}: expected a network of the champion's widths {theirs.shape.widths} and blocks "
                         f"{theirs.shape.blocks} to mix with, got {ours.shape.widths} and {ours.shape.blocks}")
    training = {**card.training, "data_sha256": sorted(trained_on),
                "mixed": {"share": share, "candidate_sha256": file_sha256(candidate), "champion_sha256": file_sha256(champion)}}
    path = export_model(blend(with_classes(theirs, ours.classes), ours, share), folder,
                        f"{candidate.stem}-{round(100 * share)}", training, {}, card.grouping)
    shown = [entry for of in pictures.values() for entry in of]
    write_int8(path, inputs_of(spread(shown, PICTURES)), list(pictures), spread(judged, JUDGED) if judged else ())
    return path
