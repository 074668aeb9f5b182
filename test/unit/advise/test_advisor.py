"""Conversations: narrowing, pointing, choosing, taking back; what leaves the belt; two operators; time."""

import dataclasses

import pytest

from perception_node.advise import ranking
from perception_node.advise.advisor import Advisor
from perception_node.advise.view import colour_names
from perception_node.bench.utterances import build
from perception_node.grasp import score

SECOND = 1_000_000_000


class Talk:
    """An operator in front of a described scene."""

    def __init__(self, described, advisor=None, name="one"):
        self.described, self.advisor, self.name = described, advisor or Advisor(), name

    def __call__(self, text):
        return self.advisor.ask(text, self.described.scene, self.name, self.described.rgb)

    def later(self, seconds, without=()):
        """The same scene after some time, some packages gone."""
        scene = self.described.scene
        gone = {track.label for track in scene.tracks if track.track_id in without}
        moved = dataclasses.replace(
            scene, stamp_ns=scene.stamp_ns + int(seconds * SECOND),
            tracks=tuple(t for t in scene.tracks if t.track_id not in without),
            grasps=tuple(dataclasses.replace(g, deadline_ns=None) for g in scene.grasps if g.label not in gone))
        self.described = dataclasses.replace(self.described, scene=moved)

    def wanted(self):
        return self.advisor.standing(self.described.scene, self.described.rgb)


@pytest.fixture
def talk(scenes):
    return Talk(scenes["mixed"])


def ids(advice):
    return [entry.track_id for entry in advice.ranked]


def test_recommend_narrow_refer_choose_undo_start_over(talk):
    advice = talk("what should I pick next?")
    assert advice.highlights == (1,)
    assert "93 %" in advice.reply
    assert set(ids(talk("only boxes"))) == {1, 2, 6}
    assert set(ids(talk("brown ones"))) == {1, 6}
    assert talk("the small one").highlights == (6,)
    assert talk("take that one").affected == (6,)
    assert talk.wanted().preference.track_id == 6
    assert talk.wanted().preference.source == "operator"
    assert talk("undo").done == "undo"
    assert talk.wanted().preference.source != "operator"
    assert set(ids(talk("how many are there?"))) == {1, 6}
    talk("undo")
    assert set(ids(talk("how many are there?"))) == {1, 2, 6}
    assert len(ids(talk("start over"))) == 7
    assert "nothing to undo" not in talk("undo").reply


def test_an_unclear_choice_is_asked_back_and_the_answer_completes_it(talk):
    advice = talk("take a box")
    assert advice.asks
    assert advice.done == ""
    assert set(advice.highlights) == {1, 2, 6}
    assert talk("the small one").affected == (6,)
    talk("start over")
    assert talk("can you take 3?").asks
    assert talk("yes").affected == (3,)
    assert talk("yes").done == ""
    assert talk("can you take 5?").asks
    assert talk("no").done == ""
    assert talk("yes").done == ""


def test_a_question_of_ours_is_forgotten_after_a_while(talk):
    talk("can you take 3?")
    talk.later(120)
    assert talk("yes").done == ""


@pytest.mark.parametrize(("text", "words"), [
    ("take number 7", "too rough"), ("take number 2", "lies under 5"), ("take 12", "no number 12"), ("take box 4", "is not that"),
    ("take the heaviest", "Weights are not known")])
def test_what_cannot_be_picked_is_refused_with_the_reason(talk, text, words):
    advice = talk(text)
    assert advice.done == ""
    assert words in advice.reply
    assert advice.refused


def test_never_and_later_move_packages_down(talk):
    assert talk("never number 1").affected == (1,)
    assert ids(talk("what next?"))[-1] == 1
    assert talk("leave the bags for later").affected == (4, 5)
    standing = talk.wanted()
    assert standing.never == (1,)
    assert set(standing.later) == {4, 5}
    assert standing.preference.track_id == 6
    assert "you said later" in next(entry for entry in talk("what next?").ranked if entry.track_id == 4).reasons


def test_explanations_carry_the_numbers(talk):
    assert "4.1 mm" in talk("why not number 7?").reply
    words = talk("why not the white box?").reply
    assert "lies under 5" in words
    assert "55 %" in words
    assert "Number 1 comes first with 93 %" in words


