"""`Advisor.ask`: a line of text about a scene -> an answer, and the operators' choices that bear on what is picked next."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from perception_node.advise import replies
from perception_node.advise.answers import Talk
from perception_node.advise.exchange import respond
from perception_node.advise.order import Orders, candidate_of, ranked_list
from perception_node.advise.ranking import Candidate, Ranking
from perception_node.advise.replies import Advice
from perception_node.advise.request import CHOICES, Request
from perception_node.advise.session import PENDING_NS, Session, Sessions
from perception_node.advise.turns import hear
from perception_node.advise.view import View
from perception_node.advise.words import MAX_CHARACTERS, tokens
from perception_node.types import Grasp, GraspKind, Scene

LEFT_NS = 1_000_000_000
"""A package that was not seen for longer has left. Source: `track.max_missed_s` (1 s), after which ids end."""
_REMEMBERED = 2000
_MAX_ID = 64


@dataclass(frozen=True)
class Preference:
    """What should be picked next.

    Attributes:
        track_id: the package. kind: gripper, "" = any. source: "operator", "ranking" or "exploration". stamp_ns: of the choice or
        scene; deadline_ns: until when it holds. score: estimated probability of success.
    """

    track_id: int
    kind: str
    source: str
    stamp_ns: int
    deadline_ns: int
    score: float


@dataclass(frozen=True)
class Standing:
    """What holds for a scene: what should be picked next (None = nothing can be recommended), and the packages in sight that
    operators said never or later to."""

    preference: Preference | None
    never: tuple[int, ...]
    later: tuple[int, ...]


_STOPS = frozenset({"stop", "halt", "freeze", "estop", "emergency", "abort"})
_HAPPENED = frozenset({"failed", "fell", "fallen", "dropped", "slipped", "missed", "lost"})


def _elsewhere(text: str, advice: Advice) -> list[str]:
    """What was said and is not for the advisor, though somebody may believe that it is: to stop, and what happened to a pick."""
    words = frozenset(tokens(text)) if len(text) <= MAX_CHARACTERS else frozenset()
    if words & _STOPS and advice.understood.action == "unknown":
        return ["I cannot stop the arm or the belt: use the cell's own stop."]
    if words & _HAPPENED and not advice.done and advice.understood.action in ("select", "filter", "describe", "unknown"):
        return ["Nothing was noted: what happened to a pick is reported with the buttons below the picture."]
    return []


class Advisor:
    """Conversations about the belt, and the order of picking that follows from scores, outcomes and choices. May be used from
    several threads.

    Args:
        ranking: learns from outcomes; default: a new one.
    """

    def __init__(self, ranking: Ranking | None = None) -> None:
        self.ranking = ranking or Ranking()
        self._sessions = Sessions()
        self._seen: OrderedDict[int, tuple[int, Candidate | None]] = OrderedDict()
        self._weights_kg: dict[int, float] = {}
        self._last_ns = 0
        self._lock = threading.Lock()

    def ask(self, text: str, scene: Scene, session_id: str = "", rgb: Any = None) -> Advice:
        """Answer one line of an operator's.

        Args:
            text: what was typed or said. scene: the newest one. session_id: whose conversation, 64 characters at most. rgb: (H, W,
                3) uint8, the scene's picture, for colours; None = colours are not known.
        """
        with self._lock:
            self._observe(scene)
            session, forgotten = self._sessions.get(session_id[:_MAX_ID], scene.stamp_ns)
            view = View(scene, rgb, self._weights_kg)
            notes = ["I have forgotten our earlier conversation."] if forgotten else []
            notes += self._let_go(session, view)
            request, unread = self._read(text)
            advice = unread if unread is not None else respond(request, Talk(session, view, self._orders(scene), self.ranking))
            if advice.done in ("take", "never", "later"):
                self._like(advice, session)
            listed = advice.ranked or ranked_list(view, self._orders(scene), self.ranking, session.state.filters)
            session.state = replace(session.state, shown=tuple(entry.track_id for entry in listed))
            notes += _elsewhere(text, advice)
            return replace(advice, reply=" ".join([*notes, advice.reply]), ranked=listed)

    def point(self, track_ids: Sequence[int], scene: Scene, session_id: str = "") -> None:
        """The operator clicked on packages: `that one` means them."""
        with self._lock:
            self._observe(scene)
            session, _ = self._sessions.get(session_id[:_MAX_ID], scene.stamp_ns)
            known = {track.track_id for track in scene.tracks}
            session.state = replace(session.state, focus=tuple(number for number in track_ids if number in known),
                                    stale=False)

    def listed(self, scene: Scene, session_id: str = "") -> tuple[replies.Ranked, ...]:
        """The order of picking within what a conversation has narrowed down to. Nothing is said by it, and its time-out runs on."""
        with self._lock:
            self._observe(scene)
            filters = next((session.state.filters for name, session in self._sessions.living(scene.stamp_ns)
                            if name == session_id[:_MAX_ID]), ())
            return ranked_list(View(scene, None, self._weights_kg), self._orders(scene), self.ranking, filters)

    def observe(self, scene: Scene) -> None:
        """A scene was published; nobody listens to what should be picked."""
        with self._lock:
            self._observe(scene)

    def standing(self, scene: Scene, rgb: Any = None) -> Standing:
        """What should be picked next, an operator's choice while it holds, else the ranking's, which sometimes explores; and what
        should not."""
        with self._lock:
            self._observe(scene)
            view = View(scene, rgb, self._weights_kg)
            orders = self._orders(scene)
            never = tuple(number for number, item in view.items.items() if orders.forbids(item, view))
            later = tuple(number for number, item in view.items.items() if orders.holds_back(item, view))
            ranked = [entry for entry in ranked_list(view, orders, self.ranking) if entry.grasp is not None]
            take = orders.take
            entry = next((entry for entry in ranked if take is not None and entry.track_id == take.track_id), None)
            if take is not None and entry is not None:
                wanted = Preference(take.track_id, take.kind, "operator", take.stamp_ns, take.deadline_ns, entry.score)
                return Standing(wanted, never, later)
            return Standing(self._own(view, set(later), ranked), never, later)

    def learn(self, track_id: int, kind: GraspKind, success: bool, weight_kg: float | None = None,
              candidate: Candidate | None = None) -> None:
        """What happened to a pick.

        Args:
            candidate: the grasp that was executed; default: the package's best one when it was last seen.
        """
        with self._lock:
            known = candidate if candidate is not None else self._seen.get(track_id, (0, None))[1]
            if known is not None:
                self.ranking.learn(known if known.kind == kind else replace(known, kind=kind), success)
            if weight_kg is not None:
                self._weigh(track_id, weight_kg)
            for _, session in self._sessions.living(self._last_ns):
                if session.state.take is not None and session.state.take.track_id == track_id:
                    session.state = replace(session.state, take=None)

    def weigh(self, track_id: int, weight_kg: float) -> None:
        """A package's weight is known, by a scale or from a pick that failed."""
        with self._lock:
            self._weigh(track_id, weight_kg)

    def _weigh(self, track_id: int, weight_kg: float) -> None:
        self._weights_kg[track_id] = weight_kg
        while len(self._weights_kg) > _REMEMBERED:
            del self._weights_kg[next(iter(self._weights_kg))]

    def candidate(self, track_id: int, kind: GraspKind, score: float, terms: Mapping[str, float], degraded: bool) -> Candidate:
        """A grasp as the ranking knows it, with the size and class of the package as last seen."""
        with self._lock:
            known = self._seen.get(track_id, (0, None))[1]
        return Candidate(kind, known.class_name if known else "", score, known.size_m if known else None, terms, degraded)

    def reset(self) -> None:
        """The tracker started over: all numbers now mean other packages."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self._sessions.clear()
        self._seen.clear()
        self._weights_kg.clear()

    def _observe(self, scene: Scene) -> None:
        if scene.stamp_ns < self._last_ns - LEFT_NS:
            self._forget()
        self._last_ns = scene.stamp_ns if scene.stamp_ns < self._last_ns - LEFT_NS else max(scene.stamp_ns, self._last_ns)
        best: dict[int, Grasp] = {}
        for grasp in scene.grasps:
            best.setdefault(grasp.track_id, grasp)
        for track in scene.tracks:
            found = best.get(track.track_id)
            known = self._seen.pop(track.track_id, (0, None))[1]
            fresh = known if found is None else candidate_of(found, track.class_name, track.size_m)
            self._seen[track.track_id] = scene.stamp_ns, fresh
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _let_go(self, session: Session, view: View) -> list[str]:
        def gone(number: int) -> bool:
            return number not in view.items and view.scene.stamp_ns - self._seen.get(number, (0, None))[0] > LEFT_NS
        state = session.state
        meant = [*state.focus, *state.never, *state.later, *([state.take.track_id] if state.take else []),
                 *(state.pending.candidates if state.pending else ())]
        left = sorted({number for number in meant if gone(number)})
        session.state = state.without(gone)
        session.before = [earlier.without(gone) for earlier in session.before]
        if state.pending is not None and view.scene.stamp_ns - state.pending.stamp_ns > PENDING_NS:
            session.state = replace(session.state, pending=None)
        return [f"Number {replies.numbers(left)} {'has' if len(left) == 1 else 'have'} left the belt."] if left else []

    def _read(self, text: str) -> tuple[Request, Advice | None]:
        nothing = Request("unknown")
        if len(text) > MAX_CHARACTERS:
            said = f"I read at most {MAX_CHARACTERS} characters, this has {len(text)}."
            return nothing, Advice(said, (), (), nothing, refused=said)
        if not text.strip():
            return nothing, Advice("Ask about the packages, or click on one. " + replies.HELP, (), (), nothing, asks=True)
        return hear(text), None

    def _orders(self, scene: Scene) -> Orders:
        return Orders.of([session.state for _, session in self._sessions.living(self._last_ns)], scene.stamp_ns)

    def _own(self, view: View, later: set[int], ranked: Sequence[replies.Ranked]) -> Preference | None:
        ready = [entry for entry in ranked if entry.track_id not in later
                 and not view.items[entry.track_id].covered_by] or list(ranked)
        if not ready:
            return None
        chosen, source = ready[0], "ranking"
        if self.ranking.exploring:
            grasps = [(entry, grasp) for entry in ready for grasp in view.items[entry.track_id].grasps.values()]
            drawn = self.ranking.explored([candidate_of(grasp, entry.class_name, view.items[entry.track_id].size_m)
                                           for entry, grasp in grasps])
            if len(drawn) and drawn.max() > 0:
                entry, grasp = grasps[int(drawn.argmax())]
                if (entry.track_id, grasp.kind) != (chosen.track_id, chosen.grasp.kind if chosen.grasp else ""):
                    chosen, source = replace(entry, grasp=grasp), "exploration"
        assert chosen.grasp is not None
        end = chosen.grasp.deadline_ns or view.scene.stamp_ns + LEFT_NS
        return Preference(chosen.track_id, chosen.grasp.kind, source, view.scene.stamp_ns, end, chosen.score)

    def _like(self, advice: Advice, session: Session) -> None:
        """What an operator chooses over the first of the list is liked more than it; what he refuses, less."""
        top = self._seen.get(session.state.shown[0], (0, None))[1] if session.state.shown else None
        for number in advice.affected[:1] if advice.done in CHOICES else ():
            mine = self._seen.get(number, (0, None))[1]
            if mine is not None and mine is not top:
                self.ranking.chosen(mine, top if advice.done == "take" else None, 1.0 if advice.done == "take" else -1.0)
