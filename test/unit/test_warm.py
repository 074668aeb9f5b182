"""Warming up runs all that comes after the network: each kind of grasp, each place of a package."""

import numpy as np

from perception_node import warm
from perception_node.config import Config
from perception_node.pipeline import Pipeline


def test_all_that_is_compiled_is_run(monkeypatch):
    scenes = []
    process = Pipeline.process

    def kept(self, frame, velocity=None):
        scenes.append(process(self, frame, velocity))
        return scenes[-1]

    monkeypatch.setattr(Pipeline, "process", kept)
    warm.compile_loops(Config())
    seen, blind = scenes[2], scenes[3]
    assert {grasp.kind for grasp in seen.grasps} == {"suction", "parallel_jaw"}
    assert [track.package.covered_by for track in sorted(seen.tracks, key=lambda track: track.label)] == [(), (3,), ()]
    assert seen.belt_velocity_m_s is not None
    assert np.allclose(seen.belt_velocity_m_s, 0.0, atol=1e-6)
    assert blind.degraded
    assert not blind.depth_used
