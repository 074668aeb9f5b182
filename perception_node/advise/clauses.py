"""Words that mean something else where they stand in a sentence: each rule rewrites the tags of one way of putting things."""

from __future__ import annotations

from dataclasses import replace

from perception_node.advise.tagging import Reading
from perception_node.advise.words import PLURALS, Tag

SLOTS = ("class", "colour", "size", "height", "weight", "where", "lies", "gripper", "score")
_NO_WISH = {"show", "only", "not", "recommend", "help"}
_NAMING = frozenset({"number", "class", "generic", "deixis", "colour", "size", "weight", "most"})
_LISTING = frozenset({"exclude", "dismiss", "disregard", "reject", "eliminate"})
_PICKED = frozenset({"picked", "taken", "grabbed", "touched", "lifted"})
_SUPERLATIVE = {
    "bigger": "biggest", "larger": "biggest", "smaller": "smallest", "heavier": "heaviest", "lighter": "lightest", "taller":
    "tallest", "higher": "tallest", "thicker": "tallest", "flatter": "flattest", "lower": "flattest", "thinner": "flattest",
    "slimmer": "flattest", "longer": "longest", "wider": "biggest", "shorter": "shortest", "better": "best", "safer": "best",
    "easier": "best", "worse": "worst", "riskier": "worst", "harder": "worst"}
_RATED = {"higher": "best", "bigger": "best", "larger": "best", "lower": "worst", "smaller": "worst"}


def settle(reading: Reading) -> None:
    """Apply all rules to the tags of a reading."""
    if not reading.tags:
        return
    _listed(reading)
    _denials(reading)
    _questions(reading)
    _two_of_a_kind(reading)
    _orders(reading)


def _listed(reading: Reading) -> None:
    """`exclude the heavy ones` is for the list, `exclude 4` for the arm; `boxes and items` names a class; `score on 3` no place."""
    tags, words = reading.tags, reading.words
    kinds = {tag.kind for tag in tags}
    for place, tag in enumerate(tags):
        if tag.kind == "never" and words[tag.at] in _LISTING and not {"number", "deixis", "take", "dont"} & kinds \
                and any(words[other.at] in PLURALS for other in tags):
            tags[place] = replace(tag, kind="not")
        elif tag.kind == "generic" and words[tag.at] == "items" and _class_items(reading, place):
            tags[place] = replace(tag, kind="class", value="item", unsure="items")
        elif tag.kind == "relation" and tag.value == "on" and place and tags[place - 1].kind == "about" \
                and tags[place - 1].value in ("score", "weight", "size", "height") \
                and not {"number", "class"} & {before.kind for before in tags[:place]}:
            tags[place] = replace(tag, kind="skip")
    _drop_skipped(reading)


def _class_items(reading: Reading, place: int) -> bool:
    """`boxes and items`, `only items`: beside another class, or as all that is said, items are the goods without packing."""
    tags, words = reading.tags, reading.words
    at = tags[place].at
    near = [tag for tag in tags if tag.kind == "class" and abs(tag.at - at) <= 3]
    joined = any({"and", "or", "not", "no", ",", "but", "than"} & set(words[min(tag.at, at) + 1:max(tag.at, at)]) for tag in near)
    alone = {tag.kind for tag in tags} <= {"only", "not", "generic", "show"} and any(tag.kind in ("only", "not") for tag in tags)
    return joined or (alone and words[at - 1] not in ("all", "those", "these"))


