"""`~/ask` and `~/preferred` on a running node: questions, choices, refusals, and outcomes that move the order."""

import pytest

from perception_node.types import CLASS_NAMES


@pytest.fixture(scope="module")
def talking(patient, frames, messages):
    """The shared node, and functions that send a frame and then ask."""
    from perception_node_msgs.msg import PickScene, Preferred
    from perception_node_msgs.srv import Ask

    scenes, preferred = patient.listen(PickScene, "/perception/scene"), patient.listen(Preferred, "/perception/preferred")

    def send():
        patient.send(*messages.triple(frames[0], patient.now_ns()))

    def show():
        before = len(preferred)
        patient.wait_until(lambda: len(preferred) > before, "a scene and what is preferred", each=send)
        return scenes[-1], preferred[-1]

    def ask(text, session="test", point=()):
        for _ in range(10):  # on a busy machine a scene may be too old when the question comes
            show()
            answer = patient.call(Ask, "/perception/ask", Ask.Request(text=text, session_id=session, point=list(point)))
            if " old: " not in answer.reply:
                break
        return answer

    return patient, show, ask


def test_questions_are_answered(talking):
    _, _, ask = talking
    answer = ask("what should I pick next?")
    assert answer.answered
    assert answer.action == "recommend"
    assert answer.ranked
    assert answer.highlights[0] == answer.ranked[0].track_id
    assert all(entry.class_name in CLASS_NAMES for entry in answer.ranked)
    scores = [entry.score for entry in answer.ranked if entry.reasons[0] == "nothing on it"]
    assert scores == sorted(scores, reverse=True)


def test_a_choice_is_preferred_until_it_is_undone(talking):
    _, show, ask = talking
    ranked = [entry for entry in ask("start over").ranked if entry.kind and "nothing on it" in entry.reasons]
    second = ranked[1].track_id
    answer = ask(f"take number {second}")
    assert (answer.done, list(answer.affected)) == ("take", [second])
    _, wanted = show()
    assert (wanted.has_preference, wanted.track_id, wanted.source) == (True, second, "operator")
    assert wanted.deadline.sec + wanted.deadline.nanosec * 1e-9 > wanted.stamp.sec + wanted.stamp.nanosec * 1e-9
    assert ask("undo").done == "undo"
    assert show()[1].source != "operator"


def test_what_operators_refuse_is_said(talking):
    _, show, ask = talking
    first = ask("start over").ranked[0].track_id
    assert ask("never this one", point=[first]).done == "never"
    scene, message = show()
    assert first in message.never
    assert message.track_id != first
    assert message.header.stamp == scene.header.stamp
    ask("undo")
    assert first not in show()[1].never


def test_two_operators_have_their_own_conversations(talking):
    _, _, ask = talking
    everything = len(ask("start over", "one").ranked)
    assert len(ask("only boxes", "one").ranked) < everything
    assert len(ask("how many are there", "two").ranked) == everything
    ask("start over", "one")


@pytest.mark.parametrize("text", ["", "x" * 301, "取って", "drop table packages; --", "take the flobber",
                                  "\x00\x07", "number 999999"])
def test_bad_text_gets_words_and_changes_nothing(talking, text):
    _, show, ask = talking
    answer = ask(text, "bad")
    assert answer.reply
    assert answer.done == ""
    assert show()[1].source != "operator"


def test_a_flood_is_refused_in_words_and_the_node_goes_on(talking):
    from perception_node_msgs.srv import Ask

    cell, show, _ = talking
    show()
    client = cell.node.create_client(Ask, "/perception/ask")
    replies = []
    while not any("too many" in reply.reply for reply in replies) and len(replies) < 2000:
        futures = [client.call_async(Ask.Request(text="how many bags?", session_id=f"flood {i}")) for i in range(8)]
        cell.wait_until(lambda futures=futures: all(future.done() for future in futures), "answers to the flood")
        replies += [future.result() for future in futures]
    assert any(not reply.answered and "too many" in reply.reply for reply in replies)
    assert all(reply.reply for reply in replies)
    assert show()[0].packages


def test_outcomes_move_the_ranking(talking):
    from perception_node_msgs.srv import ReportOutcome

    cell, show, ask = talking
    before = next(entry for entry in ask("start over").ranked if entry.kind == "suction")
    for _ in range(6):
        scene, _ = show()
        grasp = next(grasp for grasp in scene.grasps if grasp.kind == "suction" and grasp.track_id == before.track_id)
        grasp.score, grasp.term_names, grasp.term_values = float("nan"), [], []  # what was proposed counts, not what is repeated
        request = ReportOutcome.Request(scene_stamp=scene.header.stamp, grasp=grasp, failure=ReportOutcome.Request.NOT_GRIPPED)
        assert cell.call(ReportOutcome, "/perception/report_outcome", request).accepted
    after = next(entry for entry in ask("start over").ranked if entry.track_id == before.track_id)
    assert after.kind != "suction" or after.score < before.score - 0.05
