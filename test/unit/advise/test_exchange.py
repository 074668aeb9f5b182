"""Lines that depend on the lines before, and lines that hold two requests."""

import pytest

from perception_node.advise.advisor import Advisor


@pytest.fixture
def talk(scenes):
    advisor, described = Advisor(), scenes["row"]

    def say(text):
        return advisor.ask(text, described.scene, "one", described.rgb)
    say.standing = lambda: advisor.standing(described.scene, described.rgb)
    return say


def wanted(talk):
    preference = talk.standing().preference
    return preference.track_id if preference.source == "operator" else None


@pytest.mark.parametrize("text", ["i meant 14", "no, 14", "sorry, 14", "actually 14", "14 instead", "not 11, 14", "not 11 but 14",
                                  "no, the red one", "oops, i mean the red box", "wait, 14", "sorry, take 14"])
def test_a_correction_withdraws_the_wish_and_asks_for_what_was_meant(talk, text):
    talk("take 11")
    asked = talk(text)
    assert (asked.asks, asked.done, asked.highlights, wanted(talk)) == (True, "", (14,), None)
    assert "Number 11 is no longer wanted" in asked.reply
    assert talk("yes").affected == (14,)
    assert wanted(talk) == 14


def test_a_corrected_wish_does_not_stand_on_when_nothing_fits(talk):
    talk("take 11")
    assert "no number 99" in talk("no, 99").reply
    assert wanted(talk) is None
    assert talk("take it").done == ""


def test_it_is_what_was_asked_for_after_a_correction(talk):
    talk("take 11")
    talk("sorry, 14")
    assert talk("take it").affected == (14,)


@pytest.mark.parametrize("text", ["actually 11", "what is 14?", "14", "no bags", "sorry, only the bags", "how many bags?"])
def test_what_corrects_nothing_leaves_the_wish(talk, text):
    talk("take 11")
    talk(text)
    assert wanted(talk) == 11


def test_never_of_the_line_before_is_corrected_alike(talk):
    talk("never 11")
    asked = talk("i meant 14")
    assert (asked.asks, talk.standing().never) == (True, ())
    talk("yes")
    assert talk.standing().never == (14,)
    talk("what next?")
    talk("i meant 12")
    assert talk.standing().never == (14,)


def test_a_question_of_ours_is_corrected(talk):
    assert talk("can you take 11").asks
    assert talk("no, 14").highlights == (14,)
    assert talk("yes").affected == (14,)


@pytest.mark.parametrize("text", ["take 11 and never 12", "never 12 and take 11", "take 11, never 12", "take 11 never 12",
                                  "take 11 and leave 12 for later", "take 11. skip 12", "take 11 now and 12 later",
                                  "take 11 and count the bags", "take 11 and tell me about 12", "no, take 11 and never 12"])
@pytest.mark.parametrize("before", ["what next?", "can you take 14"])
def test_two_requests_in_one_line_are_asked_for_one_at_a_time(talk, text, before):
    talk(before)
    advice = talk(text)
    assert "One thing at a time" in advice.reply
    assert (advice.asks, advice.done, advice.highlights) == (True, "", ())
    assert talk("yes").done == ""
    assert (wanted(talk), talk.standing().never, talk.standing().later) == (None, (), ())


@pytest.mark.parametrize(("text", "never"), [("never 11 and 12", (11, 12)), ("never take 11", (11,)),
                                             ("don't ever take 11", (11,))])
def test_one_request_about_two_packages_is_one(talk, text, never):
    assert talk(text).affected == never


def test_a_refusal_of_two_verbs_is_one_request(talk):
    assert talk("don't take 11 or pick 12").highlights == (11, 12)


@pytest.mark.parametrize("text", ["don't skip 11", "do not avoid 11", "never ignore 11", "don't postpone 11",
                                  "don't exclude the red one"])
def test_who_denies_a_refusal_refuses_nothing(talk, text):
    advice = talk(text)
    assert "nothing is changed" in advice.reply
    assert talk("yes").done == ""
    assert (talk.standing().never, talk.standing().later) == ((), ())


@pytest.mark.parametrize("text", ["don't skip 11", "don't ignore 11", "allow 11?", "allow 11 if it is dry"])
def test_what_is_no_plain_permission_lifts_nothing(talk, text):
    talk("never 11")
    talk(text)
    assert talk.standing().never == (11,)


@pytest.mark.parametrize("text", ["did you take 11?", "did you take 11", "have you taken 11?", "was 11 taken",
                                  "has 11 been picked?"])
def test_what_asks_for_the_past_is_no_choice(talk, text):
    advice = talk(text)
    assert "still in sight" in advice.reply
    assert not advice.asks
    assert talk("yes").done == ""
    assert wanted(talk) is None


@pytest.mark.parametrize("text", ["allow 11 again", "allow 11", "please allow 11", "unblock 11"])
@pytest.mark.parametrize("before", ["never 11", "leave 11 for later"])
def test_allow_takes_a_refusal_back(talk, text, before):
    talk(before)
    assert talk(text).done == "undo"
    assert (talk.standing().never, talk.standing().later) == ((), ())
    talk("undo")
    assert (*talk.standing().never, *talk.standing().later) == (11,)


def test_a_rule_is_allowed_again_as_a_whole_only(talk):
    talk("never the bags")
    assert "Still refused" in talk("allow 17 again").reply
    assert talk.standing().never == (16, 17)
    assert talk("allow the bags again").done == "undo"
    assert talk.standing().never == ()


def test_another_operators_never_is_not_lifted(scenes):
    advisor, described = Advisor(), scenes["row"]
    advisor.ask("never 11", described.scene, "one", described.rgb)
    advice = advisor.ask("allow 11 again", described.scene, "two", described.rgb)
    assert (advice.done, "another operator" in advice.reply) == ("", True)
    assert advisor.standing(described.scene, described.rgb).never == (11,)


@pytest.mark.parametrize(("text", "later"), [
    ("leave seventeen for now", (17,)), ("leave 17 for now", (17,)), ("please leave the bags for now.", (16, 17)),
    ("skip 17 for the moment", (17,)), ("leave 17 for the time being please", (17,)), ("leave it for now", (14,))])
def test_leave_for_now_is_later(talk, text, later):
    talk("number 14")
    assert talk(text).done == "later"
    assert talk.standing().later == later
    assert talk.standing().never == ()


@pytest.mark.parametrize("text", ["don't leave 17 for now", "leave 17 alone for now", "leave 17 for now?"])
def test_what_is_no_plain_leave_for_now_is_not_carried_out(talk, text):
    assert talk(text).done == ""


@pytest.mark.parametrize(("text", "meant"), [
    ("which ones cant be picked", (7,)), ("how many can't be picked", (7,)), ("which can you not pick?", (7,)),
    ("what can't you take", (7,)), ("which boxes can't be picked", ()), ("which mailers have no grasp", (7,)),
    ("how many can't be picked with the jaws", (1, 2, 3, 4, 5, 7))])
def test_those_without_a_grasp_are_said_with_the_reason(scenes, text, meant):
    described = scenes["mixed"]
    advice = Advisor().ask(text, described.scene, "one", described.rgb)
    assert advice.highlights == meant
    assert advice.reply.startswith(f"{len(meant)} of ")
    assert ("narrowest side 150 mm" in advice.reply) == bool(meant)
