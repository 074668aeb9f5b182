"""Fast DDS's settings with which camera pictures get from one process to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

PROFILES_FILE = Path(__file__).parents[1] / "data" / "transport.xml"
PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
BUILTIN = "FASTDDS_BUILTIN_TRANSPORTS"


def missing_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to an environment: nothing where transports are chosen already, by profiles or by name.

    The default transports lose large pictures between the processes of one machine; those of the profiles carry them.

    Source: docs/interfaces.md, "Transport".
    """
    return {} if any(map(environment.get, (*PROFILES, BUILTIN))) else {PROFILES[0]: str(PROFILES_FILE)}


def transport_words(environment: Mapping[str, str]) -> str:
    """Which transports an environment chooses: a name, a file of profiles, or "default". Profiles come before names."""
    return next(filter(None, map(environment.get, (*PROFILES, BUILTIN))), "default")


def transport_fault(environment: Mapping[str, str]) -> tuple[str, str]:
    """(What is wrong with the transports that an environment chooses, what to do), both "" = nothing that is known.

    Source: docs/interfaces.md, "Transport", measured there.
    """
    if "fastrtps" not in environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp") or any(map(environment.get, PROFILES)):
        return "", ""  # who writes profiles, chooses the transports there
    name, remedy = environment.get(BUILTIN, ""), f"for this node and the camera's driver: export {PROFILES[0]}={PROFILES_FILE}"
    if not name.startswith("LARGE_DATA"):
        return f"Fast DDS loses large pictures with its transports ({BUILTIN} is {name or 'unset'})", remedy
    if environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper() == "LOCALHOST":
        return f"ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST makes Fast DDS ignore {BUILTIN} and lose large pictures", remedy
    return "", ""
