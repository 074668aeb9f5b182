"""Warming up runs all that comes after the network: each kind of grasp, each place of a package."""

import subprocess
import sys

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


PROGRAM = """
import sys
from numba.core.dispatcher import Dispatcher
from perception_node import warm
from perception_node.config import Config

warm.compile_loops(Config())
ours = {name: vars(module) for name, module in sys.modules.items() if name.startswith("perception_node")}
loops = {f"{name}.{loop.__name__}": loop for name, names in ours.items() for loop in names.values()
         if isinstance(loop, Dispatcher) and loop.py_func.__module__ == name}
inner = {called for loop in loops.values() for called in loop.py_func.__code__.co_names}
for name, loop in loops.items():
    if loop.__name__ not in inner:
        print(name, len(loop.signatures))
"""


def test_each_loop_that_python_calls_is_compiled_for_one_set_of_types():
    lines = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) > 10
    assert [line for line in lines if not line.endswith(" 1")] == []
