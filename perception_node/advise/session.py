"""What one operator has said so far, as values: narrowing, pointing and choices, each step of which can be undone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from perception_node.advise.request import Action, Description

TIMEOUT_NS = 900_000_000_000
"""A conversation is forgotten after a quarter of an hour without a word. Source: judgement; shorter than a break."""
PENDING_NS = 60_000_000_000
"""A question of ours can be answered for this long."""
MOST_SESSIONS, MOST_STEPS, MOST_RULES = 32, 50, 20


@dataclass(frozen=True)
class Take:
    """The package that an operator wants next. kind: gripper, "" = any. stamp_ns: when it was said; deadline_ns: until when it
    holds."""

    track_id: int
    kind: str
    stamp_ns: int
    deadline_ns: int


@dataclass(frozen=True)
class Pending:
    """A question of ours: which of the candidates shall the action bear on? `kind`: gripper that was asked for, "" = any. `whole`:
    the question is whether it shall bear on all of them."""

    action: Action
    candidates: tuple[int, ...]
    stamp_ns: int
    kind: str = ""
    whole: bool = False


@dataclass(frozen=True)
class Chosen:
    """What the last turn has chosen: packages by track id, and rules for whole kinds."""

    action: Action
    tracks: tuple[int, ...]
    rules: tuple[Description, ...] = ()


@dataclass(frozen=True)
class State:
    """Everything that a step may change.

    Attributes:
        filters: narrowing so far. focus: packages pointed at. shown: the list on the screen. stale: the last
        line was not understood. never, later: track ids; never_rules, later_rules: the same for whole kinds. take: what is wanted
        next. pending: a question of ours. chosen: what the last turn has chosen.
    """

    filters: tuple[Description, ...] = ()
    focus: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()
    stale: bool = False
    never: tuple[int, ...] = ()
    later: tuple[int, ...] = ()
    never_rules: tuple[Description, ...] = ()
    later_rules: tuple[Description, ...] = ()
    take: Take | None = None
    pending: Pending | None = None
    chosen: Chosen | None = None

    def tracks(self) -> set[int]:
        """Every track id in it."""
        return {*self.focus, *self.shown, *self.never, *self.later, *([self.take.track_id] if self.take else []),
                *(self.pending.candidates if self.pending else ())}

    def without(self, gone: Callable[[int], bool]) -> State:
        """The same without the tracks that are gone."""
        def kept(numbers: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(number for number in numbers if not gone(number))
        pending = self.pending
        if pending is not None and len(kept(pending.candidates)) != len(pending.candidates):
            pending = None
        filters = tuple(replace(what, conditions=tuple(c for c in what.conditions if c.slot != "number" or not gone(int(c.value))))
                        for what in self.filters)
        return replace(self, filters=filters, focus=kept(self.focus), shown=kept(self.shown), never=kept(self.never),
                       later=kept(self.later), chosen=None if self.chosen and any(map(gone, self.chosen.tracks)) else self.chosen,
                       take=None if self.take and gone(self.take.track_id) else self.take, pending=pending)


def _lasting(state: State) -> State:
    return replace(state, shown=(), pending=None, chosen=None, focus=(), stale=False)


@dataclass
class Session:
    """One conversation: its state, the states before it, and when something was said last."""

    state: State = field(default_factory=State)
    before: list[State] = field(default_factory=list)
    last_ns: int = 0

    def step(self, state: State) -> None:
        """Go on to a new state; the old one can be returned to."""
        if _lasting(state) != _lasting(self.state):
            self.before = [*self.before[-(MOST_STEPS - 1):], replace(self.state, pending=None)]
        self.state = state

    def undo(self) -> bool:
        """Return to the state before; False = there is none."""
        if not self.before:
            return False
        self.state = self.before.pop()
        return True


class Sessions:
    """All conversations by id. The longest silent one makes room for a new one when there are too many."""

    def __init__(self) -> None:
        self._all: OrderedDict[str, Session] = OrderedDict()

    def get(self, session_id: str, stamp_ns: int) -> tuple[Session, bool]:
        """The session of an id, new where there is none; and whether an earlier one was forgotten for its silence."""
        session = self._all.pop(session_id, None)
        forgotten = session is not None and stamp_ns - session.last_ns > TIMEOUT_NS
        if session is None or forgotten:
            session = Session()
        self._all[session_id] = session
        while len(self._all) > MOST_SESSIONS:
            self._all.popitem(last=False)
        session.last_ns = stamp_ns
        return session, forgotten

    def living(self, stamp_ns: int) -> Iterator[tuple[str, Session]]:
        """Sessions that have not been silent for too long: their choices hold."""
        yield from ((name, session) for name, session in self._all.items() if stamp_ns - session.last_ns <= TIMEOUT_NS)

    def clear(self) -> None:
        """Forget all packages that were talked about (their numbers now mean others); rules for kinds stay."""
        for session in self._all.values():
            session.before = []
            session.state = session.state.without(lambda number: True)
