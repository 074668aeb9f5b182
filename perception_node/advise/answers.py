"""Request + conversation + scene -> answer and next step. A choice is made only when it is clear which package is meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from perception_node.advise import replies
from perception_node.advise.order import Orders, narrowed, ranked_list
from perception_node.advise.ranking import Ranking
from perception_node.advise.replies import MOST_NAMED, Advice, Ranked, names_of, numbers, percent, quoted, standing
from perception_node.advise.request import CHOICES, Action, Condition, Description, Request
from perception_node.advise.resolve import Context, Found, in_words, resolve
from perception_node.advise.session import MOST_RULES, Pending, Session, State, Take
from perception_node.advise.view import Item, View, counted

HOLDS_NS = 30_000_000_000
"""A wish to take a package holds for this long at most. Source: judgement; longer than any belt's way through a cell."""
_VERBS: Mapping[Action, str] = {"take": "Take", "never": "Never pick", "later": "Leave for later"}


@dataclass(frozen=True, eq=False)
class Talk:
    """One turn's surroundings: the conversation, the scene, everybody's choices, the ranking."""

    session: Session
    view: View
    orders: Orders
    ranking: Ranking

    @property
    def state(self) -> State:
        """Of the conversation."""
        return self.session.state

    @property
    def context(self) -> Context:
        """What has been talked about."""
        return Context(self.state.focus, self.state.shown)

    def ranked(self, filters: Sequence[Description] | None = None) -> tuple[Ranked, ...]:
        """The order, within the conversation's filters or others."""
        return ranked_list(self.view, self.orders, self.ranking, self.state.filters if filters is None else filters)

    def find(self, what: Description) -> Found:
        """What a description means: first among what the filters leave, else among all."""
        if self.state.filters and not what.numbers and not what.deixis:
            inside = resolve(what, self.view, self.context, [item.track_id for item in narrowed(self.view, self.state.filters)])
            if inside.items and not inside.problem:
                return inside
        return resolve(what, self.view, self.context)


def answer(request: Request, talk: Talk) -> Advice:
    """Answer one request; the session goes on to its next state."""
    pending = talk.state.pending
    talk.session.state = replace(talk.state, pending=None)
    if pending is not None:
        answered = None if request.asked else _to_our_question(request, pending, talk)  # "yes?" is no answer
        if answered is not None:
            return answered
    advice = _choice(request, talk) if request.action in CHOICES else _ANSWERS[request.action](request, talk)
    missed = not request.what.empty and request.action not in ("filter", "count")
    focus = () if missed and not advice.highlights else talk.state.focus  # "take it" must not mean what was meant before
    talk.session.state = replace(talk.state, focus=focus, stale=request.action == "unknown")
    return advice


def _to_our_question(request: Request, pending: Pending, talk: Talk) -> Advice | None:
    if request.action in ("deny", "undo") or (request.action, pending.action) == ("never", "take"):  # "don't take 6" is a no
        return _say(request, "All right, nothing is changed.", talk)
    if request.action == "confirm" and (pending.whole or len(pending.candidates) == 1):
        here = tuple(talk.view.items[n] for n in pending.candidates if n in talk.view.items)
        return _do(pending.action, here, request, talk, pending.kind)
    if request.action == "confirm":
        return _ask_which(request, pending.action, pending.candidates, talk)
    plain = not request.unknown and not request.unsure and (request.what.numbers or not pending.whole)
    if request.action in ("select", "filter") and plain:
        found = resolve(replace(request.what, plural=False), talk.view, Context(talk.state.focus, pending.candidates),
                        pending.candidates)
        if found.one is not None and found.one.track_id in pending.candidates:
            return _do(pending.action, (found.one,), request, talk, pending.kind)
        if found.items and not found.problem:
            return _ask_which(request, pending.action, tuple(item.track_id for item in found.items), talk)
    return None


