"""The words that are understood: phrases with what they mean, words without meaning here, and slips of the keyboard."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

MAX_CHARACTERS = 300
"""Longer text is not read. Source: judgement; the longest request in the collected utterances has 80 characters."""


@dataclass(frozen=True)
class Tag:
    """What a phrase means: a kind ("class", "take", "relation") and a value. `at`: its first word; `unsure`: the word as typed,
    when reading it another way is possible."""

    kind: str
    value: str
    at: int = 0
    unsure: str = ""


def _split(phrases: str) -> list[tuple[str, ...]]:
    return [tuple(phrase.split()) for phrase in phrases.split(", ")]


_FILE = Path(__file__).resolve().parent.parent / "data" / "lexicon.yaml"
_LEXICON = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
NUMBER_WORDS = {word: number for number, word in enumerate(
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
     "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"))}
NUMBER_WORDS.update({word: 10 * number for number, word in enumerate(
    ("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred"), start=3)})
NUMBER_SIGNS = frozenset(_LEXICON["number_signs"].split())
NEUTRAL = frozenset(_LEXICON["neutral"].split())
UNITS: Mapping[str, tuple[str, float]] = {unit: (slot, float(factor)) for unit, (slot, factor) in _LEXICON["units"].items()}
AMBIGUOUS = frozenset(_split(_LEXICON["ambiguous"]))
SHORT: Mapping[str, str] = _LEXICON["short"]
WHOLE: Mapping[str, list[tuple[str, ...]]] = {kind: sorted(_split(_LEXICON["tags"][kind][""]), key=len, reverse=True) for kind in (
    "start_over", "undo", "help", "confirm", "deny")}
"""Phrases that are a whole turn, the longest first."""
COMMON = frozenset(_LEXICON["common"].split())
"""Everyday words that mean nothing here: not understood, and not taken for slips of words that are."""
FILL: Mapping[str, frozenset[str]] = {action: frozenset(words.split()) for action, words in _LEXICON["fill"].items()}
"""What else may stand in a choice that is carried out at once."""
PLAIN: Mapping[str, frozenset[str]] = {kind: frozenset(" ".join(phrase) for phrase in _split(" ".join(phrases.split())))
                                       for kind, phrases in _LEXICON["plain"].items()}
DOUBLE: Mapping[str, frozenset[str]] = {kind: frozenset(" ".join(phrase) for phrase in _split(" ".join(phrases.split())))
                                        for kind, phrases in _LEXICON["double"].items()}
"""Phrases that a choice may rest on without being confirmed first, and others that may mean two things, by kind of tag."""
POLITE = frozenset(_LEXICON["polite"].split())
PLURALS = frozenset(_LEXICON["plurals"].split())
ECHOES: Mapping[str, frozenset[str]] = {action: frozenset(words.split()) for action, words in _LEXICON["echoes"].items()}
"""Words that may stand beside a phrase that is a whole turn."""
AFTER_NUMBER_LIMIT: Mapping[tuple[str, ...], str] = {
    phrase: operator for operator, phrases in _LEXICON["limits"].items() for phrase in _split(phrases)}
_TOKEN = re.compile(r"\d+(?:st|nd|rd|th)\b|[a-z]+|\d+(?:\.\d+)?|[#%?]|<=|>=|<|>|[.,;!]")
_DASHES = re.compile(r"[-‐-―_/]+")


SPLIT: tuple[tuple[str, tuple[str, ...]], ...] = tuple(
    (phrase[0], phrase[1:]) for phrase in _split(" ".join(_LEXICON["split"].split())))
"""Verbs with their particles, which may stand apart."""


def _only_whole(kind: str, phrase: tuple[str, ...]) -> bool:
    """`do that` agrees when nothing else is said; in `do that one next` its words mean something else."""
    return len(phrase) > 1 and (kind == "deny" or (kind in ("confirm", "help") and not _POINTING.isdisjoint(phrase)))


_POINTING = frozenset(["that", "thats", "it", "one", "leave", "lets", "why", "not", "do", "how", "you", "i"])


def _lexicon() -> dict[tuple[str, ...], tuple[str, str]]:
    table = {phrase: (kind, value) for kind, groups in _LEXICON["tags"].items() for value, phrases in groups.items()
             for phrase in _split(phrases) if not _only_whole(kind, phrase)}
    table.update(dict.fromkeys(_split(" ".join(_LEXICON["elsewhere"].split())), ("off", "")))
    table.update({(word,): ("number_word", str(number)) for word, number in NUMBER_WORDS.items() if word != "one"})
    return {**{phrase: ("limit", operator) for phrase, operator in AFTER_NUMBER_LIMIT.items()}, **table}


LEXICON = _lexicon()
LONGEST = max(len(phrase) for phrase in LEXICON)
SINGLE = frozenset(word for phrase in LEXICON for word in phrase)
VOCABULARY = SINGLE | frozenset(
    word for phrases in WHOLE.values() for phrase in phrases for word in phrase) | NEUTRAL | frozenset(UNITS) | NUMBER_SIGNS


def tokens(text: str) -> list[str]:
    """Lower-case words, numbers and signs; apostrophes dropped, dashes are spaces, typographic forms made plain."""
    plain = unicodedata.normalize("NFKC", text).lower().replace("’", "'").replace("'", "").replace("`", "")
    plain = _DASHES.sub(" ", re.sub(r"(\d),(\d)", r"\1.\2", plain))
    return _TOKEN.findall(plain)


_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_PLACE = {key: (row, column + 0.5 * row) for row, keys in enumerate(_KEYS) for column, key in enumerate(keys)}


def distance(typed: str, word: str) -> float:
    """Cost of the slips that turn `word` into `typed`: 1 for a letter left out, added or replaced, less for the usual ones
    (neighbours swapped 0.7, a letter doubled or a neighbouring key 0.8), 0.2 more when the first letter is another.

    Source: optimal string alignment (Damerau 1964, restricted); weights: judgement.
    """
    before: list[float] = []
    row = [float(j) for j in range(len(word) + 1)]
    for i, x in enumerate(typed, start=1):
        new = [row[0] + 1.0]
        added = 0.8 if i > 1 and x == typed[i - 2] else 1.0
        for j, y in enumerate(word, start=1):
            cost = min(row[j] + added, new[j - 1] + (0.8 if j > 1 and y == word[j - 2] else 1.0), row[j - 1] + _replacing(x, y))
            if i > 1 and j > 1 and x == word[j - 2] and typed[i - 2] == y != x:
                cost = min(cost, before[j - 2] + 0.7)
            new.append(cost)
        before, row = row, new
    return row[-1] + (0.2 if typed[0] != word[0] else 0.0)


def _replacing(x: str, y: str) -> float:
    if x == y:
        return 0.0
    (r, c), (s, d) = _PLACE.get(x, (9, 9)), _PLACE.get(y, (-9, -9))
    return 0.8 if abs(r - s) <= 1 and abs(c - d) <= 1.0 else 1.0


def _shortened(word: str, count: int) -> set[str]:
    forms = {word}
    for _ in range(count):
        forms |= {form[:i] + form[i + 1:] for form in forms for i in range(len(form))}
    return forms


def _index() -> dict[str, list[str]]:
    """Known words by what is left of them with up to two letters missing: slips meet their words there.

    Source: symmetric deletion (W. Garbe, "1000x faster spelling correction algorithm", 2012).
    """
    table: dict[str, list[str]] = {}
    for word in sorted(VOCABULARY):
        if len(word) > 2:
            for form in _shortened(word, 2 if len(word) > 6 else 1):
                table.setdefault(form, []).append(word)
    return table


_NEAR = _index()


@lru_cache(maxsize=4096)
def corrected(word: str) -> tuple[str, ...]:
    """The known words that a typed word may be a slip of, nearest first; () = none is near, the word itself = it is known.

    Up to six letters one slip is corrected, in longer words two; what has two letters or fewer is left alone.
    Source: judgement, checked on the collected utterances.
    """
    if word in VOCABULARY or word in COMMON or not word.isalpha():
        return (word,)
    if word in SHORT:
        return (SHORT[word],)
    if len(word) < 3 or len(word) > 24:
        return ()
    slips = 1 if len(word) <= 6 else 2
    others = {other for form in _shortened(word, slips) for other in _NEAR.get(form, ())}
    near = sorted((distance(word, other), other) for other in others if abs(len(other) - len(word)) <= slips)
    near = [entry for entry in near if entry[0] <= slips + 0.2]
    if near:
        return tuple(other for cost, other in near if cost <= near[0][0] + 0.05)
    for cut in range(3, len(word) - 2):  # a missing space
        if word[:cut] in VOCABULARY and word[cut:] in VOCABULARY:
            return (f"{word[:cut]} {word[cut:]}",)
    return ()
