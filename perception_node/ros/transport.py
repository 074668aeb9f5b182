"""Fast DDS's settings with which camera pictures get from one process to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

QUICK_DISCOVERY = Path(__file__).parents[1] / "data" / "quick_discovery.xml"
TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def missing_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to an environment; a choice that it holds already stays.

    The default transports lose large pictures between the processes of one machine; this one carries them. With it, processes
    that start together need seconds to find each other, unless the profiles make it tenths.

    Source: docs/interfaces.md, "Transport".
    """
    wanted = {}
    if not environment.get(TRANSPORTS):
        wanted[TRANSPORTS] = "LARGE_DATA"
    if not any(environment.get(name) for name in PROFILES):
        wanted[PROFILES[0]] = str(QUICK_DISCOVERY)
    return wanted
