"""What a line is to the conversation it stands in: it may correct the line before it."""

from __future__ import annotations

from dataclasses import replace

from perception_node.advise.grammar import understand
from perception_node.advise.request import CHOICES, Request
from perception_node.advise.words import tokens

_MENDS = frozenset({"no", "nope", "nah", "sorry", "oops", "whoops", "wait", "actually", "correction", "rather", "argh", "ah"})
"""First words of a line that corrects what was said."""
_MEANT = (("i", "meant"), ("i", "mean"), ("i", "said"), ("make", "that"), ("make", "it"), ("instead",), ("rather",))


def hear(text: str) -> Request:
    """What a line asks for, and what it is to the lines before it. Never raises."""
    return _correcting(understand(text), tokens(text))


def _correcting(request: Request, words: list[str]) -> Request:
    """`no, 18`, `sorry, 18`, `i meant 18`: another package than was said is meant."""
    phrases = {pair for size in (1, 2) for pair in zip(*(words[i:] for i in range(size)), strict=False)}
    if request.action not in ("select", "filter", "take") or request.what.empty or not (
            words[0] in _MENDS or phrases & set(_MEANT)):
        return request
    if any(c.negated for c in request.what.conditions) or (request.action == "filter" and {"only", "just", "show"} & set(words)):
        return request  # "no bags", "sorry, only boxes"
    mends = tuple(word for word in request.unknown if word in _MENDS)
    unsure = (*request.unsure, *mends) if request.action in CHOICES else request.unsure
    return replace(request, corrects=True, unsure=unsure, unknown=tuple(word for word in request.unknown if word not in mends))
