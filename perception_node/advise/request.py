"""What was said, in a form that can be compared and acted on: an action, and descriptions of packages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Action = Literal["recommend", "filter", "select", "describe", "count", "compare", "explain", "take", "never", "later", "confirm",
                 "deny", "undo", "start_over", "help", "unknown"]
ACTIONS: tuple[Action, ...] = ("recommend", "filter", "select", "describe", "count", "compare", "explain", "take", "never", "later",
                               "confirm", "deny", "undo", "start_over", "help", "unknown")
CHOICES: frozenset[Action] = frozenset({"take", "never", "later"})
"""Actions that bear on what the arm does."""


@dataclass(frozen=True, order=True)
class Condition:
    """One property that a package has to have, or must not have.

    Attributes:
        slot: "class", "colour", "size", "height", "weight", "where", "lies", "gripper", "score" or "number" (negated only).
        value: a word ("box", "left") or, with an operator, a number in SI units. operator: "=", "<=" or ">=".
        negated: True for "not the bags". bundle: negated conditions that are refused together have the same, as in "not the blue
        box", which keeps other boxes; 0 = refused alone.
    """

    slot: str
    value: str
    operator: str = "="
    negated: bool = False
    bundle: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{'not ' if self.negated else ''}{self.slot}{self.operator}{self.value}"


@dataclass(frozen=True)
class Description:
    """Packages as a person names them; everything given has to hold.

    Attributes:
        conditions: properties. numbers: track ids, any of them. deixis: "that" (what was meant last), "them" (what is shown), "".
        most: a superlative ("biggest", "leftmost"), "" = none. ordinal: place in the list shown, 1 = first, -1 = last, 0 = none.
        relation: "under", "on", "behind", "front_of", "left_of", "right_of", "beside", "" = none. anchor: what the relation is to.
        plural: True for "the bags", "those". other: True for "another one", "something else".
    """

    conditions: tuple[Condition, ...] = ()
    numbers: tuple[int, ...] = ()
    deixis: str = ""
    most: str = ""
    ordinal: int = 0
    relation: str = ""
    anchor: Description | None = None
    plural: bool = False
    other: bool = False

    @property
    def empty(self) -> bool:
        """True when it names nothing in particular."""
        return not (self.conditions or self.numbers or self.deixis or self.most or self.ordinal or self.relation)

    def slots(self, prefix: str = "") -> Iterator[str]:
        """Its parts as text, `class=box`, those of the anchor with `of.` before them."""
        yield from (f"{prefix}{condition}" for condition in self.conditions)
        yield from (f"{prefix}number={number}" for number in self.numbers)
        for name in ("deixis", "most", "ordinal", "relation"):
            if getattr(self, name):
                yield f"{prefix}{name}={getattr(self, name)}"
        if self.other:
            yield f"{prefix}other=yes"
        if self.anchor is not None:
            yield from self.anchor.slots(f"{prefix}of.")


@dataclass(frozen=True)
class Request:
    """One turn of the operator's.

    Attributes:
        action: what is wanted. what: the packages it is about. about: the property asked for ("weight"), "" = none.
        unknown: words that were not understood. unsure: words that may mean something else than was taken.
        asked: True when it was put as a question ("can you take 7?"). takes: True for "ok take it".
        corrects: True for "no, 18" and "i meant 18". requests: the texts, when one line asks for two things.
        lifts: True for "don't skip 15" and "allow 15 again": a never or later is taken back. past: True for "did you take 15?".
        graspless: True for "which ones can't be picked".
    """

    action: Action
    what: Description = field(default_factory=Description)
    about: str = ""
    unknown: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    asked: bool = False
    takes: bool = False
    corrects: bool = False
    requests: tuple[str, ...] = ()
    lifts: bool = False
    past: bool = False
    graspless: bool = False

    def slots(self) -> frozenset[str]:
        """All arguments as text, for comparison."""
        return frozenset([*self.what.slots(), *([f"about={self.about}"] if self.about else [])])
