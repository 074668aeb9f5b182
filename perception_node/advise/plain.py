"""What keeps a choice from being carried out at once: words that may mean something else than a plain order."""

from __future__ import annotations

from collections.abc import Sequence

from perception_node.advise.request import Action
from perception_node.advise.tagging import Reading
from perception_node.advise.words import DOUBLE, FILL, LEXICON, LONGEST, PLAIN, Tag

_ORDERS = frozenset({"take", "never", "later", "not", "dont", "class", "colour", "size", "height", "weight", "where", "lies",
                     "gripper", "score", "amount", "number", "deixis", "generic", "most", "ordinal", "relation", "recommend",
                     "modal", "only", "is", "confirm", "but", "number_word"})
"""Kinds of tags that a plain order may have."""
_ANSWERS = frozenset({"class", "colour", "size", "height", "weight", "where", "lies", "gripper", "amount", "number", "deixis",
                      "generic", "most", "ordinal", "relation", "confirm", "take"})
"""Kinds of tags that an answer to our question may have."""
_TURNS = frozenset(["isnt", "dont", "now", "see", "look", "else", "back", "leave", "stop", "wait", "instead"])
_NAMING = frozenset({"number", "class", "colour", "deixis", "generic", "most", "size", "weight", "where"})
_ASKS = frozenset(["is", "are", "was", "were", "has", "have", "had", "did", "does", "am", "will", "would", "why", "how", "who",
                   "isnt", "arent", "should", "shall", "may", "might", "could", "can", "what", "which", "when", "where"])
_OF_THE_LIST = frozenset(["list", "listed", "ranking", "suggested", "recommended", "suggestions", "suggestion"])
_PEOPLE = frozenset(["you", "we", "they", "it", "he", "she", "has", "have", "had", "was", "were", "ive", "weve", "youve",
                     "robot", "arm"])
_NOUNS = frozenset({"number", "class", "generic", "deixis", "colour", "size", "height", "weight", "most", "amount", "ordinal"})
_TO = frozenset(["for", "to", "from", "with", "at", "until", "till"])
_BEFORE_SIDES = frozenset(["the", "bottom", "top", "upper", "lower", "that", "this", "far", "on", "at"])
_SIDES = frozenset(["left", "right", "row", "half", "corner"])
_HABITS = frozenset(["want", "wanted", "ever"])


def doubts(reading: Reading, action: Action) -> list[str]:
    """Words of a choice (take, never, later) that make it be confirmed first; [] = a plain order."""
    words, tags = reading.words, reading.tags
    found = [word for word in reading.loose if word not in FILL[action] and word[0].isalpha()]
    found += [words[tag.at] for tag in tags if tag.kind not in _ORDERS]
    found += [phrase for phrase in reading.skipped if phrase not in PLAIN["aside"] and phrase not in PLAIN[f"{action} aside"]]
    if action == "never" and not reading.has("never", "dont") and not {"leave", "alone"} <= set(words):
        found += [phrase for phrase in (phrase_at(words, tag) for tag in tags if tag.kind == "not") if phrase not in PLAIN["not"]]
    found += [phrase_at(words, tag) for place, tag in enumerate(tags) if _two_meanings(reading, action, place)]
    if (words[0] in _ASKS and not (words[0] == "have" and action == "take")) or (words[0] == "do" and _PEOPLE & set(words[1:2])):
        found.append(words[0])
    if [tag.kind for tag in tags if tag.kind in _NAMING] == ["deixis"] and "the one" in [phrase_at(words, tag) for tag in tags] \
            and not reading.has("relation", "height", "score", "lies", "ordinal"):
        found.append("the one")
    refusals = [words[tag.at] for tag in tags if tag.kind in ("never", "dont", "not")]
    found += refusals[1:] if action == "never" else refusals  # "don't avoid 6", "never leave it for later"
    if action != "take":
        found += [word for word in words if word in ("first", "next")]  # "don't take 6 first"
    found += [words[tag.at] for tag in tags if tag.kind == "most" and tag.value == "worst"]
    found += _told(reading) + _bare(reading)
    leading = {words[tag.at - 1] for tag in tags if tag.kind == "number" and tag.at} & set(reading.loose)
    found += sorted(leading & (_TO if action == "take" else {"to"}))  # "pick one for 6", "defer to 6"
    if action != "take":
        found += [words[tag.at] for tag in tags if tag.kind in ("only", "but") and words[tag.at] != "keep"]
        found += ["one of"] if ("one", "of") in zip(words, words[1:], strict=False) else []
    if action == "take" or reading.has("take", "deixis"):
        found += _joined(words, tags, ("and", "or", "then", "plus"))
    if not reading.has("number") or reading.has("take"):
        found += _joined(words, tags, (",", ";", "."))
    return found


