"""A small trained-for-nothing model in a temporary folder, so that tests need neither the shipped weights nor training."""

from pathlib import Path

import numpy as np
import pytest

from perception_node.types import CameraModel, Frame


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch = pytest.importorskip("torch")
    from perception_node.learn.export import export_model
    from perception_node.segment.model import NetworkShape, PackageNet

    torch.manual_seed(0)
    net = PackageNet(NetworkShape(widths=(8, 8, 8, 8, 8), blocks=(1, 1, 1, 1)))
    return export_model(net, tmp_path_factory.mktemp("model"), "tiny", {"seed": 0}, {})


@pytest.fixture
def frame() -> Frame:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (180, 320, 3), dtype=np.uint8)
    depth = np.full((180, 320), 1.0, np.float32)
    depth[60:120, 100:200] = 0.9
    depth[:5] = np.nan
    return Frame(rgb, depth, CameraModel(300.0, 300.0, 159.5, 89.5, 320, 180), 7, "cam_optical_frame")
