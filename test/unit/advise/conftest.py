"""The described scenes of the collected utterances."""

from pathlib import Path

import pytest

from perception_node.bench.utterances import load_scenes

FOLDER = Path(__file__).resolve().parents[2] / "data" / "utterances"


@pytest.fixture(scope="session")
def folder():
    return FOLDER


@pytest.fixture(scope="session")
def scenes():
    return load_scenes(FOLDER)
