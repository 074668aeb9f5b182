"""What a line is to the conversation it stands in: it may correct the line before it."""

from __future__ import annotations

from dataclasses import replace

from perception_node.advise.grammar import understand
from perception_node.advise.request import CHOICES, Request
from perception_node.advise.tagging import read, tagged
from perception_node.advise.words import tokens

_MENDS = frozenset({"no", "nope", "nah", "sorry", "oops", "whoops", "wait", "actually", "correction", "rather", "argh", "ah"})
"""First words of a line that corrects what was said."""
_MEANT = (("i", "meant"), ("i", "mean"), ("i", "said"), ("make", "that"), ("make", "it"), ("instead",), ("rather",))

_VERBS = frozenset({"take", "never", "later", "dont", "count", "explain", "describe", "about", "wh"})
_JOINTS = frozenset({"and", "then", "but", "also", "plus", ",", ".", ";", "!"})
_LEADS = frozenset({"or", "nor", "is", "are", "was", "were", "be", "been", "that", "which", "to", "i", "we", "you"})
_ASKING = frozenset({"count", "explain", "describe", "compare"})
"""Kinds of tags that make a request, and words between two requests; words that a second one
does not follow; actions that ask."""

_HAPPENED = (["did", "you"], ["have", "you"], ["has", "the"], ["did", "we"], ["have", "we"], ["did", "the"])
_TAKEN = frozenset({"taken", "picked", "grabbed"})
_ALLOWS = frozenset({"allow", "permit", "unblock", "reallow", "unforbid", "reenable"})
_HEDGES = frozenset({"if", "maybe", "perhaps", "unless", "when", "not", "dont", "never", "only", "but", "until", "after"})


def hear(text: str) -> Request:
    """What a line asks for, and what it is to the lines before it. Never raises."""
    words = tokens(text)
    request = understand(text)
    two = _two_requests(words)
    if two:
        return replace(request, requests=two)
    past = request.action in ("take", "select") and not request.what.empty and (
        words[:2] in _HAPPENED or (words[0] in ("was", "were", "is", "has") and bool(_TAKEN & set(words))))
    request = replace(request, past=past, graspless=_graspless(request, words))
    return _lifting(_correcting(request, words), words)


def _graspless(request: Request, words: list[str]) -> bool:
    """`which ones cant be picked`, `how many bags have no grasp`: those without a grasp are asked for."""
    asks = bool(words) and words[0] in ("which", "what", "how", "whats", "list", "show", "count") and "why" not in words
    said = " ".join(words)
    apart = any(phrase in said for phrase in ("can not", "can you not", "can we not"))
    cannot = apart or bool({"cant", "cannot", "couldnt"} & set(words))
    verbs = {"pick", "picked", "take", "taken", "grab", "grabbed", "grasp", "grasped", "lift", "lifted"} & set(words)
    none = any(phrase in said for phrase in ("no grasp", "without a grasp", "without grasp", "unpickable", "not be picked"))
    one = request.what.numbers or request.what.deixis == "that"
    return bool(asks and not one and ((cannot and verbs) or none))


def _lifting(request: Request, words: list[str]) -> Request:
    """`don't skip 15`, `never leave 6 for later`, `allow 10 again`: nothing is forbidden by it, a choice is taken back."""
    if request.what.empty:
        return request
    if request.action in ("select", "filter") and (words[1:] if words[0] == "please" else words)[0] in _ALLOWS and "?" not in words:
        unknown = tuple(word for word in request.unknown if word not in _ALLOWS)
        plain = not unknown and not any(c.negated for c in request.what.conditions) and not _HEDGES & set(words)
        return replace(request, lifts=True, unknown=unknown, asked=not plain)
    if request.action in ("never", "later"):
        known, _, _ = read(" ".join(words))
        reading = tagged(known)
        kinds = [tag.kind for tag in reading.tags]
        second = {reading.words[tag.at] for tag in reading.tags[1:] if tag.kind in ("never", "later")} - {"never"}
        if kinds[0] in ("dont", "never") and second and not {",", "now"} & set(known):
            return replace(request, lifts=True, asked=True)
    return request


def _two_requests(words: list[str]) -> tuple[str, ...]:
    """`take 6 and never 7`: two parts that are requests of their own, at least one of them a choice; () = the line is one."""
    known, _, _ = read(" ".join(words))
    verbs = [tag.at for tag in tagged(known).tags if tag.kind in _VERBS]
    if len(verbs) < 2:
        return ()
    starts = verbs[1:] if len(known) == len(words) else []
    for at in range(1, len(words)):
        joint = words[at] in _JOINTS
        if not joint and (at not in starts or words[at - 1] in _LEADS):
            continue
        start = next((i for i in range(at, len(words)) if words[i] not in _JOINTS), at)
        first, second = " ".join(words[:at]), " ".join(words[start:])
        one, other = understand(first), understand(second)
        choices = CHOICES & {one.action, other.action} if joint else {one.action, other.action} <= CHOICES
        again = {"it", "them"} & set(words[start:])  # "don't take 12 now, do it later"
        if one.action != other.action and choices and _complete(one) and _complete(other) and not again:
            return first, second
    return ()


def _complete(request: Request) -> bool:
    """True when a part of a line would be a request if it stood alone."""
    return (request.action in CHOICES or request.action in _ASKING) and not request.what.empty and not request.unknown


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
