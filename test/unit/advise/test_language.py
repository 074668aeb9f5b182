"""What operators say is understood, on collected utterances; and whatever is typed, nothing is chosen that was not meant."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception_node.advise.advisor import Advisor
from perception_node.advise.grammar import understand
from perception_node.advise.request import CHOICES
from perception_node.advise.words import corrected
from perception_node.bench.advise import choices
from perception_node.bench.utterances import load_scenes, load_utterances
from perception_node.errors import DatasetError

WORDS = ("take", "pick", "the", "a", "not", "never", "box", "bag", "one", "white", "left", "6", "7", "it", "and", "or", "but", "if",
         "biggest", "under", "on", "mailer", "yes", "no", "undo", "what", "why", "later", "can", "you", "please", "number")


@pytest.mark.parametrize(("name", "action", "arguments"), [
    ("utterances", 0.97, 0.93), ("rehearsal", 0.97, 0.93), ("fresh", 0.95, 0.94), ("final", 0.93, 0.93),
    ("strangers", 0.97, 0.97), ("practice", 0.97, 0.97), ("unseen", 0.97, 0.97),
    ("independent", 0.95, 0.92)])
def test_collected_utterances_are_understood(folder, scenes, name, action, arguments):
    utterances = load_utterances(folder, name)
    requests = [understand(utterance.text) for utterance in utterances]
    actions = [request.action == said.action for request, said in zip(requests, utterances, strict=True)]
    slots = [ok and request.slots() == said.slots for ok, request, said in zip(actions, requests, utterances, strict=True)]
    assert np.mean(actions) >= action
    assert np.mean(slots) >= arguments
    assert choices(utterances, scenes)["wrong"] == []


def test_there_are_enough_utterances(folder):
    assert len(load_utterances(folder)) >= 400


def test_slips_of_the_keyboard_never_choose_something_else(folder, scenes):
    random = np.random.default_rng(7)
    taking = [said for said in load_utterances(folder) if said.action == "take" and said.scene == "mixed"]
    done = 0
    for said in taking:
        for _ in range(4):
            text = slipped(said.text, random)
            advisor = Advisor()
            described = scenes[said.scene]
            advisor.ask("how many are there?", described.scene, "x", described.rgb)
            advisor.point([described.focus], described.scene, "x")
            advice = advisor.ask(text, described.scene, "x", described.rgb)
            if advice.done == "take":
                done += 1
                assert frozenset(advice.affected) == said.target, f"{text!r} for {said.text!r}: {advice.reply}"
    assert done > len(taking)


def slipped(text, random):
    """One letter swapped with its neighbour, doubled, left out or hit beside."""
    letters = [i for i in range(len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha()]
    i = int(random.choice(letters))
    kind = random.integers(4)
    if kind == 0:
        return text[:i] + text[i + 1] + text[i] + text[i + 2:]
    if kind == 1:
        return text[:i] + text[i] + text[i:]
    if kind == 2:
        return text[:i] + text[i + 1:]
    return text[:i] + "qwertyuiopasdfghjklzxcvbnm"[int(random.integers(26))] + text[i + 1:]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=400))
def test_any_text_gets_an_answer_in_words(text):
    described = _scenes()["mixed"]
    advice = Advisor().ask(text, described.scene, "someone", described.rgb)
    assert advice.reply
    if advice.done == "take":  # "atke1" is a slip of the finger: what is done is said, and done to packages in sight
        assert advice.affected
        assert set(advice.affected) <= {track.track_id for track in described.scene.tracks}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=9))
def test_any_order_of_known_words_gets_an_answer(words):
    described = _scenes()["mixed"]
    advice = Advisor().ask(" ".join(words), described.scene, "someone", described.rgb)
    assert advice.reply
    if advice.done == "take":
        assert len(advice.affected) == 1
        assert {"take", "pick", "6", "next"} & set(words)
        assert not {"not", "never", "if", "but", "can", "why", "what"} & set(words)


@pytest.mark.parametrize(("typed", "meant"), [("nubmer", "number"), ("bxo", "box"), ("yelow", "yellow"), ("mailrs", "mailers")])
def test_slips_are_mended(typed, meant):
    assert corrected(typed)[0] == meant


@pytest.mark.parametrize("word", ["football", "care", "house", "lunch", "xkcdqz"])
def test_other_words_are_left_alone(word):
    assert not any(other != word for other in corrected(word))


@pytest.mark.parametrize("text", ["can you take number 6?", "i'd take 6", "if you can take 6", "take 6 unless it is wet",
                                  "take 6 maybe", "take the box under", "should we take 6", "did you take 6",
                                  "take 6 but slowly", "take 6, rather not", "dont forget to take 6",
                                  "do not forget to take 6 tomorrow", "hold on, take 6", "i wouldn't take 6",
                                  "take 6 if nobody minds", "boxes first, bags later", "not the bags now, later",
                                  "number 6 should be next", "letstake6", "don't postpone 6", "never leave 6 for later",
                                  "don't avoid 6", "don't take 6 first", "don't just take 6", "never only boxes", "is 6 for later",
                                  "you never take 6", "number 6 was never picked", "never take two bags at once",
                                  "don't take 6 right now", "take 6, leave 4 for later", "pick one for 6", "take the bigger one",
                                  "take the top one", "take the right box", "take the last one", "take the other one",
                                  "take that and the yellow one", "take no 6", "get 6 up on the screen", "fourth one down the list",
                                  "exclude the bags", "skip number 6", "the box at the end", "take it easy", "avoid the left"])
def test_what_is_no_plain_order_is_confirmed_first(scenes, text):
    described = scenes["mixed"]
    advisor = Advisor()
    advice = advisor.ask(text, described.scene, "x", described.rgb)
    assert understand(text).action in CHOICES | {"recommend", "select", "unknown", "filter", "describe"}
    assert advice.done == ""


@pytest.mark.parametrize("text", ["not 6", "no 6", "where is 6", "what about 6?", "show 6", "the other one", "yes?", "why not",
                                  "the big one, isn't it", "don't take 6", "hide 6"])
@pytest.mark.parametrize("question", ["take the brown box", "can you take 6"])
def test_what_is_no_answer_to_our_question_chooses_nothing(scenes, question, text):
    described = scenes["mixed"]
    advisor = Advisor()
    assert advisor.ask(question, described.scene, "x", described.rgb).asks
    assert advisor.ask(text, described.scene, "x", described.rgb).done == ""


@pytest.mark.parametrize(("text", "action", "slots"), [
    ("the next item", "recommend", set()), ("how many items", "count", set()), ("that item", "select", {"deixis=that"}),
    ("item 6", "select", {"number=6"}), ("items on the left", "filter", {"where=left"}), ("only items", "filter", {"class=item"}),
    ("boxes and items", "filter", {"class=box", "class=item"}), ("how many loose items", "count", {"class=item"}),
    ("never the items", "never", set()), ("take number twenty one", "take", {"number=21"})])
def test_item_is_any_package_unless_goods_are_plainly_meant(text, action, slots):
    request = understand(text)
    assert (request.action, request.slots()) == (action, slots)


def test_a_broken_file_of_utterances_is_refused(tmp_path):
    (tmp_path / "utterances.txt").write_text("mixed | hello | sing | |\n")
    with pytest.raises(DatasetError, match=r"utterances\.txt:1: expected scene"):
        load_utterances(tmp_path)
    with pytest.raises(DatasetError, match="expected the collected utterances"):
        load_utterances(tmp_path / "nowhere")


def _scenes(cache={}):  # noqa: B006
    if not cache:
        cache.update(load_scenes(Path(__file__).resolve().parents[2] / "data" / "utterances"))
    return cache
