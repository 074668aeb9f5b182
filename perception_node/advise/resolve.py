"""Description -> packages. One is meant only when it clearly is; otherwise all that may be meant come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from perception_node.advise.request import Condition, Description
from perception_node.advise.view import CLASS_WORDS, Item, View

THIRD = 1 / 3
CLEARLY_LARGER, JUST_LARGER = 1.3, 1.05
"""Ratios from which "the big one" and "the biggest" are plain to see. Source: judgement; sizes are measured to a few percent."""
CLEARLY_ASIDE, JUST_ASIDE = 0.15, 0.02
"""The same for places, as a share of the picture's width or height."""
GOOD, BAD = 0.8, 0.5
BESIDE = 0.06
_RELATIVE = {"size", "height", "weight", "where"}
_AXES = {"left": "u", "right": "u", "top": "v", "bottom": "v"}

_SIDES = {"leftmost": "left", "rightmost": "right", "topmost": "top", "bottommost": "bottom", "middlemost": "middle"}
_OUTERMOST = {side: most for most, side in _SIDES.items()}
_NEVER_LEAVES = float("inf")
_KEYS: dict[str, Callable[[Item], float]] = {
    "biggest": lambda i: i.area_m2, "smallest": lambda i: -i.area_m2, "heaviest": lambda i: i.weight_kg or 0.0,
    "lightest": lambda i: -(i.weight_kg or 0.0), "tallest": lambda i: i.size_m[2], "flattest": lambda i: -i.size_m[2],
    "longest": lambda i: i.size_m[0], "shortest": lambda i: -i.size_m[0], "best": lambda i: i.score, "worst": lambda i: -i.score,
    "leaving": lambda i: -min((g.deadline_ns or _NEVER_LEAVES for g in i.grasps.values()), default=_NEVER_LEAVES),
    "leftmost": lambda i: -i.u, "rightmost": lambda i: i.u, "topmost": lambda i: -i.v, "bottommost": lambda i: i.v,
    "middlemost": lambda i: -abs(i.u - 0.5)}
"""What there is the most of, by superlative."""


@dataclass(frozen=True)
class Context:
    """What has been talked about: packages pointed at, and the list on the screen, both by track id."""

    focus: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Found:
    """Packages that a description fits; `problem`: why that is not an answer ("" = it is)."""

    items: tuple[Item, ...]
    problem: str = ""

    @property
    def one(self) -> Item | None:
        """The package, when exactly one is meant."""
        return self.items[0] if len(self.items) == 1 and not self.problem else None


