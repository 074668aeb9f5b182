"""The order of picking: probabilities after outcomes, what lies on top, and what the operators have chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from perception_node.advise.ranking import Candidate, Ranking, weak_points
from perception_node.advise.replies import KIND_WORDS, Ranked
from perception_node.advise.request import Description
from perception_node.advise.resolve import Context, fits, resolve
from perception_node.advise.session import State, Take
from perception_node.advise.view import Item, View
from perception_node.types import Grasp


def candidate_of(grasp: Grasp, class_name: str, size_m: tuple[float, float, float]) -> Candidate:
    """A grasp as the ranking knows it."""
    return Candidate(grasp.kind, class_name, grasp.score, size_m, grasp.terms, grasp.degraded)


@dataclass(frozen=True)
class Orders:
    """The choices of all operators that hold now; the newest wish to take something wins."""

    never: frozenset[int] = frozenset()
    later: frozenset[int] = frozenset()
    never_rules: tuple[Description, ...] = ()
    later_rules: tuple[Description, ...] = ()
    take: Take | None = None

    @classmethod
    def of(cls, states: Sequence[State], now_ns: int) -> Orders:
        """Merge the states of all living sessions."""
        wishes = [state.take for state in states if state.take is not None and state.take.deadline_ns >= now_ns]
        return cls(frozenset(n for state in states for n in state.never), frozenset(n for state in states for n in state.later),
                   tuple(rule for state in states for rule in state.never_rules),
                   tuple(rule for state in states for rule in state.later_rules),
                   max(wishes, key=lambda take: take.stamp_ns, default=None))

    def joined(self, other: Orders) -> Orders:
        """These and others together; these take what they want."""
        return Orders(self.never | other.never, self.later | other.later, self.never_rules + other.never_rules,
                      self.later_rules + other.later_rules, self.take or other.take)

    def forbids(self, item: Item, view: View) -> bool:
        """True when an operator said never."""
        return item.track_id in self.never or any(fits(item, rule, view) for rule in self.never_rules)

    def holds_back(self, item: Item, view: View) -> bool:
        """True when an operator said later."""
        return item.track_id in self.later or any(fits(item, rule, view) for rule in self.later_rules)


def narrowed(view: View, filters: Sequence[Description], context: Context | None = None) -> list[Item]:
    """Packages that all filters leave."""
    ids = list(view.items)
    for what in filters:
        ids = [item.track_id for item in resolve(_plural(what), view, context or Context(), ids).items]
    return [view.items[number] for number in ids]


def _plural(what: Description) -> Description:
    return replace(what, plural=True, deixis="")


def ranked_list(view: View, orders: Orders, ranking: Ranking, filters: Sequence[Description] = (),
                context: Context | None = None) -> tuple[Ranked, ...]:
    """Packages in the order of picking, with reasons: wanted ones, free ones, covered ones, later ones; those without a grasp and
    forbidden ones last. Within, by probability after outcomes and, within its limit, by what operators prefer."""
    items = narrowed(view, filters, context) if filters else list(view.items.values())
    grasps = [(item, grasp) for item in items for grasp in item.grasps.values()]
    candidates = [candidate_of(grasp, item.class_name, item.size_m) for item, grasp in grasps]
    probability, shift = ranking.probability(candidates), ranking.liking(candidates)
    best: dict[int, tuple[float, float, Grasp | None]] = {}
    for (item, way), p, moved in zip(grasps, probability, shift, strict=True):
        merit = float(np.log(max(p, 1e-6) / max(1.0 - p, 1e-6)) + moved)
        if item.track_id not in best or merit > best[item.track_id][0]:
            best[item.track_id] = merit, float(p), way
    rows = []
    for item in items:
        merit, p, grasp = best.get(item.track_id, (-99.0, 0.0, None))
        forbidden, later = orders.forbids(item, view), orders.holds_back(item, view)
        wanted = orders.take is not None and orders.take.track_id == item.track_id and grasp is not None and not forbidden
        tier = 0 if wanted else 5 if forbidden else 4 if grasp is None else 3 if later else 2 if item.covered_by else 1
        entry = Ranked(item.track_id, item.class_name, None if forbidden else grasp, 0.0 if forbidden else p,
                       _reasons(item, grasp, p, wanted, forbidden, later))
        rows.append((tier, -merit, item.track_id, entry))
    return tuple(row[3] for row in sorted(rows, key=lambda row: row[:3]))


def _reasons(item: Item, grasp: Grasp | None, p: float, wanted: bool, forbidden: bool, later: bool) -> tuple[str, ...]:
    words = ["you want it" if wanted else "", "you said never" if forbidden else "", "you said later" if later else ""]
    if grasp is None:
        words += [f"{KIND_WORDS[kind]}: {reason}" for kind, reason in item.reasons.items()] or ["no grasp"]
    else:
        words.append(f"lies under {' and '.join(str(n) for n in item.covered_by if n)}" if item.covered_by else "nothing on it")
        if item.truncated:
            words.append("not wholly in sight")
        if abs(p - grasp.score) >= 0.02:
            words.append(f"earlier picks moved it from {100 * grasp.score:.0f} to {100 * p:.0f} %")
        if grasp.degraded:
            words.append("judged without depth")
        words += weak_points(grasp.kind, grasp.terms, 0.6)[:1]
    return tuple(word for word in words if word)
