"""The documented topics and services are those of the running node: names, types, and none besides."""

import pytest

from perception_node.ros.interface import ENDPOINTS

NODE = "perception"
OF_ROS = ("/parameter_events", "/rosout", "/clock")


def resolved(name):
    return f"/{NODE}{name[1:]}" if name.startswith("~") else f"/{name.lstrip('/')}"


def documented(direction, optional=False):
    return {resolved(e.name): e.type for e in ENDPOINTS if e.direction == direction and (optional or not e.optional)}


@pytest.mark.parametrize(("direction", "ask"), [("in", "get_subscriber_names_and_types_by_node"),
                                                ("out", "get_publisher_names_and_types_by_node"),
                                                ("service", "get_service_names_and_types_by_node")])
def test_documented_endpoints_are_the_nodes(running, direction, ask):
    def endpoints():
        found = dict(getattr(running.node, ask)(NODE, "/"))
        return {name: types[0] for name, types in found.items() if name not in OF_ROS and not types[0].startswith((
            "lifecycle_msgs/", "rcl_interfaces/", "type_description_interfaces/"))}

    wanted = documented(direction)
    running.wait_until(lambda: set(wanted) <= set(endpoints()), f"{direction}: {sorted(wanted)}")
    found = endpoints()
    assert {name: found[name] for name in wanted} == wanted
    assert set(found) <= set(documented(direction, optional=True))
