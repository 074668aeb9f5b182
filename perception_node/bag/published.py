"""What the live node would have published, as a rosbag2 recording (mcap) of the same message types; needs no ROS.

`latency_s` and `timing_ms` are left 0 and empty: they say how long the machine took, and the same recording must give the same
bytes. Topics are those of a node called `perception`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from perception_node.bag.cdr import SceneBytes
from perception_node.bag.filling import MESSAGES, Makers, markers_message
from perception_node.errors import DatasetError, MissingDependencyError
from perception_node.types import Scene

TOPICS = {"/perception/scene": "perception_node_msgs/msg/PickScene", "/perception/masks": "sensor_msgs/msg/Image",
          "/perception/grasp_poses": "geometry_msgs/msg/PoseArray", "/perception/markers": "visualization_msgs/msg/MarkerArray"}
"""Topic and type. `~/overlay` is not among them: the film shows it."""

_FOREVER = QosTime(sec=9223372036, nsec=854775807)
_QOS = Qos(history=QosHistory.KEEP_LAST, depth=2, reliability=QosReliability.RELIABLE, durability=QosDurability.VOLATILE,
           deadline=_FOREVER, lifespan=_FOREVER, liveliness=QosLiveliness.AUTOMATIC, liveliness_lease_duration=_FOREVER,
           avoid_ros_namespace_conventions=False)
_NUMPY = {"bool": np.bool_, "octet": np.uint8, "byte": np.uint8, "char": np.uint8}


def definitions_folder() -> Path:
    """Folder of the .msg files: this repository's, else that of an installed perception_node_msgs.

    Raises:
        MissingDependencyError: neither is there.
    """
    folders = [Path(__file__).resolve().parents[2] / "perception_node_msgs" / "msg"]
    folders += [Path(prefix) / "share" / "perception_node_msgs" / "msg"
                for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    for folder in folders:
        if (folder / "PickScene.msg").is_file():
            return folder
    raise MissingDependencyError("expected the message definitions of perception_node_msgs, found none: run from the repository, "
                                 "or build the messages and `. ./env.sh`")


def message_types() -> Typestore:
    """ROS 2's messages and this project's, for reading or writing recordings of the node's outputs."""
    store = get_typestore(Stores.ROS2_KILTED)
    types: dict[str, Any] = {}
    for file in sorted(definitions_folder().glob("*.msg")):
        types.update(get_types_from_msg(file.read_text(encoding="utf-8"), f"perception_node_msgs/msg/{file.stem}"))
    store.register(types)
    return store


def makers(store: Typestore) -> Makers:
    """rosbags' messages for `bag/filling.py`."""
    def maker(name: str) -> Callable[[], Any]:
        return lambda: _empty(store, name)

    return {name.rsplit("/", 1)[-1]: maker(name) for name in MESSAGES}


class PublishedWriter:
    """Writes the outputs of each scene; a context manager. The same scenes give the same bytes.

    Args:
        folder: to make; it must not exist.

    Raises:
        DatasetError: it exists or cannot be made. MissingDependencyError: no message definitions.
    """

    def __init__(self, folder: Path) -> None:
        self._store = message_types()
        self._make = makers(self._store)
        try:
            self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except (WriterError, OSError) as error:
            raise DatasetError(f"{folder}: the recording cannot be written: {error}") from None
        self._connections = {topic: self._writer.add_connection(topic, kind, typestore=self._store, offered_qos_profiles=[_QOS])
                             for topic, kind in TOPICS.items()}

    def __enter__(self) -> PublishedWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()

    def add(self, scene: Scene) -> None:
        """Append one scene's messages, recorded at the picture's stamp."""
        made = SceneBytes(scene, timing=False)
        markers = bytes(self._store.serialize_cdr(markers_message(scene, self._make), TOPICS["/perception/markers"]))
        for topic, octets in zip(TOPICS, (made.scene(latency_s=0.0), made.masks(), made.grasp_poses(), markers), strict=True):
            self._writer.write(self._connections[topic], scene.stamp_ns, octets)


def _empty(store: Typestore, name: str) -> Any:
    """A message of zeros and empty texts, lists and messages."""
    return store.types[name](**{field: _nothing(store, kind) for field, kind in store.fielddefs[name][1]})


def _nothing(store: Typestore, kind: Any) -> Any:
    node, what = kind
    if node == Nodetype.NAME:
        return _empty(store, what)
    if node == Nodetype.BASE:
        return "" if what[0] in ("string", "wstring") else False if what[0] == "bool" else 0.0 if "float" in what[0] else 0
    (inner, element), count = what
    if inner == Nodetype.BASE and element[0] not in ("string", "wstring"):
        return np.zeros(count if node == Nodetype.ARRAY else 0, _NUMPY.get(element[0], element[0]))
    return [_nothing(store, (inner, element)) for _ in range(count)] if node == Nodetype.ARRAY else []
