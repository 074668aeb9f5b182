"""What the advisor says, in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from perception_node.advise.ranking import weak_points
from perception_node.advise.request import Request
from perception_node.advise.resolve import in_words
from perception_node.advise.session import State
from perception_node.advise.view import CLASS_WORDS, Item, View
from perception_node.types import Grasp

KIND_WORDS = {"suction": "suction", "parallel_jaw": "jaws"}
SUGGESTIONS = ("what should I pick next?", "only boxes", "only the free ones", "how many bags?", "which is the biggest?",
               "why not that one?", "undo", "start over")
HELP = ("Ask \"what should I pick next?\", narrow with \"only the white boxes\" or \"under 20 cm\", point with \"number 7\", \"the "
        "one on the left\" or a click, ask \"how many bags?\", \"which is the biggest?\", \"why not the white box?\", choose with "
        "\"take that one\", \"never this one\", \"leave the bags for later\"; \"undo\" and \"start over\" take back.")

MOST_NAMED = 6
"""Packages that a sentence names."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """One package in the order of picking.

    Attributes:
        track_id, class_name: the package. grasp: the best one, None = it has none. score: its probability of success after all
        outcomes so far. reasons: why it stands where it stands, most important first.
    """

    track_id: int
    class_name: str
    grasp: Grasp | None
    score: float
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Advice:
    """The answer to one turn.

    Attributes:
        reply: in words. ranked: best first, within what the operator has narrowed down to. highlights: track ids that are meant.
        understood: the request. done: "take", "never", "later", "undo" or "start_over" when something was changed by it, "" = not.
        affected: track ids that the change bears on. refused: what will not be done, and why ("" = nothing). asks: True when the
        reply is a question to the operator. suggestions: what could be said next.
    """

    reply: str
    ranked: tuple[Ranked, ...]
    highlights: tuple[int, ...]
    understood: Request
    done: str = ""
    affected: tuple[int, ...] = ()
    refused: str = ""
    asks: bool = False
    suggestions: tuple[str, ...] = field(default=SUGGESTIONS)


def numbers(items: Sequence[int], joiner: str = "and") -> str:
    """`3`, `3 and 5`, `3, 5 and 7`."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {joiner} {words[-1]}" if words else "none"


def names_of(items: Sequence[Item]) -> str:
    """`7 (box), 3 (bag) and 12 more`."""
    named = [item.name for item in items[:MOST_NAMED]]
    return ", ".join(named) + (f" and {len(items) - len(named)} more" if len(items) > len(named) else "")


def quoted(words: Sequence[str]) -> str:
    """Words that were not understood, a few of them."""
    return ", ".join(f'"{word[:24]}"' for word in words[:4])


def percent(share: float) -> str:
    """`93 %`."""
    return f"{100 * share:.0f} %"


def recommended(ranked: Sequence[Ranked]) -> str:
    """The first choice and what follows it."""
    first = next((entry for entry in ranked if entry.grasp is not None), None)
    if first is None or first.grasp is None:
        return "Nothing in the list can be picked." if ranked else "There is nothing to pick."
    words = f"Number {first.track_id} ({CLASS_WORDS[first.class_name]}): {KIND_WORDS[first.grasp.kind]}, {percent(first.score)}"
    words += f"; {', '.join(first.reasons[:3])}." if first.reasons else "."
    rest = [f"{entry.track_id} ({CLASS_WORDS[entry.class_name]}, {percent(entry.score)})"
            for entry in ranked if entry.grasp is not None and entry is not first]
    return f"{words} Then {' and '.join(rest[:2])}." if rest else words


def described(item: Item, view: View, entry: Ranked | None, about: str = "") -> str:
    """What is known of a package, or one property of it."""
    length, width, height = (f"{1e3 * side:.0f}" for side in item.size_m)
    tall = f"{height} mm high" if item.size_m[2] > 0 else "of unknown height"
    names = sorted(view.colours.get(item.track_id, frozenset()) - {"dark", "bright"})
    grips = " and ".join(KIND_WORDS[kind] for kind in item.grasps)
    free = "lies free" + (f", on {numbers(item.on)}" if item.on else "")
    odds = f"succeeds with {percent(entry.score)} ({KIND_WORDS[entry.grasp.kind]})" if entry and entry.grasp else "has no grasp"
    facts = {
        "class": f"is a {CLASS_WORDS[item.class_name]}", "height": f"is {tall}",
        "size": f"measures {length} x {width} mm and is {tall}",
        "colour": f"is {names[0]}" if names else "has a colour I cannot tell",
        "weight": f"weighs {item.weight_kg:.1f} kg" if item.weight_kg is not None else "has a weight that I do not know",
        "where": f"is {place_words(item)}",
        "lies": f"lies under {numbers(item.covered_by)}" if item.covered_by else free,
        "gripper": f"can be taken with {grips}" if grips else "has no grasp",
        "score": odds,
    }
    if about:
        more = "".join(f"; {KIND_WORDS[kind]}: {reason}" for kind, reason in item.reasons.items()) if about == "gripper" else ""
        return f"Number {item.track_id} {facts[about]}{more}."
    parts = ["class", *(["colour"] if names else []), "size", "lies", "score"]
    words = f"Number {item.track_id} {', '.join(facts[part] for part in parts)}"
    words += f", weighs {item.weight_kg:.1f} kg" if item.weight_kg is not None else ""
    return words + ("; the picture's border cuts it off." if item.truncated else ".")


def place_words(item: Item) -> str:
    """`at the top left of the picture`."""
    across = "left" if item.u < 0.4 else "right" if item.u > 0.6 else ""
    along = "top" if item.v < 0.4 else "bottom" if item.v > 0.6 else ""
    return f"at the {' '.join(filter(None, (along, across)))} of the picture" if across or along else "in the middle of the picture"


def explained(item: Item, place: int, ranked: Sequence[Ranked]) -> str:
    """Why a package stands where it stands: the rejection's reasons, or the ranking's numbers beside those of the first."""
    if not item.grasps:
        reasons = [f"{KIND_WORDS.get(kind, kind)}: {reason}" for kind, reason in item.reasons.items()]
        why = "; ".join(reasons) or "no reason was given"
        return f"Number {item.name} has no grasp. {why[0].upper()}{why[1:]}."
    if place < 0:
        return f"Number {item.name} is not in the list."
    entry = ranked[place]
    grasp = entry.grasp
    assert grasp is not None
    words = f"Number {item.name} is {_ordinal(place + 1)} of {len(ranked)}: {KIND_WORDS[grasp.kind]}, {percent(entry.score)}"
    said = dict.fromkeys([*entry.reasons, *weak_points(grasp.kind, grasp.terms, 0.7)[:3]])
    if said:
        words += f"; {', '.join(said)}"
    if place > 0 and ranked[0].grasp is not None:
        words += f". Number {ranked[0].track_id} comes first with {percent(ranked[0].score)}"
    return words + "."


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def standing(state: State, view: View) -> str:
    """The narrowing and the choices that hold."""
    parts = [f"list: {' and '.join(in_words(what) for what in state.filters)}"] if state.filters else []
    parts += [f"next: {state.take.track_id}"] if state.take else []
    for name, tracks, rules in (("never", state.never, state.never_rules), ("later", state.later, state.later_rules)):
        parts += [f"{name}: {', '.join([*map(str, tracks), *map(in_words, rules)])}"] if tracks or rules else []
    return f"Now {'; '.join(parts)}." if parts else f"All {len(view.items)} packages are in the list."
