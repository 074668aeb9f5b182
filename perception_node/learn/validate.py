"""The quick judgement inside a training run: AP with and without depth on a few pictures, with the very code that runs later."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from perception_node.learn.dataset import Entry, load_sample
from perception_node.learn.judge import coco_ap, compare
from perception_node.segment.encode import encode_depth, network_size
from perception_node.segment.model import ExportedNet, PackageNet
from perception_node.segment.postprocess import Grouping, group


@torch.inference_mode()
def validate(net: PackageNet, entries: Sequence[Entry], grouping: Grouping | None = None) -> dict[str, float]:
    """Judge a network.

    Args:
        net: the network; put into evaluation mode for the time being. entries: pictures to judge on.
        grouping: thresholds.

    Returns:
        `depth_AP`, `depth_AP50`, `depth_AP75` and the same for `colour_` (no depth), over pickable packages, and
        `selection`: the mean of both APs, by which the best weights are chosen.
    """
    training = net.training
    exported = ExportedNet(net.eval())
    device = next(net.parameters()).device
    out: dict[str, float] = {}
    for mode in ("depth", "colour"):
        verdicts = []
        for entry in entries:
            sample = load_sample(entry)
            camera = sample.frame.camera
            width, height = network_size(camera.width, camera.height)
            rgb = cv2.resize(sample.frame.rgb, (width, height), interpolation=cv2.INTER_AREA)
            depth_m = sample.frame.depth_m if mode == "depth" else None
            depth = encode_depth(depth_m, camera, (width // 2, height // 2), sample.belt_plane)
            with torch.autocast(device.type, torch.bfloat16):
                heads = exported(torch.from_numpy(np.asarray(rgb, dtype=np.uint8))[None].to(device),
                                 torch.from_numpy(depth)[None].to(device))[0]
            found = group(heads.float().cpu().numpy(), (camera.width, camera.height), grouping, net.classes)
            verdicts.append(compare(entry.name, sample.labels, sample.class_ids, sample.visible, found))
        out |= {f"{mode}_{key}": round(value, 4) for key, value in coco_ap(verdicts, True, False).items()}
    net.train(training)
    out["selection"] = round((out["depth_AP"] + out["colour_AP"]) / 2, 4)
    return out
