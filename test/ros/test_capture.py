"""Frames that the running node keeps: after a failed pick and on request; another writer is said and does no harm."""

import json

from perception_node.capture.store import Store


def test_failed_picks_and_requests_are_kept_once_the_other_writer_is_gone(cell, frames, messages, tmp_path):
    from perception_node_msgs.srv import Capture, ReportOutcome

    folder = tmp_path / "perception" / "capture"
    other = Store(folder, 1e9)
    process = cell.start("-p", f"node.output_dir:={tmp_path}", "-p", "node.max_age_s:=10.0")
    scenes = cell.scenes()
    cell.wait_until(lambda: scenes and scenes[-1].grasps, "a scene with grasps",
                    each=lambda: cell.send(*messages.triple(frames[7], cell.next_stamp_ns())))
    cell.watch_diagnostics()
    cell.wait_until(lambda: "writes there" in cell.said("capture"), "diagnostics say that another process writes")
    assert cell.statuses["capture"][0] == 1
    refused = cell.call(Capture, "/perception/capture", Capture.Request())
    assert not refused.success
    assert "writes there" in refused.message
    other.close()

    scene = scenes[-1]
    request = ReportOutcome.Request(scene_stamp=scene.header.stamp, grasp=scene.grasps[0], success=False, failure="dropped")
    answer = cell.call(ReportOutcome, "/perception/report_outcome", request)
    assert answer.accepted, answer.message
    cell.wait_until(lambda: cell.statuses["capture"][:2] == (0, "1 frames kept"), "the frame of the failed pick is kept")
    assert cell.statuses["capture"][2]["kept"] == "1"
    meta = json.loads((folder / "meta" / "0000.json").read_text())
    assert meta["reason"] == "failed_pick"
    assert meta["note"].startswith(f"{scene.grasps[0].kind} of track {scene.grasps[0].track_id}: dropped")
    assert abs(meta["stamp_ns"] - (scene.header.stamp.sec * 10**9 + scene.header.stamp.nanosec)) < 10**9
    assert len(json.loads((folder / "scene" / "0000.json").read_text())["tracks"]) == len(meta["instances"])

    kept = cell.call(Capture, "/perception/capture", Capture.Request(note="by hand"))
    assert kept.success, kept.message
    assert kept.path == str(folder)
    assert json.loads((folder / "meta" / "0001.json").read_text())["note"] == "by hand"

    (folder / "rgb" / ".0002.jpg.part").symlink_to("/dev/full")  # where the next frame is written aside, the disk is full
    lost = cell.call(Capture, "/perception/capture", Capture.Request())
    assert not lost.success
    assert lost.message == f"{folder / 'rgb' / '0002.jpg'}: cannot be written (No space left on device)"
    cell.wait_until(lambda: "No space left" in cell.said("capture"), "diagnostics say that the disk is full")
    assert cell.statuses["capture"][0] == 1
    seen = len(scenes)
    cell.wait_until(lambda: len(scenes) > seen, "scenes go on",
                    each=lambda: cell.send(*messages.triple(frames[7], cell.next_stamp_ns())))
    assert cell.call(Capture, "/perception/capture", Capture.Request()).success  # there is room again
    cell.wait_until(lambda: cell.statuses["capture"][:2] == (0, "3 frames kept"), "diagnostics say that frames are kept again")
    assert sorted(path.name for path in (folder / "meta").iterdir()) == ["0000.json", "0001.json", "0002.json"]
    assert process.end() == 0
    Store(folder, 1e9).close()