def resolve(what: Description, view: View, context: Context, among: Sequence[int] | None = None) -> Found:
    """All packages that a description fits; fewer than all only where one of them is clearly meant.

    Args:
        what: plural descriptions give all that fit. among: track ids to choose from, None = all in sight.
    """
    items = [item for item in view.items.values() if among is None or item.track_id in among]
    missing = [number for number in what.numbers if number not in view.items]
    if missing:
        return Found((), f"There is no number {_list(missing, 'or')} in sight.")
    if what.numbers:
        items = [view.items[number] for number in what.numbers]
    elif what.deixis == "that":
        if not context.focus:
            return Found((), "I do not know which one you mean: click on it, or say its number.")
        items = [view.items[number] for number in context.focus if number in view.items]
        if not items:
            return Found((), "The one you pointed at has left.")
    elif what.deixis == "them":
        items = [item for item in items if item.track_id in context.shown] if context.shown else items
    sides = [c for c in what.conditions if c.slot == "where" and not c.negated]
    along = what.most or (_OUTERMOST[sides[0].value] if len(sides) == 1 else "")
    if what.ordinal and not along:
        if not context.shown:
            return Found((), "I have listed nothing yet: click on it, or say its number.")
        place = what.ordinal - 1 if what.ordinal > 0 else len(context.shown) + what.ordinal
        if not 0 <= place < len(context.shown) or context.shown[place] not in view.items:
            return Found((), f"The list has {len(context.shown)} {'entry' if len(context.shown) == 1 else 'entries'}.")
        items = [item for item in items if item.track_id == context.shown[place]]
    unknown = _unknown(what, items, view)
    if unknown:
        return Found(tuple(items) if not what.numbers else (), unknown)
    single = not what.plural and not what.numbers
    firm = [c for c in what.conditions if not single or c.slot not in _RELATIVE or c.negated or c.operator != "="]
    items = [item for item in items if _fits(item, firm, view)]
    if what.relation:
        assert what.anchor is not None
        anchor = resolve(what.anchor, view, context)
        if anchor.problem:
            return Found((), anchor.problem)
        several = what.relation in ("under", "on") and bool(anchor.items)
        if anchor.one is None and not several:
            return Found((), "I find no such package for it to be near." if not anchor.items else
                         f"Which one do you mean by that: {_list([i.track_id for i in anchor.items], 'or')}?")
        near = [_related(what.relation, one, [item for item in items if item is not one], single) for one in anchor.items]
        items = list({item.track_id: item for group in near for item in group}.values())
    for condition in what.conditions:
        if condition not in firm and not (what.ordinal and condition in sides):
            items = _standing_out(condition, items, view)
    if what.ordinal and along:  # "the second biggest", "third from the left"
        ordered = sorted(items, key=_KEYS[along], reverse=True)
        place = what.ordinal - 1 if what.ordinal > 0 else len(ordered) + what.ordinal
        here = 0 <= place < len(ordered)
        items = [item for item in ordered if here and _KEYS[along](item) == _KEYS[along](ordered[place])]
    elif what.most:
        items = _most(what.most, items)
    return Found(tuple(items))


def fits(item: Item, what: Description, view: View) -> bool:
    """True when a package has the conditions of a description; relations and pointing are not looked at."""
    return not _unknown(what, [item], view) and _fits(item, what.conditions, view)


def _unknown(what: Description, items: Sequence[Item], view: View) -> str:
    """Words about a property that is asked for and not known."""
    slots = {c.slot for c in what.conditions}
    if ("weight" in slots or what.most in ("heaviest", "lightest")) and any(item.weight_kg is None for item in items):
        known = sum(item.weight_kg is not None for item in items)
        return "Weights are not known here." if known == 0 else f"Weights are known of {known} of these {len(items)} only."
    if "colour" in slots and items and not view.colours:
        return "I have no picture to see colours in."
    return ""


def _fits(item: Item, conditions: Sequence[Condition], view: View) -> bool:
    wanted = [c for c in conditions if not c.negated]
    refused: dict[object, list[Condition]] = {}
    for condition in conditions:
        if condition.negated:
            refused.setdefault(condition.bundle or condition, []).append(condition)
    return _all_hold(item, wanted, view) and not any(_all_hold(item, together, view) for together in refused.values())


def _all_hold(item: Item, conditions: Sequence[Condition], view: View) -> bool:
    """`white or blue boxes`: one of the values of each property."""
    by_slot: dict[tuple[str, str], list[bool]] = {}
    for condition in conditions:
        axis = _AXES.get(condition.value, "middle") if condition.slot == "where" else condition.operator
        by_slot.setdefault((condition.slot, axis), []).append(_holds(item, condition, view))
    return all(any(options) for options in by_slot.values())