def no_answer(reading: Reading) -> list[str]:
    """Words that keep a description from being an answer to "which one: 1 or 6?"; what is asked or refused chooses nothing."""
    words = reading.words
    found = [words[tag.at] for tag in reading.tags if tag.kind not in _ANSWERS or (tag.kind == "number" and words[tag.at] == "no")]
    return found + [word for word in reading.loose if word in _TURNS] + reading.skipped


def _two_meanings(reading: Reading, action: Action, place: int) -> bool:
    """True when a phrase is none that a choice may rest on."""
    words, tag = reading.words, reading.tags[place]
    phrase = phrase_at(words, tag)
    if tag.kind in ("take", "never", "later", "dont"):
        return phrase not in PLAIN[tag.kind]
    if tag.kind in ("modal", "is") and action != "take":
        return phrase not in PLAIN[f"{action} beside"]
    if tag.kind == "ordinal":
        return action != "take" or not _OF_THE_LIST & set(words)
    if tag.kind == "recommend":
        return action != "take" or phrase != "next"
    if tag.kind == "number":
        return words[tag.at] == "no"  # "take no 6"
    if tag.kind == "where" and phrase in ("left", "right") and place and words[tag.at - 1] not in _BEFORE_SIDES:
        return True  # "take the one left"
    return phrase in DOUBLE.get(tag.kind, ()) and not (tag.kind == "where" and _corner(words, tag, phrase))


def phrase_at(words: Sequence[str], tag: Tag) -> str:
    """The words that a tag was read from, as far as they are a phrase of its kind; else its first word."""
    for size in range(min(LONGEST, len(words) - tag.at), 0, -1):
        if LEXICON.get(tuple(words[tag.at:tag.at + size]), ("",))[0] in (tag.kind, "limit"):
            return " ".join(words[tag.at:tag.at + size])
    return words[tag.at]


def _corner(words: Sequence[str], tag: Tag, phrase: str) -> bool:
    """`top right`: two sides say a place."""
    end = tag.at + len(phrase.split())
    after = phrase == "right" and words[tag.at - 1] in ("top", "bottom", "upper", "lower", "on")
    return after or bool(_SIDES & set(words[end:end + 1]))


def _told(reading: Reading) -> list[str]:
    """`you never take 6`, `number 4 was never picked` tell what is; nothing is ordered by it."""
    words = reading.words
    return [words[tag.at - 1] for tag in reading.tags if tag.kind == "never" and tag.at and words[tag.at] == "never" and (
        words[tag.at - 1] in _PEOPLE or words[tag.at - 1] == "i" and not _HABITS & set(words[tag.at + 1:tag.at + 2]))]


def _bare(reading: Reading) -> list[str]:
    """`avoid the left`, `never with the jaws`, `hold back on the bag`: no package is named, only a property or a neighbour."""
    kinds = [tag.kind for tag in reading.tags]
    named = kinds[:kinds.index("relation")] if "relation" in kinds else kinds
    if not _NOUNS & set(named) and "one" not in reading.words and {"where", "gripper", "lies", "relation", "score"} & set(kinds):
        return [reading.words[reading.tags[-1].at]]
    every = [word for word in (reading.words[tag.at] for tag in reading.tags if tag.kind == "generic")
             if word in ("all", "everything", "lot")]
    return every if any(tag.kind == "deixis" and tag.value == "that" for tag in reading.tags) else []


def _joined(words: Sequence[str], tags: Sequence[Tag], joints: Sequence[str]) -> list[str]:
    """`take that and the red one`: two are named, and it is not plain that one description covers both."""
    naming = [tag for tag in tags if tag.kind in _NAMING]
    return [word for at, word in enumerate(words) if word in joints and naming and naming[0].at < at
            and any(tag.at > at and tag.kind != "deixis" for tag in naming)]
