"""One turn of a conversation: corrections and what else depends on the turns before, then the answer."""

from __future__ import annotations

from dataclasses import replace

from perception_node.advise.answers import Talk, answer
from perception_node.advise.order import Orders, narrowed
from perception_node.advise.replies import KIND_WORDS, MOST_NAMED, Advice, names_of, numbers
from perception_node.advise.request import CHOICES, Description, Request
from perception_node.advise.resolve import in_words, resolve
from perception_node.advise.session import Chosen, State


def respond(request: Request, talk: Talk) -> Advice:
    """Answer one request in its conversation; the session goes on to its next state."""
    before = talk.state
    special = _one_at_a_time(request, talk) or _past(request, talk) or _lifted(request, talk) or _corrected(request, talk)
    advice = special or _graspless(request, talk) or answer(request, talk)
    talk.session.state = replace(talk.state, chosen=_chosen(advice, before, talk.state))
    return advice


def _one_at_a_time(request: Request, talk: Talk) -> Advice | None:
    """Two requests in one line are not carried out: None = there are not two."""
    if not request.requests:
        return None
    talk.session.state = replace(talk.state, pending=None, stale=True)
    first, second = request.requests
    return Advice(f"One thing at a time, please: first \"{first}\", then \"{second}\". Nothing is done yet.", talk.ranked(), (),
                  request, refused="two requests in one line", asks=True, suggestions=request.requests)


def _past(request: Request, talk: Talk) -> Advice | None:
    """`did you take 15?` asks what happened and chooses nothing; None = it is no such question."""
    if not request.past:
        return None
    found = talk.find(request.what)
    if found.problem or not found.items:
        words = found.problem or f"I see no {in_words(request.what)}."
        return Advice(f"{words} I do not know what became of it.", talk.ranked(), (), request)
    ids, take = tuple(item.track_id for item in found.items), talk.orders.take
    talk.session.state = replace(talk.state, pending=None, focus=ids)
    wish = f" Number {take.track_id} is wanted next." if take is not None and take.track_id in ids else ""
    still = f"{names_of(found.items)} {'is' if len(ids) == 1 else 'are'} still in sight."
    return Advice(still + wish, talk.ranked(), ids, request)


def _lifted(request: Request, talk: Talk) -> Advice | None:
    """`allow 10 again` takes back what was said of 10; `don't skip 10` says how to; None = nothing is taken back."""
    if not request.lifts:
        return None
    found, state = talk.find(request.what), replace(talk.state, pending=None)
    talk.session.state = state
    ids = tuple(item.track_id for item in found.items)
    if found.problem or not ids:
        return _say(found.problem or f"I see no {in_words(request.what)}.", request, talk)
    if len(ids) > 1 and not request.what.plural:
        return replace(_say(f"Which one: {names_of(found.items)}? Say \"allow {ids[0]} again\".", request, talk), asks=True)
    rules = tuple(r for r in (*state.never_rules, *state.later_rules) if r.conditions == request.what.conditions)
    after = state
    for action, tracks in (("never", state.never), ("later", state.later)):
        if request.action not in CHOICES or request.action == action:
            after = _without(Chosen("never" if action == "never" else "later", tuple(set(ids) & set(tracks)), rules), after)
    talk.session.state = replace(state, focus=ids)
    if after != state and request.asked:
        words = f"{names_of(found.items)}: \"allow {numbers(ids)} again\" takes back what you said."
        return replace(_say(words, request, talk), asks=True, highlights=ids, suggestions=(f"allow {numbers(ids)} again",))
    if after != state:
        talk.session.step(replace(after, focus=ids))
    mine = Orders.of([state], talk.view.scene.stamp_ns)
    left = Orders.of([after], talk.view.scene.stamp_ns)
    held = [item for item in found.items if left.forbids(item, talk.view) or (
        talk.orders.forbids(item, talk.view) and not mine.forbids(item, talk.view))]
    still = f" Still refused, by a rule or by another operator: {names_of(held)}." if held else ""
    if after == state:
        words = f"You have said neither never nor later of {names_of(found.items)}: nothing is changed.{still}"
        return replace(_say(words, request, talk), highlights=ids)
    return Advice(f"Allowed again: {names_of(found.items)}.{still}", (), ids, request, done="undo")