def test_weak_points_are_said_in_plain_words(talk):
    scene = talk.described.scene
    weak = {"seal": 0.9, "margin": 0.31, "edge": 0.65, "mask": 0.1}
    first = next(track.label for track in scene.tracks if track.track_id == 1)
    talk.described = dataclasses.replace(talk.described, scene=dataclasses.replace(scene, grasps=tuple(
        dataclasses.replace(grasp, terms=weak) if grasp.label == first else grasp for grasp in scene.grasps)))
    entry = next(entry for entry in talk("what next?").ranked if entry.track_id == 1)
    assert entry.reasons == ("nothing on it", "the spot is close to the package's edge")
    words = talk("why number 1?").reply
    assert words.count("the spot is close to the package's edge, the cup's lip reaches the package's edge") == 1
    assert "0.31" not in words
    assert "rough" not in words
    for kind, terms in ranking.TERMS.items():
        assert set(terms) <= set(score.TERMS[kind])


def test_what_left_the_belt_leaves_the_conversation(talk):
    talk("number 4")
    talk("never this one")
    talk.later(5, without=(4,))
    advice = talk("take that one")
    assert "Number 4 has left the belt" in advice.reply
    assert advice.done == ""
    assert talk.wanted().never == ()


def test_a_taken_package_that_leaves_is_no_longer_wanted(talk):
    talk("take number 6")
    talk.later(5, without=(6,))
    assert talk.wanted().preference.source != "operator"
    talk.later(40)
    assert talk.wanted().preference.source != "operator"


def test_two_operators_share_choices_but_not_what_they_talk_about(scenes):
    one = Talk(scenes["mixed"])
    two = Talk(scenes["mixed"], one.advisor, "two")
    one("only boxes")
    assert len(ids(two("how many are there?"))) == 7
    one("never number 3")
    assert "never list" in two("take number 3").reply
    assert two("take number 6").done == "take"
    assert one("undo").done == "undo"
    assert one.wanted().preference.track_id == 6


def test_a_silent_conversation_is_forgotten(talk):
    talk("only boxes")
    talk("never number 1")
    talk.later(3600)
    assert talk.wanted().never == ()
    advice = talk("how many are there?")
    assert "forgotten" in advice.reply
    assert len(ids(advice)) == 7


def test_a_tracker_that_started_over_forgets_packages_but_not_the_narrowing(talk):
    talk("only boxes")
    talk("take number 6")
    talk.advisor.reset()
    assert talk.wanted().preference.source != "operator"
    assert set(ids(talk("how many are there?"))) == {1, 2, 6}


def test_what_was_picked_is_no_longer_wanted_and_outcomes_move_the_score(talk):
    before = {entry.track_id: entry.score for entry in talk("take number 6").ranked}
    for _ in range(5):
        talk.advisor.learn(6, "suction", False)
    assert talk.wanted().preference.source != "operator"
    after = {entry.track_id: entry.score for entry in talk("what next?").ranked}
    assert after[6] < before[6] - 0.05


def test_choices_of_the_operator_move_the_order_of_the_alike(scenes):
    rows = [{"id": n, "class": kind, "colour": "white", "at": [0.1 + 0.2 * n, 0.5], "size_mm": [200, 150, 60], "suction": score}
            for n, kind, score in ((1, "box", 0.85), (2, "padded_mailer", 0.84), (3, "box", 0.40))]
    talk = Talk(build({"focus": 0, "packages": rows}))
    assert ids(talk("what next?"))[0] == 1
    for _ in range(4):
        talk("take number 2")
        talk("undo")
    assert ids(talk("what next?")) == [2, 1, 3]


@pytest.mark.parametrize("text", ["", "   ", "x" * 301, "\u0642\u0627\u0644", "\U0001f4e6" * 40, "take", "?" * 300, "0" * 300,
                                  "a " * 150])
def test_bad_text_changes_nothing(talk, text):
    talk("only boxes")
    advice = talk(text)
    assert advice.reply
    assert advice.done == ""
    assert set(ids(talk("how many are there?"))) == {1, 2, 6}


