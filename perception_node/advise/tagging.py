"""Text -> tags: slips corrected, phrases found, numbers read. What is left over is said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from perception_node.advise.words import (
    AFTER_NUMBER_LIMIT,
    AMBIGUOUS,
    LEXICON,
    LONGEST,
    NEUTRAL,
    NUMBER_SIGNS,
    NUMBER_WORDS,
    SPLIT,
    UNITS,
    VOCABULARY,
    Tag,
    corrected,
    tokens,
)

MAX_TOKENS = 60
_DONE = frozenset(["done", "finished", "ready", "complete", "completed", "packed", "sorted"])
_OPEN = frozenset(["not", "isnt", "dont", "when", "if", "once", "after", "until", "till", "why", "what", "which", "never", "take"])
"""Words of a beginning that tells what was done, and words that make it more than that."""
_RELATIVE = frozenset(["is", "are", "has", "have", "can", "could", "lies", "lie", "sits", "weighs", "weigh", "suction", "you", "we",
                       "i"])
_UPWARDS = frozenset(["more", "better", "above", "over", "up", "higher", "heavier", "longer", "bigger", "larger", "taller"])
_DOWNWARDS = frozenset(["less", "worse", "below", "under", "down", "lower", "lighter", "shorter", "smaller", "flatter"])
_PLACES = frozenset(["line", "lane", "bay", "station", "dock", "gate", "room", "door", "shift", "floor", "camera", "cell", "level"])
"""What else has numbers."""
_POINTERS = NUMBER_SIGNS | {"the", "that", "this", "one"}
_FOR_NOW = frozenset({("for", "now"), ("for", "the", "moment"), ("for", "the", "time", "being"), ("for", "a", "while")})
_LENGTHENED = re.compile(r"([a-z])\1{2,}")
_COMPARED = {"heavier": "weight", "lighter": "weight", "heavy": "weight", "bigger": "size", "smaller": "size", "larger": "size",
             "longer": "size", "wider": "size", "taller": "height", "higher": "height", "flatter": "height", "thicker": "height",
             "better": "score", "safer": "score", "easier": "score"}


@dataclass
class Reading:
    """The tags of a text, words that are not understood, words that may mean several things, known ones without a tag, and
    phrases that were passed over."""

    words: list[str]
    tags: list[Tag] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def has(self, *kinds: str) -> bool:
        """True when a tag of one of these kinds is there."""
        return any(tag.kind in kinds for tag in self.tags)


def read(text: str) -> tuple[list[str], list[str], list[str]]:
    """(words with slips corrected, words that no known word is near, words that several known words are near)."""
    return spelled(_plain(tokens(text)[:MAX_TOKENS]))


def _plain(raw: Sequence[str]) -> list[str]:
    """`no. 7` is `no 7`; `y not` is `why not`."""
    words = ["nr" if word == "no" and raw[i + 1:i + 2] == ["."] and raw[i + 2:] and raw[i + 2][0].isdigit() else
             _LENGTHENED.sub(r"\1", word) for i, word in enumerate(raw) if not (word == "." and i and raw[i - 1] in NUMBER_SIGNS)]
    words = ["than" if word == "then" and words[i - 1] in _COMPARED else word for i, word in enumerate(words)]  # "heavier then 3"
    correcting = words[:1] in (["no"], ["nope"]) and (words[1:2] in ([","], ["the"]) or words[1:3] == ["i", "mean"])
    if correcting and words[2:3] not in (["not"], ["dont"]) and any(word[0].isdigit() or word in _POINTERS for word in words[1:]):
        words = words[1:]  # "no, the left one"
    if words[:1] == ["right"] and len(words) > 3 and words[1] in (",", "then", "so", "well", "ok"):
        words = words[2:]  # "right then, take 6"
    stop = next((i for i, word in enumerate(words) if word in (",", ".", ";", "!")), 0)
    if _DONE & set(words[:stop]) and not _OPEN & set(words[:stop]) and any(word[0].isalnum() for word in words[stop:]):
        words = words[stop + 1:]  # "done with that, what next"
    if words[:1] == ["not"] and "," in words and words[words.index(",") + 1:][:1] in (["the"], ["number"]):
        words = words[words.index(",") + 1:]  # "not this one, the one beside it"
    if "," in words and "take" in words[words.index(","):] and words[0] in ("not", "dont"):
        words = ["but", *words[words.index(",") + 1:]]  # "not 6, take 3"
    bare = [word for word in words if word not in ("please", ".", "!")]
    end = next((i for i in range(2, len(bare)) if tuple(bare[i:]) in _FOR_NOW), 0)
    if end and bare[0] in ("leave", "skip", "ignore") and not {"out", "alone", "later"} & set(bare):
        words = ["postpone", *bare[1:end]]  # "leave 7 for now"
    return ["why", *words[1:]] if len(words) > 1 and words[0] == "y" and words[1] not in ("es", "e") else words


def spelled(raw: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """(words with slips corrected, words that no known word is near, words that several known words are near)."""
    words: list[str] = []
    unknown: list[str] = []
    unsure: list[str] = []
    for word in raw:
        near = corrected(word)
        if not near:
            unknown.append(word)
            words.append("\0")
            continue
        meanings = {LEXICON.get((other,), ("", "")) for other in near}
        if len(near) > 1 and len(meanings) > 1:
            unsure.append(word)
            near = tuple(sorted(near, key=lambda other: (other in NEUTRAL, (other,) not in LEXICON)))
        if " " in near[0] or (word not in near and near[0] in NUMBER_WORDS):  # a space was put in, or a number guessed
            unsure.append(word)
        words.extend(near[0].split())
    return words, unknown, unsure


def joined(words: Sequence[str]) -> list[str]:
    """`hold number 5 back` as `hold back number 5`: verbs stand beside their particles."""
    for verb, particle in SPLIT:
        if verb in words:
            start = words.index(verb)
            for at in range(start + 2, len(words) - len(particle) + 1):
                after = words[at + len(particle):at + len(particle) + 1]
                if tuple(words[at:at + len(particle)]) == particle and not (after and (after[0] in _POINTERS or after[0] == "of")):
                    return [*words[:start + 1], *particle, *words[start + 1:at], *words[at + len(particle):]]
    return list(words)


def tagged(words: Sequence[str]) -> Reading:
    """The meaning of each phrase, the longest first."""
    words = joined(words)
    reading = Reading(list(words))
    i = 0
    while i < len(words):
        word = words[i]
        phrase = any(tuple(words[i:i + size]) in LEXICON for size in range(2, min(LONGEST, len(words) - i) + 1))
        used = _amount(words, i, reading) or (0 if phrase else _number(words, i, reading)) or _phrase(words, i, reading)
        reading.loose += [word] if not used else []
        if not used and word[0].isalpha() and word not in VOCABULARY and word != "\0":
            reading.unknown.append(word)
        i += max(used, 1)
    _settle_right(reading)
    return reading


def _amount(words: Sequence[str], i: int, reading: Reading) -> int:
    """`under 2 kg`, `20 cm or more`, `score above 80`: words used, 0 = none."""
    operator, start = "", i
    for size in (3, 2, 1):
        found = AFTER_NUMBER_LIMIT.get(tuple(words[i:i + size]))
        if found:
            operator, start = found, i + size
            break
    if words[i] in ("<", "<=", ">", ">="):
        operator, start = words[i][0] + "=", i + 1
    trailing = words[i + 3] if words[i][0].isdigit() and words[i + 2:i + 3] in (["or"], ["and"]) and len(words) > i + 3 else ""
    scored = words[i][0].isdigit() and bool({"score", "scores", "scoring"} & set(words[:i]))
    if scored and words[i + 2:i + 3] and words[i + 1] in ("and", "or") and words[i + 2] in _UPWARDS | _DOWNWARDS:
        # "scores of 0.8 and up"
        reading.tags[:] = [tag for tag in reading.tags if tag.kind != "about"]
        share = float(words[i]) * (1.0 if float(words[i]) <= 1 else 0.01)
        reading.tags.append(Tag("amount", f"score {'>=' if words[i + 2] in _UPWARDS else '<='} {share:g}", i))
        return 3
    if words[i + 1:i + 2] and words[i + 1] in UNITS:
        operator = operator or (">=" if trailing in _UPWARDS else "<=" if trailing in _DOWNWARDS else "")
    quantity = _quantity(words, start) if operator else None
    if quantity is None:
        return 0
    value, start = quantity
    unit = words[start + 1] if start + 1 < len(words) else ""
    context = set(words[max(0, i - 3):i]) | set(words[start + 1:start + 4])
    if unit in UNITS:
        slot, factor = UNITS[unit]
        if slot == "size" and ({"tall", "high", "thick", "height", "flat", "low"} & context
                               or {"taller", "higher", "thicker", "flatter", "lower", "thinner"} & set(words[i:start])):
            slot = "height"
        used = start + 2 - i
    elif {"score", "scores", "probability", "chance", "sure", "success", "rating", "certain"} & context:
        if words[i] in ("better", "higher", "lower", "worse") and value > 1 and reading.has("number", "is", "wh", "modal"):
            return 0  # "does 17 score better than 14"
        slot, factor, used = "score", 1.0 if value <= 1 else 0.01, start + 1 - i
    else:
        return 0
    following = 0
    while i + used + following < len(words) and words[i + used + following] in (
            "tall", "high", "long", "wide", "thick", "heavy", "sure", "certain", "score", "in", "height", "length", "size", "flat"):
        following += 1
    if reading.tags and reading.tags[-1].kind == "about":
        reading.tags.pop()
    reading.tags.append(Tag("amount", f"{slot} {operator} {value * factor:g}", i))
    return used + following + 2 * (trailing in _UPWARDS | _DOWNWARDS)


def _quantity(words: Sequence[str], start: int) -> tuple[float, int] | None:
    """(amount, place of its last word) of `2.5`, `about two kilos`, `a kilo`, `half a kilo`; None = there is none."""
    while start < len(words) and words[start] in ("about", "around", "roughly"):
        start += 1
    rest = list(words[start:start + 4])
    if not rest:
        return None
    if rest[0][0].isdigit():
        return float(rest[0]), start
    if rest[0] == "half" and rest[1:2] in (["a"], ["an"]) and rest[2:3] and rest[2] in UNITS:
        return 0.5, start + 1
    if len(rest) > 1 and (rest[1] in UNITS or NUMBER_WORDS.get(rest[0], 0) >= 20):
        amount = {"a": 1.0, "an": 1.0, "half": 0.5}.get(rest[0], NUMBER_WORDS.get(rest[0]))
        return None if amount is None else (float(amount), start)
    return None


def _number(words: Sequence[str], i: int, reading: Reading) -> int:
    """`number 7`, `#7`, `7`, `number seven`: words used, 0 = none. `two bags` is no number of a package."""
    word = words[i]
    if _tens(words, i):
        reading.tags.append(Tag("number", _tens(words, i), i))
        return 2
    if word[0].isdigit() and word[-1].isalpha():
        reading.tags.append(Tag("ordinal", word[:-2], i))
        return 1
    after = words[i + 1] if i + 1 < len(words) else ""
    if word in NUMBER_SIGNS and after and (after[0].isdigit() or after in NUMBER_WORDS):
        if word in ("no", "#", "number", "nr", "num", "id", "track", "nmbr", "nos", "numero", "numbers"):
            reading.tags.append(Tag("number", _tens(words, i + 1) or _digits(after), i))
            return 3 if _tens(words, i + 1) else 2
        if (word,) in LEXICON and _digits(after).isdigit():
            kind, value = LEXICON[(word,)]
            reading.tags += [Tag(kind, value, i), Tag("number", _digits(after), i + 1)]
            return 2
    if word[0].isdigit() or (word in NUMBER_WORDS and word != "one"):
        if i and words[i - 1] in _PLACES:
            reading.tags.append(Tag("off", "", i))
            return 1
        kind = LEXICON.get((after,), ("", ""))[0]
        beyond = LEXICON.get((words[i + 2],), ("", ""))[0] if i + 2 < len(words) else ""
        described = kind in ("colour", "size", "weight", "height") and beyond in ("class", "generic")
        if kind in ("class", "generic") or described or after in UNITS:
            reading.unsure.append(word)  # "never take two bags": how many, or how heavy, is not heeded
            reading.tags.append(Tag("generic", "ones", i))
        elif "." in word or len(word) > 9:
            reading.unknown.append(word)
        else:
            counted = word in NUMBER_WORDS and not (reading.tags and reading.tags[-1].kind == "number")
            several = counted and NUMBER_WORDS[word] < 6  # "take two" may be a quantity
            reading.tags.append(Tag("number", _digits(word), i, word if several else ""))
        return 1
    return 0


def _tens(words: Sequence[str], i: int) -> str:
    """"21" of `twenty one`, "" = no such pair."""
    first, second = (NUMBER_WORDS.get(word, 0) for word in [*words[i:i + 2], "", ""][:2])
    return str(first + second) if first in range(20, 91, 10) and 0 < second < 10 else ""


def _digits(word: str) -> str:
    return str(NUMBER_WORDS.get(word, word))


def _phrase(words: Sequence[str], i: int, reading: Reading) -> int:
    corner = list(words[i + 2:i + 4])
    if words[i:i + 2] == ["on", "the"] and corner[:1] in (["top"], ["bottom"]) and corner[1:] in (["left"], ["right"]):
        return 2  # "the one on the bottom left"
    if words[i] in _COMPARED and (words[i],) not in LEXICON and tuple(words[i:i + 2]) not in LEXICON:
        reading.tags.append(Tag("comparative", _COMPARED[words[i]], i))
        return 1
    for size in range(min(LONGEST, len(words) - i), 0, -1):
        found = LEXICON.get(tuple(words[i:i + size]))
        if found is None:
            continue
        kind, value = found
        if kind == "lies" and words[i + size - 1] == "top" and words[i + size:i + size + 1] == ["of"]:
            continue  # "is anything on top of 2"
        if kind == "limit":
            about = _COMPARED.get(words[i])
            if about or words[i + size - 1] == "than":
                reading.tags.append(Tag("comparative", about or "", i))
        elif kind != "skip":
            if tuple(words[i:i + 2]) == ("on", "top") and words[i + 2:i + 3] in (["left"], ["right"]):
                kind, value, size = "where", "top", 2  # "on top right"
            unsure = " ".join(words[i:i + size]) if tuple(words[i:i + size]) in AMBIGUOUS else ""
            if unsure == "top" and i + 1 < len(words) and words[i + 1] in ("left", "right", "row", "half"):
                unsure = ""
            reading.tags.append(Tag(kind, value, i, unsure))
        else:
            reading.skipped.append(" ".join(words[i:i + size]))
        return size
    if words[i] == "but":
        reading.tags.append(Tag("but", "", i))
    return 0


def _settle_right(reading: Reading) -> None:
    """`right` alone agrees; beside other words it is a side."""
    for place, tag in enumerate(reading.tags):
        if tag.kind == "confirm" and reading.words[tag.at] == "right":
            reading.tags[place] = replace(tag, kind="where", value="right")
        elif (tag.kind == "deixis" and _relative(reading, place)) or (tag.kind == "where" and _leftover(reading.words, tag.at)):
            reading.tags[place] = replace(tag, kind="skip")
    reading.tags = [tag for tag in reading.tags if tag.kind != "skip"]


def _relative(reading: Reading, place: int) -> bool:
    """`what have we got that is white`, `the box that is on the left`."""
    at = reading.tags[place].at
    before = reading.tags[place - 1].kind if place else ""
    noun = before in ("class", "generic", "colour", "number") or reading.words[at - 1] in ("got", "have", "any", "see", "there")
    return reading.words[at] == "that" and noun and bool(_RELATIVE & set(reading.words[at + 1:at + 2]))


def _leftover(words: Sequence[str], at: int) -> bool:
    """`any bags left`, `how many are left`."""
    last = words[at + 1:at + 2] in ([], ["?"], ["."], ["!"], [","], ["now"], ["please"], ["at"], ["over"], ["on"], ["in"], ["here"])
    counting = bool({"many", "any", "number", "count"} & set(words[:at]))
    return words[at] == "left" and last and counting and words[at - 1] not in ("the", "on")