def _choice(request: Request, talk: Talk) -> Advice:
    """Take, never, later: done at once only when every word was understood and it is plain which packages are meant."""
    action, what = request.action, request.what
    if what.empty:
        if request.unknown:
            return _refuse(request, f"I do not understand {quoted(request.unknown)}. Which one do you mean?", talk, asks=True)
        shown = tuple(entry.track_id for entry in talk.ranked() if entry.grasp is not None)[:3]
        return _ask_which(request, action, shown, talk) if shown else _refuse(request, "There is nothing to pick.", talk)
    found = talk.find(what)
    if found.problem:
        return _refuse(request, found.problem, talk, asks=True)
    if not found.items:
        return _refuse(request, _none_fits(what, talk), talk, asks=True)
    ids = tuple(item.track_id for item in found.items)
    kind = next((c.value for c in what.conditions if c.slot == "gripper" and not c.negated), "")
    several = action in ("never", "later") and (what.plural or len(what.numbers) == len(ids))
    if len(ids) > 1 and not several:
        return _ask_which(request, action, ids, talk, kind)
    stale = what.deixis == "that" and talk.state.stale
    doubt = stale or request.unknown or request.unsure or request.asked or _reads_two_ways(what, talk, ids)
    if doubt:
        words = f"I do not understand {quoted(request.unknown)}. " if request.unknown else ""
        talk.session.state = replace(talk.state, pending=Pending(action, ids, talk.view.scene.stamp_ns, kind, whole=True))
        question = f"{_VERBS[action]} {names_of(found.items)}? Say yes or no."
        return Advice(words + question, talk.ranked(), ids, request, refused="nothing is done before you confirm it", asks=True,
                      suggestions=("yes", "no"))
    return _do(action, found.items, request, talk, kind)


def _do(action: Action, items: Sequence[Item], request: Request, talk: Talk, kind: str = "") -> Advice:
    """Carry out a choice on packages that are known."""
    state, ids, stamp_ns = talk.state, tuple(item.track_id for item in items), talk.view.scene.stamp_ns
    if not items:
        return _refuse(request, "It has left the belt.", talk)
    if action == "take":
        item = items[0]
        why_not = _cannot(item, kind, talk)
        if why_not:
            return _refuse(request, why_not, talk, highlights=ids)
        ends = [grasp.deadline_ns for name, grasp in item.grasps.items() if grasp.deadline_ns is not None and kind in ("", name)]
        deadline = min(max(ends, default=stamp_ns + HOLDS_NS), stamp_ns + HOLDS_NS)
        talk.session.step(replace(state, take=Take(item.track_id, kind, stamp_ns, deadline), focus=ids,
                                  never=tuple(n for n in state.never if n not in ids)))
        words = f"Number {item.name} comes next, for {1e-9 * (deadline - stamp_ns):.0f} s"
        words += f", with {replies.KIND_WORDS[kind]}." if kind else "."
        if item.score < 0.5:
            words += f" Its success probability is only {percent(item.score)}."
        return _done("take", words, ids, request, talk)
    rule = _as_rule(request.what, request.action == action)
    name = "never" if action == "never" else "later"
    rules = (*getattr(state, f"{name}_rules"), rule)[-MOST_RULES:] if rule else getattr(state, f"{name}_rules")
    tracks = tuple(dict.fromkeys((*getattr(state, name), *(() if rule else ids))))
    take = None if state.take is not None and state.take.track_id in ids else state.take
    after = replace(state, take=take, focus=ids)
    talk.session.step(replace(after, never=tracks, never_rules=rules) if name == "never" else
                      replace(after, later=tracks, later_rules=rules))
    what = f"all {in_words(rule)}, now {numbers(ids)}" if rule else names_of(items)
    return _done(name, f"{'Never' if name == 'never' else 'Later'}: {what}. \"undo\" takes it back.", ids, request, talk)


def _as_rule(what: Description, direct: bool) -> Description | None:
    """The lasting rule in `never the bags`: plain properties of a whole kind; None when certain packages are meant."""
    plain = what.plural and not (what.numbers or what.deixis or what.most or what.ordinal or what.relation)
    lasting = all(c.slot in ("class", "colour", "weight", "lies", "gripper") or c.operator != "=" for c in what.conditions)
    return what if direct and plain and lasting and what.conditions else None


def _cannot(item: Item, kind: str, talk: Talk) -> str:
    """Why a package cannot be wanted next; "" = it can."""
    if not item.grasps or (kind and kind not in item.grasps):
        reasons = [f"{replies.KIND_WORDS[name]}: {reason}" for name, reason in item.reasons.items() if kind in ("", name)]
        return f"Number {item.name} cannot be taken: {'; '.join(reasons) or 'it has no grasp'}."
    if item.covered_by:
        over = [number for number in item.covered_by if number]
        return f"Number {item.name} lies under {numbers(over) if over else 'another package'}; take that first."
    if talk.orders.forbids(item, talk.view) and item.track_id not in talk.state.never:
        return f"Number {item.name} is on an operator's never list; it must be taken off there first."
    deadlines = [grasp.deadline_ns for grasp in item.grasps.values()]
    if all(deadline is not None and deadline <= talk.view.scene.stamp_ns for deadline in deadlines):
        return f"Number {item.name} has left the arm's reach."
    return ""