def _holds(item: Item, condition: Condition, view: View) -> bool:
    slot, value = condition.slot, condition.value
    if condition.operator != "=":
        number = float(value)
        amount = {"weight": item.weight_kg, "size": item.size_m[0], "height": item.size_m[2], "score": item.score}[slot]
        assert amount is not None  # _unknown has spoken
        return amount <= number if condition.operator == "<=" else amount >= number
    if slot == "number":
        return item.track_id == int(value)
    if slot == "class":
        return item.class_name == value
    if slot == "colour":
        return value in view.colours.get(item.track_id, frozenset())
    if slot == "where":
        place = {"left": item.u, "right": 1 - item.u, "top": item.v, "bottom": 1 - item.v}
        return place[value] < 0.45 if value in place else abs(item.u - 0.5) < 0.2
    if slot == "lies":
        return bool(item.covered_by) == (value == "covered")
    if slot == "gripper":
        return value in item.grasps
    if slot == "score":
        return item.score >= GOOD if value == "good" else item.score < BAD
    everyone = sorted(_measure(slot)(other) for other in view.items.values())
    low, high = everyone[int(THIRD * (len(everyone) - 1))], everyone[-1 - int(THIRD * (len(everyone) - 1))]
    amount = _measure(slot)(item)
    return amount >= high if value in ("big", "tall", "heavy") else amount <= low


def _measure(slot: str) -> Callable[[Item], float]:
    measures: dict[str, Callable[[Item], float]] = {
        "size": lambda item: item.area_m2, "height": lambda item: item.size_m[2], "weight": lambda item: item.weight_kg or 0.0}
    return measures[slot]


def _standing_out(condition: Condition, items: list[Item], view: View) -> list[Item]:
    """`the big one`, `the left one`: the one that clearly is, else all that may be."""
    if len(items) < 2:
        return items if condition.slot != "where" or all(_roughly(item, condition.value) for item in items) else []
    if condition.slot == "where":
        return _aside(condition.value, items, CLEARLY_ASIDE)
    most = condition.value in ("big", "tall", "heavy")
    ordered = sorted(items, key=_measure(condition.slot), reverse=most)
    first, second = (_measure(condition.slot)(item) for item in ordered[:2])
    if max(first, second) >= CLEARLY_LARGER * max(min(first, second), 1e-6):
        return ordered[:1]
    return [item for item in items if _holds(item, condition, view)] if len(items) > 2 else items


def _roughly(item: Item, side: str) -> bool:
    """A single candidate need only not lie on the other side."""
    place = {"left": item.u, "right": 1 - item.u, "top": item.v, "bottom": 1 - item.v}.get(side)
    return abs(item.u - 0.5) < THIRD if place is None else place < 0.6


def _aside(side: str, items: list[Item], margin: float) -> list[Item]:
    def key(item: Item) -> float:
        return {"left": item.u, "right": -item.u, "top": item.v, "bottom": -item.v}.get(side, abs(item.u - 0.5))
    ordered = sorted(items, key=key)
    if key(ordered[1]) - key(ordered[0]) >= margin and (_roughly(ordered[0], side) or margin == JUST_ASIDE):
        return ordered[:1]
    return [item for item in ordered if key(item) - key(ordered[0]) < margin]


def _most(word: str, items: list[Item]) -> list[Item]:
    if len(items) < 2:
        return items
    if word in _SIDES:
        return _aside(_SIDES[word], items, JUST_ASIDE)
    key = _KEYS[word]
    ordered = sorted(items, key=key, reverse=True)
    first, second = abs(key(ordered[0])), abs(key(ordered[1]))
    if word in ("best", "worst", "leaving"):
        return [item for item in ordered if key(item) == key(ordered[0])]
    if max(first, second) >= JUST_LARGER * max(min(first, second), 1e-6):
        return ordered[:1]
    return [i for i in ordered if max(abs(key(i)), first) < JUST_LARGER * max(min(abs(key(i)), first), 1e-6)]


