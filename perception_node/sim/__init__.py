"""Simulated packages: physics, shapes, textures, renderer and sensors, with exact ground truth.

``python -m perception_node.sim.synthesize OUT --images N`` writes data sets. The modules that need
MuJoCo and numba are imported only when used; importing this package needs neither.
"""