def _reads_two_ways(what: Description, talk: Talk, ids: tuple[int, ...]) -> bool:
    """`the bag behind the box on the left`: whose side is it? True when it matters."""
    if what.anchor is None or not any(c.slot == "where" for c in what.anchor.conditions):
        return False
    sides = tuple(c for c in what.anchor.conditions if c.slot == "where")
    moved = replace(what, conditions=(*what.conditions, *sides),
                    anchor=replace(what.anchor, conditions=tuple(c for c in what.anchor.conditions if c not in sides)))
    if moved.anchor is not None and moved.anchor.empty:
        return False
    other = talk.find(moved)
    return bool(other.items) and tuple(item.track_id for item in other.items) != ids


def _ask_which(request: Request, action: Action, ids: tuple[int, ...], talk: Talk, kind: str = "") -> Advice:
    order = [entry.track_id for entry in talk.ranked(()) if entry.track_id in ids]
    talk.session.state = replace(talk.state, pending=Pending(action, tuple(order), talk.view.scene.stamp_ns, kind))
    named = ", ".join(talk.view.items[number].name for number in order[:MOST_NAMED])
    more = f" and {len(order) - MOST_NAMED} more" if len(order) > MOST_NAMED else ""
    return Advice(f"Which one: {named}{more}? Click on it or say its number.", talk.ranked(), tuple(order), request,
                  refused="one package at a time, and only when it is clear which", asks=True,
                  suggestions=tuple(f"number {number}" for number in order[:MOST_NAMED]))


def _recommend(request: Request, talk: Talk) -> Advice:
    extra = (replace(request.what, plural=True, other=False),) if request.what.conditions else ()
    ranked = talk.ranked((*talk.state.filters, *extra))
    found = resolve(replace(request.what, plural=True), talk.view, talk.context) if extra else Found(())
    if found.problem:
        return _say(request, found.problem, talk)
    if request.what.other:
        ranked = tuple(entry for entry in ranked if entry.track_id not in talk.state.focus)
    first = next((entry.track_id for entry in ranked if entry.grasp is not None), None)
    talk.session.state = replace(talk.state, focus=() if first is None else (first,))
    words = replies.recommended(ranked)
    if talk.state.filters:
        words += f" (Among {' and '.join(in_words(what) for what in talk.state.filters)}.)"
    return Advice(words, ranked, () if first is None else (first,), request)


def _filter(request: Request, talk: Talk) -> Advice:
    what = replace(request.what, plural=True, numbers=request.what.numbers)
    problem = resolve(what, talk.view, talk.context).problem
    if problem:
        return _refuse(request, problem, talk, asks=True)
    filters = (*talk.state.filters, what)
    left = narrowed(talk.view, filters, talk.context)
    instead = ""
    if not left and talk.state.filters:  # "boxes", then "what about the bags"
        slots = {c.slot for c in what.conditions}
        kept = tuple(f for f in talk.state.filters if not slots & {c.slot for c in f.conditions})
        filters, left = (*kept, what), narrowed(talk.view, (*kept, what), talk.context)
        instead = "Instead of before: "
    if not left:
        return _say(request, f"There are no {in_words(what)}; the list stays as it is.", talk)
    focus = (left[0].track_id,) if len(left) == 1 else ()
    take = talk.state.take
    if take is not None and Condition("number", str(take.track_id), negated=True) in what.conditions:
        instead = f"Number {take.track_id} is no longer wanted next. {instead}"
        take = None
    talk.session.step(replace(talk.state, filters=filters[-MOST_RULES:], focus=focus, take=take))
    ids = tuple(item.track_id for item in left)
    note = f" I do not understand {quoted(request.unknown)}." if request.unknown else ""
    return Advice(f"{instead}{counted(left)}: {numbers(ids)}.{note}", talk.ranked(), ids, request)