def _related(relation: str, anchor: Item, items: list[Item], single: bool) -> list[Item]:
    """Packages in a relation to another. On the screen: behind is further up, in front is further down."""
    if relation == "under":
        return [item for item in items if anchor.track_id in item.covered_by]
    if relation == "on":
        return [item for item in items if item.track_id in anchor.covered_by]
    def apart(item: Item) -> float:
        across, along = abs(item.u - anchor.u) - item.half_u - anchor.half_u, abs(item.v - anchor.v) - item.half_v - anchor.half_v
        return max(across, along, 0.0)
    def column(item: Item) -> bool:
        return abs(item.u - anchor.u) <= item.half_u + anchor.half_u
    def row(item: Item) -> bool:
        return abs(item.v - anchor.v) <= item.half_v + anchor.half_v
    tests: dict[str, Callable[[Item], bool]] = {
        "behind": lambda i: i.v < anchor.v - JUST_ASIDE and column(i),
        "front_of": lambda i: i.v > anchor.v + JUST_ASIDE and column(i),
        "left_of": lambda i: i.u < anchor.u - JUST_ASIDE and row(i), "right_of": lambda i: i.u > anchor.u + JUST_ASIDE and row(i),
        "beside": lambda i: apart(i) <= BESIDE}
    fitting = [item for item in items if tests[relation](item)]
    if single and len(fitting) > 1:
        ordered = sorted(fitting, key=lambda i: abs(i.u - anchor.u) + abs(i.v - anchor.v))
        near, next_near = (abs(i.u - anchor.u) + abs(i.v - anchor.v) for i in ordered[:2])
        if next_near >= 2 * near and relation != "beside":
            return ordered[:1]
    return fitting


def in_words(what: Description) -> str:
    """A description said back: `white boxes on the left`."""
    bundles: dict[int, list[Condition]] = {}
    for c in what.conditions:
        if c.negated and c.bundle:
            bundles.setdefault(c.bundle, []).append(replace(c, negated=False, bundle=0))
    refused = {number: in_words(Description(tuple(group))) for number, group in bundles.items() if len(group) > 1}
    what = replace(what, conditions=tuple(c for c in what.conditions if not c.negated or c.bundle not in refused))
    words = [f"{'not ' if c.negated else ''}{c.value}" for c in what.conditions
             if c.slot in ("colour", "size", "height", "weight") and c.operator == "="]
    kinds = [CLASS_WORDS.get(c.value, c.value) for c in what.conditions if c.slot == "class" and not c.negated]
    several = {"box": "boxes", "mailer": "mailers", "bag": "bags", "item": "items"}
    words.append(" or ".join(several.get(kind, kind) for kind in kinds) if kinds else "packages")
    for c in what.conditions:
        without = "not " if c.negated else ""
        if c.slot == "class" and c.negated:
            words.append(f"that are no {several[CLASS_WORDS[c.value]]}")
        elif c.slot == "number":
            words.append(f"without number {c.value}")
        elif c.slot == "where":
            where = {"middle": "in the middle", "top": "at the top", "bottom": "at the bottom"}.get(c.value, f"on the {c.value}")
            words.append(without + where)
        elif c.slot == "lies":
            words.append(f"that are {without}{'free' if c.value == 'free' else 'covered'}")
        elif c.slot == "gripper":
            words.append(f"{without}for {'suction' if c.value == 'suction' else 'the jaws'}")
        elif c.slot == "score" and c.operator == "=":
            words.append(f"that are {without}{'sure' if c.value == 'good' else 'risky'}")
        elif c.operator != "=":
            unit = {"weight": "kg", "size": "m", "height": "m", "score": ""}[c.slot]
            limit = "at most" if c.operator == "<=" else "at least"
            words.append(f"{without}of {c.slot} {limit} {c.value} {unit}".rstrip())
    words += [f"that are no {thing}" for thing in refused.values()]
    if what.relation and what.anchor is not None:
        names = {"front_of": "in front of", "left_of": "left of", "right_of": "right of", "beside": "next to"}
        words.append(f"{names.get(what.relation, what.relation)} {in_words(replace(what.anchor, plural=False))}")
    if what.numbers:
        words = [f"number {_list(list(what.numbers), 'and')}"]
    return " ".join(words)


def _list(numbers: Sequence[int], joiner: str) -> str:
    words = [str(number) for number in numbers]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {joiner} {words[-1]}"