def _denials(reading: Reading) -> None:
    """`if nobody minds` forbids nothing; in `pick any box` nothing is counted; `i dont want 7 picked` and `bags out` refuse."""
    seen: set[str] = set()
    tags, kinds = reading.tags, {tag.kind for tag in reading.tags}
    if _PICKED & set(reading.words) and "take" not in kinds:
        tags[:] = [replace(tag, kind="never", unsure="not") if tag.kind == "not" else tag for tag in tags]
    if "out" in reading.words and reading.words.index("out") == tags[-1].at + 1 and kinds <= {"class", "colour", "size", "generic"}:
        tags.insert(0, Tag("not", "", tags[-1].at + 1))
    for place, tag in enumerate(reading.tags):
        word = reading.words[tag.at]
        if tag.kind == "dont" and word in ("nobody", "noone", "no") and {"take", "modal"} <= seen:
            reading.tags[place] = replace(tag, kind="modal")
        elif tag.kind == "count" and word == "any" and {"take", "not", "dont", "never", "show"} & seen:
            reading.tags[place] = replace(tag, kind="skip")
        seen.add(tag.kind)
    _drop_skipped(reading)


def _questions(reading: Reading) -> None:
    """`is something lying on 2`, `16, is that a box or a bag`, `can 12 be picked with the jaws`, `can we use suction on it`."""
    tags, words = reading.tags, reading.words
    if [tag.kind for tag in tags[:3]] == ["number", "is", "deixis"]:
        tags[:3] = [tags[1], tags[0]]
    if words[0] in ("has", "have") and tags and tags[0].kind in ("number", "deixis", "class"):
        tags.insert(0, Tag("is", "", 0))
    asks = words[0] in ("is", "are", "does", "do", "has", "have", "did")
    kinds = [tag.kind for tag in tags]
    if "relation" in kinds:
        place = kinds.index("relation")
        before, after = set(kinds[:place]), set(kinds[place + 1:])
        things = [tag for tag in tags[:place] if tag.kind == "generic"]
        named = bool({"number", "class", "deixis", "generic", "colour"} & before)
        if tags[place].value == "on" and asks and things and before <= {"is", "modal", "count", "generic"} and after & _NAMING:
            tags[:place + 1] = [Tag("about", "lies", tags[place].at)]
        elif words[tags[place].at] == "on" and "gripper" in before and not named:
            del tags[place]
    kinds = [tag.kind for tag in tags]
    one = {"number", "class", "deixis"} & set(kinds)
    if not one or not ("gripper" in kinds or any(tag.value == "gripper" for tag in tags)):
        return
    verbs = {words[tag.at] for tag in tags if tag.kind == "take"}
    inquiring = kinds[0] == "modal" and "you" not in words[:2] and (verbs <= {"be", "use"} or kinds[1] == "gripper")
    if inquiring and "dont" not in kinds and "not" not in kinds:
        ours = [tag for tag in tags if tag.kind not in ("take", "gripper", "modal")]
        tags[:] = [Tag("about", "gripper", tags[0].at), *ours]
    elif kinds[:2] in (["gripper", "gripper"], ["is", "gripper"]) and "take" not in kinds:
        kept = [tag for tag in tags if tag.kind not in ("gripper", "is", "confirm", "score")]
        tags[:] = [Tag("about", "gripper", tags[0].at), *kept]
    elif kinds[0] == "about" and tags[0].value == "gripper" and verbs <= {"use", "need", "want", "get", "we", "i"}:
        tags[:] = [tag for tag in tags if tag.kind not in ("take", "modal")]


def _two_of_a_kind(reading: Reading) -> None:
    """`which bag is bigger`, `which has the better score`: of several, the one that has more of it."""
    words, kinds = reading.words, [tag.kind for tag in reading.tags]
    if kinds.count("number") == 2 and kinds[0] == "is" and "other" in kinds and "better" in words:  # "is 1 or 6 the better choice"
        reading.tags = [replace(tag, kind="comparative", value="score") if tag.kind == "other" else tag for tag in reading.tags]
        return
    asked = [tag.value for tag in reading.tags if tag.kind == "wh"]
    several = {"than", "are", "ones", "not", "dont"} & set(words)
    if not asked or "how" in asked or several or {"number", "explain", "take"} & set(kinds):
        return
    scored = any(tag.kind == "about" and tag.value == "score" for tag in reading.tags)
    for place, tag in enumerate(reading.tags):
        word = next((word for word in words[tag.at:tag.at + 2] if word in _SUPERLATIVE), "")
        if tag.kind in ("size", "height", "weight", "comparative", "other") and word:
            most = _RATED.get(word, _SUPERLATIVE[word]) if scored else _SUPERLATIVE[word]
            reading.tags[place] = Tag("most", most, tag.at)
            reading.tags = [other for other in reading.tags if not (scored and other.kind == "about")]
            return


