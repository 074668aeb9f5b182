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