def _select(request: Request, talk: Talk) -> Advice:
    found = talk.find(request.what)
    if found.problem:
        return _refuse(request, found.problem, talk, asks=True)
    if not found.items:
        return _say(request, _none_fits(request.what, talk), talk)
    ids = tuple(item.track_id for item in found.items)
    talk.session.state = replace(talk.state, focus=ids)
    if len(ids) > 1:
        return Advice(f"{len(ids)} fit: {names_of(found.items)}.", talk.ranked(), ids, request)
    entry = next((entry for entry in talk.ranked(()) if entry.track_id == ids[0]), None)
    return Advice(replies.described(found.items[0], talk.view, entry), talk.ranked(), ids, request,
                  suggestions=("take that one", "why not that one?", "never this one", "undo", "start over"))


def _describe(request: Request, talk: Talk) -> Advice:
    what = request.what if not request.what.empty else Description(deixis="that")
    found = talk.find(what)
    if found.problem or not found.items:
        return _say(request, found.problem or _none_fits(what, talk), talk)
    entries = {entry.track_id: entry for entry in talk.ranked(())}
    items = found.items[:3]
    talk.session.state = replace(talk.state, focus=tuple(item.track_id for item in items))
    words = " ".join(replies.described(item, talk.view, entries.get(item.track_id), request.about) for item in items)
    return Advice(words, talk.ranked(), tuple(item.track_id for item in items), request)


def _count(request: Request, talk: Talk) -> Advice:
    if request.what.empty:
        items = narrowed(talk.view, talk.state.filters)
        within = " in the list" if talk.state.filters else ""
        return Advice(f"{len(items)}{within}: {counted(items)}.", talk.ranked(), tuple(i.track_id for i in items), request)
    found = resolve(replace(request.what, plural=True), talk.view, talk.context)
    if found.problem:
        return _say(request, found.problem, talk)
    ids = tuple(item.track_id for item in found.items)
    words = f"{len(ids)} {in_words(replace(request.what, plural=True))}{': ' + numbers(ids) if ids else ''}."
    return Advice(words, talk.ranked(), ids, request)


def _compare(request: Request, talk: Talk) -> Advice:
    what, about = request.what, request.about
    if what.most:
        found = talk.find(replace(what, plural=False, numbers=what.numbers if len(what.numbers) != 1 else ()))
        if found.problem or not found.items:
            return _say(request, found.problem or _none_fits(what, talk), talk)
        ids = tuple(item.track_id for item in found.items)
        talk.session.state = replace(talk.state, focus=ids)
        entries = {entry.track_id: entry for entry in talk.ranked(())}
        alike = f"These are alike: {names_of(found.items)}. "
        words = f"The {what.most} is number {found.items[0].name}. " if len(ids) == 1 else alike
        return Advice(words + replies.described(found.items[0], talk.view, entries.get(ids[0])), talk.ranked(), ids, request)
    found = resolve(replace(what, plural=True), talk.view, talk.context)
    if found.problem or len(found.items) < 2:
        return _say(request, found.problem or "Name two packages to compare, like \"is 3 heavier than 5?\".", talk)
    first, second = found.items[:2]
    entries = {entry.track_id: entry for entry in talk.ranked(())}
    ids = (first.track_id, second.track_id)
    if not about:
        return Advice(" ".join(replies.described(item, talk.view, entries.get(item.track_id)) for item in (first, second)),
                      talk.ranked(), ids, request)
    units = {"size": 1e4, "height": 1e3, "score": 100.0, "weight": 1.0}
    measures: dict[str, Callable[[Item], float | None]] = {
        "size": lambda i: i.area_m2, "height": lambda i: i.size_m[2], "weight": lambda i: i.weight_kg,
        "score": lambda i: entries[i.track_id].score}
    if about not in measures:
        return _say(request, "I compare size, height, weight and score.", talk)
    values = [measures[about](item) for item in (first, second)]
    known = [value for value in values if value is not None and (about != "height" or value > 0)]
    if len(known) < 2:
        return Advice(f"I do not know the {about} of both.", talk.ranked(), ids, request)
    unit = {"size": "cm2", "height": "mm", "score": "%", "weight": "kg"}[about]
    amounts = [f"{value * units[about]:.{1 if about == 'weight' else 0}f} {unit}" for value in known]
    more = first if known[0] > known[1] else second
    close = abs(known[0] - known[1]) < 0.05 * max(known[0], known[1], 1e-9)
    verdict = "They are about the same" if close else f"Number {more.track_id} has more"
    return Advice(f"{verdict}: {about} of number {first.name} {amounts[0]}, of number {second.name} {amounts[1]}.", talk.ranked(),
                  ids, request)


