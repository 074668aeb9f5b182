"""The shipped SROS2 policies allow the nodes' interface and nothing else; launch files pass the enclave on."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from perception_node.errors import PerceptionError
from perception_node.ros.interface import BEACON_ENDPOINTS, ENDPOINTS
from perception_node.ros.policy import main, policy

ROOT = Path(__file__).resolve().parents[2]
NODES = {"perception": ENDPOINTS, "beacon": BEACON_ENDPOINTS}
OF_EVERY_NODE = {"publish": {"/rosout", "/parameter_events", "~/transition_event"}, "subscribe": {"/clock", "/parameter_events"}}


def allowed(tree, kind, permission):
    return {name.text for group in tree.iter(kind) if group.get(permission) == "ALLOW" for name in group}


@pytest.mark.parametrize("node", NODES)
def test_the_shipped_policy_is_exactly_the_interface(node):
    tree = ElementTree.parse(ROOT / "config" / "sros2" / f"{node}.xml").getroot()
    profile, = tree.iter("profile")
    enclave, = tree.iter("enclave")
    assert (tree.get("version"), profile.get("node"), profile.get("ns"), enclave.get("path")) == ("0.2.0", node, "/", f"/{node}")
    for direction, permission in (("out", "publish"), ("in", "subscribe")):
        wanted = {endpoint.name for endpoint in NODES[node] if endpoint.direction == direction} | OF_EVERY_NODE[permission]
        assert allowed(tree, "topics", permission) == wanted, "renew it: python -m perception_node.ros.policy (docs/security.md)"
    services = {endpoint.name for endpoint in NODES[node] if endpoint.direction == "service"}
    replies = allowed(tree, "services", "reply")
    assert services < replies
    assert all(name.startswith("~/") for name in replies)
    assert not {"DENY"} & {value for element in tree.iter() for value in element.attrib.values()}
    assert not allowed(tree, "services", "request")
    assert not allowed(tree, "topics", "relay")


def test_namespaces_and_remapped_topics_are_allowed_under_their_names():
    tree = ElementTree.fromstring(policy("/cell/left", remaps={"image": "/cam/color", "camera_info": "/cam/info"}).encode())
    heard = allowed(tree, "topics", "subscribe")
    assert {"/cam/color", "/cam/color/compressed", "/cam/info", "depth", "depth/compressedDepth"} < heard
    assert "image" not in heard
    enclave, = tree.iter("enclave")
    assert enclave.get("path") == "/cell/left/perception"


def test_what_cannot_be_is_one_line(tmp_path, capsys):
    with pytest.raises(PerceptionError, match="expected one of"):
        policy(remaps={"imge": "/cam"})
    with pytest.raises(PerceptionError, match="begins with '/'"):
        policy("cell")
    assert main(["--out", str(tmp_path / "p.xml"), "--remap", "image=/cam"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "p.xml").exists()


@pytest.mark.parametrize("name", ["cell", "beacon"])
def test_launch_files_take_an_enclave(name):
    text = (ROOT / "launch" / f"{name}.launch.py").read_text(encoding="utf-8")
    assert 'DeclareLaunchArgument("enclave"' in text
    assert '"--enclave"' in text