def _graspless(request: Request, talk: Talk) -> Advice | None:
    """Those without a grasp, each with the reason; None = they are not asked for."""
    if not request.graspless:
        return None
    kind = next((c.value for c in request.what.conditions if c.slot == "gripper"), "")
    what = replace(request.what, plural=True, most="", ordinal=0, conditions=tuple(
        c for c in request.what.conditions if c.slot not in ("gripper", "score") and not c.negated))
    found = resolve(what, talk.view, talk.context, [item.track_id for item in narrowed(talk.view, talk.state.filters)])
    talk.session.state = replace(talk.state, pending=None)
    if found.problem:
        return _say(found.problem, request, talk)
    held = [item for item in found.items if item.grasps and (not kind or kind in item.grasps)]
    without = [item for item in found.items if item not in held]
    by = f" for {KIND_WORDS[kind]}" if kind else ""
    words = f"{len(without)} of {len(found.items)} {'has' if len(without) == 1 else 'have'} no grasp{by}"
    reasons = [f"{item.name}: " + ("; ".join(f"{KIND_WORDS.get(name, name)}: {reason}" for name, reason in item.reasons.items()
                                             if kind in ("", name)) or "no reason was given") for item in without[:MOST_NAMED]]
    more = f" And {len(without) - MOST_NAMED} more." if len(without) > MOST_NAMED else ""
    said = f"{words}. {'. '.join(reasons)}.{more}" if without else f"{words}."
    ids = tuple(item.track_id for item in without)
    talk.session.state = replace(talk.state, focus=ids)
    return replace(_say(said, request, talk), highlights=ids)


def _chosen(advice: Advice, before: State, after: State) -> Chosen | None:
    """What a turn has chosen and was not chosen before."""
    if advice.done not in CHOICES:
        return None
    if advice.done == "take":
        return Chosen("take", advice.affected)
    never = advice.done == "never"
    tracks = set(after.never if never else after.later) - set(before.never if never else before.later)
    earlier = before.never_rules if never else before.later_rules
    rules = tuple(rule for rule in (after.never_rules if never else after.later_rules) if rule not in earlier)
    return Chosen("never" if never else "later", tuple(sorted(tracks)), rules)


def _corrected(request: Request, talk: Talk) -> Advice | None:
    """`no, 18` after "take 16": 16 is no longer wanted, 18 is asked for; None = it corrects nothing."""
    state, take = talk.state, talk.state.take
    if take is not None and take.deadline_ns <= talk.view.scene.stamp_ns:
        take = None
    refused = {int(c.value) for c in request.what.conditions if c.slot == "number" and c.negated}
    if take is not None and request.action == "filter" and take.track_id in refused:  # "not 16, 18"
        meant = tuple(sorted({*request.what.numbers, *refused} - {take.track_id}))
        if not meant:
            return None
        request = replace(request, action="select", what=Description(numbers=meant), corrects=True)
    if not request.corrects:
        return None
    pending = state.pending
    if pending is not None:
        if not pending.whole or request.action in CHOICES:
            return None
        talk.session.state = replace(state, pending=None)
        return answer(replace(request, action=pending.action, asked=True), talk)
    chosen = state.chosen or (Chosen("take", (take.track_id,)) if take is not None else None)
    if chosen is None or (chosen.action == "take" and take is None):
        return None
    if request.action in CHOICES and chosen.action != "take":
        return None
    if request.action == "filter" and not request.what.numbers and state.chosen is None:
        return None
    found = talk.find(request.what)
    if take is not None and chosen.action == "take" and found.one is not None and found.one.track_id == take.track_id:
        return Advice(f"Number {found.one.name} is what you want next already.", talk.ranked(), (take.track_id,), request)
    asked = replace(request, action=chosen.action, asked=True) if request.action not in CHOICES else request
    advice = answer(asked, talk)
    if advice.done:
        return advice
    talk.session.step(replace(_without(chosen, talk.state), focus=advice.highlights))  # "it" is no longer the one taken back
    return replace(advice, reply=f"{_withdrawn(chosen)} {advice.reply}".strip(), ranked=())


def _say(words: str, request: Request, talk: Talk) -> Advice:
    return Advice(words, talk.ranked(), (), request)


def _without(chosen: Chosen, state: State) -> State:
    if chosen.action == "take":
        return replace(state, take=None)
    if chosen.action == "never":
        return replace(state, never=tuple(n for n in state.never if n not in chosen.tracks),
                       never_rules=tuple(rule for rule in state.never_rules if rule not in chosen.rules))
    return replace(state, later=tuple(n for n in state.later if n not in chosen.tracks),
                   later_rules=tuple(rule for rule in state.later_rules if rule not in chosen.rules))


def _withdrawn(chosen: Chosen) -> str:
    if chosen.action == "take":
        return f"Number {chosen.tracks[0]} is no longer wanted next."
    names = [f"number {numbers(chosen.tracks)}"] if chosen.tracks else []
    names += [f"all {in_words(rule)}" for rule in chosen.rules]
    return f"Taken back: {chosen.action} {' and '.join(names)}." if names else ""