def _orders(reading: Reading) -> None:
    """`the ones suction can take`, `do 6 first`, `the mailer should be next`, `boxes first, bags later`."""
    tags = reading.tags
    if "list" in reading.words:  # "exclude the bags from the list"
        out = [tag for tag in tags if tag.kind == "never" or (
            tag.kind == "take" and {"out", "off", "away"} & set(reading.words[tag.at + 1:tag.at + 2]))]
        tags[:] = [replace(tag, kind="not", unsure="") if tag in out else tag for tag in tags]
    kinds = [tag.kind for tag in tags]
    for place, tag in enumerate(tags):
        before = kinds[:place]
        wish = "pick" not in reading.words and reading.words[tag.at] in ("want", "i", "id", "need", "we", "prefer")
        bound = before[-2:] == ["modal", "gripper"] and "wh" in before
        if tag.kind == "take" and before[-2:] == ["gripper", "modal"]:
            tags[place] = replace(tag, kind="skip")
            tags[place - 1] = replace(tags[place - 1], kind="skip")
        elif tag.kind == "take" and place > 1 and before[-1] == "modal" and before[0] in ("generic", "class", "deixis") \
                and reading.words[tags[place - 1].at - 1] in ("i", "we", "you", "robot", "arm"):  # "ones we can grab with the jaws"
            tags[place], tags[place - 1] = replace(tag, kind="skip"), replace(tags[place - 1], kind="skip")
        elif tag.kind == "take" and (bound or (wish and _NO_WISH & set(kinds))):
            tags[place] = replace(tag, kind="skip")
    ends = tags[-1].value if tags and tags[-1].kind == "ordinal" and reading.words[tags[-1].at - 1] not in ("the", "number") else ""
    if "take" in kinds and ends == "-1":  # "pick the bags last"
        tags[:] = [Tag("later", "", tags[-1].at), *(tag for tag in tags[:-1] if tag.kind != "take")]
    elif "take" in kinds and ends == "1" and len(tags) > 2:  # "get the white bag first"
        tags.pop()
    kinds = [tag.kind for tag in tags]
    if "later" in kinds and "ordinal" in kinds[:-1]:  # "boxes first, bags later"
        place = kinds.index("ordinal")
        before, after = kinds[:place], kinds[place + 1:]
        if tags[place].value == "1" and "later" in after and _NAMING & set(before) and _NAMING & set(after):
            reading.unsure.append(reading.words[tags[place].at])
            del tags[:place + 1]
        kinds = [tag.kind for tag in tags]
    named = _NAMING & set(kinds)
    if named and "wh" not in kinds and kinds[-1] in ("recommend", "ordinal") and reading.words[tags[-1].at] in ("next", "first") \
            and {"should", "must"} & set(reading.words[1:]):  # "the mailer should be next"
        tags[-1] = replace(tags[-1], kind="take", unsure="should")
    elif named and tags and not {"wh", "explain", "take", "show"} & set(kinds):
        last = tags[-1]
        if last.kind == "ordinal" and last.value == "-1" and reading.words[last.at - 1] != "the":
            tags[-1] = replace(last, kind="later")
        elif ((last.kind == "ordinal" and last.value == "1") or (last.kind == "recommend" and reading.words[last.at] == "next")) \
                and reading.words[last.at - 1] not in ("the", "whats", "is", "what") and "modal" not in kinds[1:]:
            tags[-1] = replace(last, kind="take")
            tags[:] = [tag for tag in tags if tag.kind != "modal" or reading.words[tag.at] != "do"]
    _drop_skipped(reading)


def _drop_skipped(reading: Reading) -> None:
    reading.tags = [tag for tag in reading.tags if tag.kind != "skip"]
