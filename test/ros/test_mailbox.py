"""Messages that pass by the executor, and the console, which reads so."""

import json
import struct
import threading
import time

import pytest

pytest.importorskip("rclpy")

from perception_node.ros.mailbox import Mailbox

PATIENCE_S = 120.0


@pytest.fixture
def mail(cell):
    made = Mailbox(cell.node)
    yield made
    made.destroy()


def test_a_message_waits_for_its_own_thread_and_not_for_the_executor(cell, mail):
    from std_msgs.msg import String
    box = mail.subscribe(String, "words", 5, raw=False)
    other = mail.subscribe(String, "others", 5)
    publisher = cell.publisher("words", String)
    for words in ("one", "two"):
        publisher.publish(String(data=words))
    assert mail.wait([other, box], PATIENCE_S) == [box]
    for _ in range(5):
        cell.executor.spin_once(timeout_sec=0.0)
    found = [box.take()]
    if found[0][0].data == "one":  # the second may still be on the way
        assert mail.wait([box], PATIENCE_S) == [box]
        found.append(box.take())
    assert [message.data for message, _ in found] == ["one", "two"]
    assert found[1][1]["publication_sequence_number"] == found[0][1]["publication_sequence_number"] + 1
    assert box.take() is None
    assert mail.wait([box], 0.0) == []


def test_a_wait_is_ended_by_whoever_wakes_it(mail):
    ended = threading.Event()
    thread = threading.Thread(target=lambda: (mail.wait([], PATIENCE_S), ended.set()))
    thread.start()
    mail.wake()
    assert ended.wait(PATIENCE_S / 2)
    thread.join()
    mail.wake()
    began = time.monotonic()
    assert mail.wait([], PATIENCE_S) == []  # one that comes before the wait counts, too
    assert time.monotonic() - began < PATIENCE_S / 2


def test_the_console_draws_a_scene_when_it_comes(cell):
    """Not one that has lain there: at any other time than just after a scene, drawing would take processors from the next one."""
    import queue

    import rclpy
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CameraInfo, Image
    from std_msgs.msg import Header

    from perception_node.bag.cdr import SceneBytes
    from perception_node.bench.publish import full_scene
    from perception_node.ros.console_link import ConsoleLink
    from perception_node.ros.messages import image_message, time_message
    from perception_node_msgs.msg import PickScene

    node = rclpy.create_node("console", context=cell.context, start_parameter_services=False)
    link = ConsoleLink(node, "perception", False, 60.0)
    drawn = queue.Queue()
    link.start(lambda: drawn.put(link.moment))
    try:
        link.watched = True
        pictures, infos = cell.publisher("image", Image), cell.publisher("camera_info", CameraInfo)
        scenes = cell.node.create_publisher(PickScene, "perception/scene", QoSProfile(depth=2))
        cell.wait_until(lambda: scenes.get_subscription_count() > 0, "the console's subscription")

        def show(packages, focal_px=60.0):
            scene, frame = full_scene(64, 48, packages)
            stamp = time_message(scene.stamp_ns)
            infos.publish(CameraInfo(header=Header(stamp=stamp, frame_id=scene.frame_id), width=64, height=48,
                                     k=[focal_px, 0.0, 32.0, 0.0, focal_px, 24.0, 0.0, 0.0, 1.0]))
            pictures.publish(image_message(frame.rgb, "rgb8", Header(stamp=time_message(scene.stamp_ns), frame_id=scene.frame_id)))
            scenes.publish(SceneBytes(scene).scene(0.03))

        cell.wait_until(lambda: not drawn.empty(), "a first picture", each=lambda: show(1))
        while not drawn.empty():  # the link draws on only when somebody wants more
            first = drawn.get()
        assert len(first.ids) == 1
        assert first.order == (1,)
        show(2)  # lies there
        link.want()
        later = time.monotonic() + 1.0  # time enough to draw what should not be
        cell.wait_until(lambda: not drawn.empty(), "the next scene's picture", each=lambda: time.monotonic() > later and show(3))
        assert len(drawn.get().ids) == 3
        octets, kind = link.grasped.find(3)
        assert octets
        assert kind == "suction"
        for focal_px in (60.0, 30.0):  # a new calibration moves what is drawn
            link.want()

            def moved(wanted=focal_px):
                while not drawn.empty():
                    data = drawn.get().data
                    link.want()
                    middle = json.loads(data[4:4 + struct.unpack_from("<I", data)[0]])["grasps"][0]["points"][1]
                    pose = next(grasp.T_cam_grasp for grasp in full_scene(64, 48, 3)[0].grasps)
                    if abs(middle[0] - (32.0 + wanted * pose[0, 3] / pose[2, 3])) < 0.2:
                        return True
                return False
            cell.wait_until(moved, "grasps by the newest calibration", each=lambda: show(3, focal_px))  # noqa: B023
        link.watched = False
        cell.wait_until(lambda: scenes.get_subscription_count() == 0, "no subscription when nobody looks")
        assert link.moment is None
    finally:
        link.stop()
        node.destroy_node()