def _explain(request: Request, talk: Talk) -> Advice:
    ranked = talk.ranked(())
    what = request.what
    if what.empty:
        what = Description(deixis="that") if talk.state.focus else Description(numbers=tuple(e.track_id for e in ranked[:1]))
    found = resolve(what, talk.view, talk.context) if not what.empty else Found(())
    if found.problem or not found.items:
        return _say(request, found.problem or _none_fits(what, talk), talk)
    words = []
    for item in found.items[:3]:
        place = next((i for i, entry in enumerate(ranked) if entry.track_id == item.track_id), -1)
        grasp = ranked[place].grasp if place >= 0 else None
        if place >= 0 and grasp is None and item.grasps:
            words.append(f"Number {item.name}: {', '.join(ranked[place].reasons)}.")
        else:
            words.append(replies.explained(item, place, ranked))
    ids = tuple(item.track_id for item in found.items[:3])
    talk.session.state = replace(talk.state, focus=ids)
    return Advice(" ".join(words), talk.ranked(), ids, request)


def _undo(request: Request, talk: Talk) -> Advice:
    if not talk.session.undo():
        return _say(request, "There is nothing to undo.", talk)
    return _changed("undo", f"Undone. {standing(talk.state, talk.view)}", request)


def _start_over(request: Request, talk: Talk) -> Advice:
    talk.session.step(State())
    return _changed("start_over", "From the start: all packages, no choices.", request)


def _help(request: Request, talk: Talk) -> Advice:
    return Advice(replies.HELP, talk.ranked(), (), request)


def _unknown(request: Request, talk: Talk) -> Advice:
    words = f"I do not understand {quoted(request.unknown)}." if request.unknown else "I do not understand that."
    return Advice(f"{words} I answer questions about the packages in sight and note which to pick; say \"help\" for examples.",
                  talk.ranked(), (), request, refused="what I do not understand", asks=True)


def _no_question(request: Request, talk: Talk) -> Advice:
    """`yes` or `no` where nothing was asked: `ok take it` after a recommendation is asked back, `no` withdraws a wish."""
    take = talk.state.take
    if request.takes and len(talk.state.focus) == 1:
        return _choice(Request("take", Description(deixis="that"), asked=True), talk)
    if request.action == "deny" and take is not None and take.deadline_ns > talk.view.scene.stamp_ns:
        talk.session.step(replace(talk.state, take=None))
        words = f"All right: number {take.track_id} is no longer wanted next."
        return _changed("undo", f"{words} {standing(talk.state, talk.view)}", request)
    return _say(request, "I asked nothing. " + replies.recommended(talk.ranked()), talk)


_ANSWERS: Mapping[Action, Callable[[Request, Talk], Advice]] = {
    "recommend": _recommend, "filter": _filter, "select": _select, "describe": _describe, "count": _count, "compare": _compare,
    "explain": _explain, "confirm": _no_question, "deny": _no_question, "undo": _undo, "start_over": _start_over, "help": _help,
    "unknown": _unknown}


def _say(request: Request, words: str, talk: Talk) -> Advice:
    return Advice(words, talk.ranked(), (), request)


def _refuse(request: Request, words: str, talk: Talk, asks: bool = False, highlights: tuple[int, ...] = ()) -> Advice:
    return Advice(words, talk.ranked(), highlights, request, refused=words, asks=asks)


def _done(done: str, words: str, ids: tuple[int, ...], request: Request, talk: Talk) -> Advice:
    after = replace(talk, orders=Orders.of([talk.state], talk.view.scene.stamp_ns).joined(talk.orders))
    return Advice(words, after.ranked(), ids, request, done=done, affected=ids, suggestions=("undo", "what next?", "start over"))


def _changed(done: str, words: str, request: Request) -> Advice:
    return Advice(words, (), (), request, done=done)


def _none_fits(what: Description, talk: Talk) -> str:
    if what.numbers and what.conditions:
        facts = " ".join(replies.described(talk.view.items[n], talk.view, None) for n in what.numbers if n in talk.view.items)
        return f"Number {numbers(what.numbers)} is not that: {facts}"
    return f"I see no {in_words(replace(what, plural=True))}."