def test_many_conversations_do_not_grow_without_bound(scenes):
    advisor = Advisor()
    for number in range(200):
        Talk(scenes["mixed"], advisor, f"session {number}")("only boxes")
    assert len(list(advisor._sessions.living(SECOND))) <= 32


def test_an_empty_belt_is_answered(scenes):
    talk = Talk(scenes["empty"])
    assert "nothing to pick" in talk("what should I pick?").reply
    assert talk.wanted().preference is None


@pytest.mark.parametrize(("rgb", "name"), [
    ((240, 240, 238), "white"), ((20, 20, 25), "black"), ((130, 132, 128), "grey"), ((160, 118, 76), "brown"),
    ((200, 30, 30), "red"), ((235, 205, 40), "yellow"), ((40, 70, 190), "blue"), ((40, 150, 60), "green")])
def test_colours_have_the_names_that_people_use(rgb, name):
    assert name in colour_names(*rgb)


@pytest.mark.parametrize(("text", "left"), [
    ("i dont want the brown box", {2, 3, 4, 5, 7}), ("anything but the white bag", {1, 2, 3, 4, 6, 7}),
    ("not the brown or white boxes", {3, 4, 5, 7}), ("no mailers and no bags", {1, 2, 6}), ("no brown boxes and bags", {2, 3, 7}),
    ("nothing white or yellow", {1, 4, 6})])
def test_what_is_refused_together_is_left_out_together(talk, text, left):
    assert set(ids(talk(text))) == left


def test_a_number_that_is_refused_leaves_the_list_and_is_not_meant(talk):
    talk("take 6")
    refused = talk("not 6")
    assert 6 not in ids(refused)
    assert "6 is no longer wanted" in refused.reply
    assert talk.wanted().preference.source != "operator"
    assert talk("take it").asks
    assert "without number 6" in talk("what next?").reply
    talk.later(10, without=(6,))
    assert "without" not in talk("what next?").reply


def test_i_said_the_other(talk):
    assert ids(talk("not 6 but 1")) == [1]


@pytest.mark.parametrize("no", ["no", "no not that one", "wait no"])
def test_no_after_a_choice_withdraws_it(talk, no):
    talk("take 6")
    taken_back = talk(no)
    assert taken_back.done == "undo"
    assert "6 is no longer wanted" in taken_back.reply
    assert talk.wanted().preference.source != "operator"
    assert talk("undo").done == "undo"
    assert talk.wanted().preference.track_id == 6


def test_no_where_nothing_is_wanted_changes_nothing(talk):
    assert talk("no").done == ""


def test_it_is_nothing_that_was_meant_before_the_last_one_was_not_found(talk):
    talk("what next?")
    assert "no purple" in talk("the purple one").reply
    assert talk("take it").asks
    assert talk.wanted().preference.source != "operator"


def test_it_after_words_that_were_not_understood_is_asked_back(talk):
    talk("what next?")
    assert talk("not that one, it looks damaged").asks
    asked = talk("take it")
    assert (asked.asks, asked.done, asked.highlights) == (True, "", (1,))
    assert talk("yes").affected == (1,)


def test_ok_take_it_is_asked_back_and_plain_ok_is_not(talk):
    talk("what next?")
    assert not talk("ok").asks
    talk("what next?")
    assert talk("ok take it").reply.startswith("Take 1 (box)?")
    assert talk("yes").done == "take"


@pytest.mark.parametrize(("text", "meant"), [
    ("the second biggest box", 2), ("third from the left", 2), ("second from the right", 3),
    ("the 2nd tallest", 2)])
def test_places_are_counted_along_what_was_named(talk, text, meant):
    talk("what next?")
    assert talk(text).highlights == (meant,)


def test_a_place_in_no_list_is_said_to_be_one(talk):
    assert "listed nothing yet" in talk("the third one").reply
    assert talk("the fifth biggest box").highlights == ()


@pytest.mark.parametrize("text", ["stop", "STOP THE ROBOT", "emergency stop now"])
def test_who_wants_a_stop_is_told_where(talk, text):
    assert "cell's own stop" in talk(text).reply


def test_who_tells_what_happened_is_told_where(talk):
    told = talk("6 failed")
    assert told.done == ""
    assert "Nothing was noted" in told.reply
    assert "Nothing was noted" not in talk("take 6").reply
