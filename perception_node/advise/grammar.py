"""Text -> Request by a grammar of phrases: tag the words, decide the action, put the descriptions together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from perception_node.advise.clauses import SLOTS, settle
from perception_node.advise.plain import doubts, no_answer
from perception_node.advise.request import Action, Condition, Description, Request
from perception_node.advise.tagging import Reading, read, tagged
from perception_node.advise.words import ECHOES, FILL, PLURALS, POLITE, WHOLE, Tag

_WHOLE: tuple[Action, ...] = ("start_over", "undo", "help", "confirm", "deny")
_PREDICATES = ("size", "height", "weight")
_ASKING = frozenset({"what", "whats", "which", "who", "whos"})
_NO = frozenset({"no", "nope", "nah"})
_TAKING = frozenset({"take", "pick", "grab"})
_JOINTS = frozenset({"and", "or", "nor", ","})
_RATING = frozenset({"score", "scores", "scoring", "confidence", "rated", "chance", "chances", "odds", "probability", "rating"})
_OF_THE = frozenset({("of", "the"), ("of", "these"), ("of", "those")})
_SINGULAR = frozenset({"the", "a", "that", "this", "box", "bag", "mailer", "envelope", "carton", "crate", "sack", "pouch",
                       "letter"})
_VAGUE = frozenset({"wh", "modal", "is", "deixis", "relation", "generic", "count", "not", "dont", "where", "confirm", "command"})
"""Kinds of tags that do not carry a meaning beside words that were not understood: "is it going to rain"."""

def understand(text: str) -> Request:
    """What a line of text asks for. Never raises; what is not understood is in `unknown`, and the action may be "unknown"."""
    words, unknown, unsure = read(text)
    whole = _whole(words)
    if whole is not None and not unknown:
        return Request(whole, asked="?" in words, takes=bool(_TAKING & set(words)))
    reading = tagged(words)
    reading.unknown[:0] = unknown
    reading.unsure[:0] = unsure
    off = reading.has("off")
    request = compose(reading, decide(reading))
    return _last_clause(words) or request if off or request.action == "select" and not request.what.conditions else request


def _last_clause(words: list[str]) -> Request | None:
    """`new shift here. what should I start with`, `I am new here, how does this work`: what is asked at the end, when it is no
    choice."""
    ends = [i for i, word in enumerate(words[:-1]) if word in (",", ".", ";", "!")]
    rest = words[ends[-1] + 1:] if ends else []
    whole = _whole(rest) if rest else None
    if whole == "help":
        return Request(whole)
    reading = tagged(rest)
    if not rest or "\0" in words or reading.has("off"):
        return None
    request = compose(reading, decide(reading))
    return request if request.action in ("recommend", "help") else None


def decide(reading: Reading) -> Action:
    """The action of a tagged text."""
    settle(reading)
    if not reading.tags:
        return "unknown"
    has, values = reading.has, {tag.kind: tag for tag in reading.tags}
    kinds = [tag.kind for tag in reading.tags]
    begins = {reading.words[0], reading.words[reading.tags[0].at]}
    asks = kinds[0] != "take" and (has("wh") or bool(begins & _ASKING))
    to_take = _infinitive(reading)
    if has("off"):
        return "unknown"
    if kinds == ["wh"] and values["wh"].value == "which" and "one" in reading.words and not reading.unknown:
        return "recommend"
    if reading.unknown and _VAGUE.issuperset({*kinds} - {"about", "describe"}):
        return "unknown"
    if len(reading.unknown) >= 2 and len(reading.unknown) >= len(kinds):
        return "unknown"
    if has("explain"):
        return "explain"
    if has("start_over") and not has(*SLOTS, "number", "take", "ordinal"):
        return "start_over"
    if has("undo") and not has(*SLOTS, "number"):
        return "deny" if reading.words[0] in _NO and {"not", "wasnt", "isnt"} & set(reading.words) else "undo"
    if has("help") and not has(*SLOTS, "number", "deixis", "take", "recommend"):
        return "help"
    if has("later") and not asks:
        bears = has(*SLOTS, "number", "deixis", "generic", "most", "ordinal", "take")
        return "later" if bears or reading.words[values["later"].at] not in ("when", "once", "after") else "unknown"
    if set(kinds) == {"not", "deixis"} and values["deixis"].value == "that":
        return "deny" if reading.words[0] in _NO else "never"
    if "leave" in reading.words and "alone" in reading.words and has(*SLOTS, "number", "deixis"):
        return "never"
    if kinds[0] == "count" and reading.words[reading.tags[0].at] == "how" and has("dont"):
        return "count"  # "how many can't be picked"
    if (has("never") and not asks) or (has("take") and has("dont") and not asks) or _not_before_take(reading):
        return "never"
    if _comparing(reading):
        return "compare"
    if has("command") and not has("number", "class", "colour", "generic", "take"):
        return "unknown"
    if asks and has("most") and (values["most"].value != "best" or _RATING & set(reading.words)) and not has("take"):
        return "compare"
    if has("recommend") and has("number", "deixis") and not asks and not has("modal", "show", "only", "count", "other"):
        reading.unsure.append("next")
        return "take"
    counts = has("count") and reading.words[values["count"].at] not in ("any", "is", "are", "got", "have")
    if has("recommend") and not (has("take") and not asks and not has("modal") and not to_take) and not has("only") and not counts:
        return "recommend"
    if to_take and any(tag.value in ("best", "good") for tag in reading.tags):
        return "recommend"
    if has("about") and values["about"].value == "where" and "should" in reading.words and not has(*SLOTS, "number", "deixis"):
        return "recommend"
    if has("other") and reading.words[0] == "any":
        return "recommend"
    if reading.words[0] in ("anything", "something") and has("take") and has("modal") and not has("number", "deixis", "gripper"):
        return "recommend"  # "anything light that I could start with"
    if begins & {"he", "she", "his", "her"} and not has("number", "take", "never", "later", "show"):
        return "unknown"
    if has("recommend", "other") and has("count") and not has(*SLOTS):
        return "recommend"
    if asks and (has("take") or (has("most") and not has("number", "about"))):
        return "recommend"
    if asks and not has(*SLOTS, "number", "about", "deixis", "count", "relation", "most", "describe") and (
            has("generic") or any(tag.kind == "modal" and "should" in reading.words for tag in reading.tags)):
        return "recommend"
    if asks and has("ordinal") and not has(*SLOTS, "number", "about"):
        return "recommend"
    if has("count") and not (has("about") and has("number", "deixis")):
        return "count"
    if has("other") and not has(*SLOTS, "number", "take", "only", "most", "relation") and (
            has("not") or not has("deixis")):
        return "select" if "the other one" in " ".join(reading.words) else "recommend"
    if reading.tags and reading.tags[0].kind == "is" and has("generic") and has(*SLOTS) and not has("number"):
        named = {reading.words[tag.at] for tag in reading.tags if tag.kind == "generic"}
        if named & {"anything", "something", "everything"}:
            return "count"
    if reading.words[0] in ("anything", "something") and reading.words[-1] == "?" and has(*SLOTS):
        return "count"
    if kinds[0] == "wh" and values["wh"].value == "what" and has("gripper") and not has("number", "class", "deixis", "about") and (
            {"take", "held", "hold", "lift", "handle"} & set(reading.words)):
        return "recommend"  # "what can the suction cup take"
    if has("about") and has("amount") and not has("number", "deixis"):
        return "filter"
    if has("about") and values["about"].value == "where" and has("show") \
            and reading.words[values["show"].at] in ("point", "highlight", "mark"):
        return "select"  # "where has 3 gone, can you point at it"
    if has("describe", "about") or _asks_about_one(reading):
        return "describe"
    if has("take"):
        return "take"
    if has("show") and values["show"].at < len(reading.words) and reading.words[values["show"].at] in ("where", "wheres") \
            and has("deixis") and not has(*SLOTS, "number"):
        reading.tags.append(Tag("about", "where", values["show"].at))
        return "describe"
    pointing = _pointing(reading)
    if pointing == "select" and has("most") and "?" in reading.words and not has("show"):
        return "recommend" if values["most"].value == "best" else "compare"
    return "recommend" if pointing == "select" and values.get("most", Tag("", "")).value == "best" else pointing


def _infinitive(reading: Reading) -> bool:
    """`the best box to take`, `the next one to grab`: what to take is asked for, nothing is told."""
    kinds = [tag.kind for tag in reading.tags]
    if kinds.count("take") != 1 or {"dont", "not", "modal", "never"} & set(kinds):
        return False
    place = kinds.index("take")
    return reading.words[reading.tags[place].at - 1] == "to" and bool({"most", "recommend", "score"} & set(kinds[:place]))


def _verb_leads(reading: Reading) -> bool:
    """True when something to take follows the verb, as in `take 6` or `the red one, grab that`; not in `jaw grasps`."""
    kinds = [tag.kind for tag in reading.tags]
    after = kinds[kinds.index("take") + 1:] if "take" in kinds else []
    moved = reading.words[reading.tags[-1].at] in ("first", "next") if reading.tags else False
    return moved or bool({*SLOTS, "number", "deixis", "generic", "most", "ordinal", "amount", "relation"} & set(after))


def compose(reading: Reading, action: Action) -> Request:
    """The request of a tagged text whose action is known."""
    what, about = describe(reading, action)
    asked = "?" in reading.words or (action == "take" and reading.has("modal")) \
        or (action in ("never", "later") and bool(reading.tags) and reading.tags[0].kind == "modal" and reading.words[0] != "do")
    if action == "take" and not _verb_leads(reading):
        reading.unsure.append("take")
    if action in FILL:  # whatever else is said may turn a choice into something else
        reading.unsure += doubts(reading, action)
    if action == "recommend":
        conditions = tuple(c for c in what.conditions if (c.slot, c.value) != ("score", "good"))
        what = replace(what, conditions=conditions)
        among = "them" if what.deixis == "them" and not what.other else ""
        what = replace(what, ordinal=0, most="" if what.most == "best" else what.most, deixis=among)
    if action in FILL and (("but" in reading.words) or (reading.has("not") and reading.has("number"))):
        reading.unsure.append("but" if "but" in reading.words else "not")
    if action in ("select", "filter"):  # "not 6" and "where is 6" are no answers to "which one, 1 or 6?"
        reading.unsure += no_answer(reading)
    unsure = [*reading.unsure, *(tag.unsure for tag in reading.tags if tag.unsure)]
    if action in ("explain", "recommend", "filter", "select") or (action == "compare" and what.most and not what.numbers):
        about = ""
    nothing = what.empty and not reading.has("generic", "deixis", "number")
    if action in ("never", "later") and nothing and (reading.unknown or unsure):
        action = "unknown"  # "see you later alligator"
    if action in ("confirm", "deny", "undo", "start_over", "help", "unknown"):
        what, about = Description(), ""
    return Request(action, what, about, tuple(reading.unknown), tuple(unsure), asked)


def describe(reading: Reading, action: Action) -> tuple[Description, str]:
    """The packages that a tagged text is about, and the property that it asks for."""
    parts = [_Part()]
    about, negated, asking = "", False, False
    bundle, before = 0, Tag("", "")
    comparing = action == "compare"
    refusing = action in ("never", "later")
    for place, tag in enumerate(reading.tags):
        part = parts[-1]
        if tag.kind == "not" and refusing and (place == 0 or any(later.kind == "take" for later in reading.tags[place:])):
            reading.unsure += ["not"] if action == "later" else []  # "not now the bag, later": it is the refusal itself
            continue
        if action == "explain" and (tag.kind in ("not", "about") or reading.words[max(tag.at - 1, 0)] == "so"):
            continue
        if tag.kind == "not" or (tag.kind == "dont" and action == "filter"):
            negated, bundle = True, bundle + 1
        elif tag.kind in ("only", "but"):
            negated = False
        elif tag.kind == "about":
            about = tag.value
        elif tag.kind == "comparative":
            about = tag.value or about
        elif tag.kind == "is" or tag.kind == "modal" and reading.words[tag.at] == "does":
            asking = True
        elif tag.kind in SLOTS or tag.kind == "amount":
            if negated and (before.kind != tag.kind or tag.kind == "class") and _JOINTS & set(reading.words[before.at:tag.at]):
                bundle += 1  # "nothing white or covered" refuses either, "not the white or blue boxes" boxes alone
            before = tag
            condition = _condition(tag, negated, bundle if negated else 0)
            if action == "describe" and asking and part.named and tag.kind in SLOTS and (
                    about in ("", condition.slot) or tag.kind == "gripper"):
                about = condition.slot  # "is it a box or a bag?" asks for one property
            elif action == "explain" and part.named and (tag.kind in ("lies", "score") or (asking and tag.kind in _PREDICATES)):
                pass
            elif comparing and tag.kind in ("weight", "size", "height", "score") and (
                    len(part.numbers) != 1 or "as" in reading.words):
                about = about or tag.kind
            else:
                part.add(condition)
        elif tag.kind == "number":
            if negated and action in ("filter", "select", "recommend"):
                part.add(Condition("number", tag.value, negated=True))
            else:
                part.numbers.append(int(tag.value))
        elif tag.kind == "deixis":
            part.deixis = part.deixis or tag.value
            part.among = tag.value == "them" and reading.words[max(tag.at - 1, 0)] in (
                "of", "many", "are", "do", "from", "among", "amongst")
        elif tag.kind == "most" and not (action == "explain" and part.named):
            part.most = part.most or tag.value
        elif tag.kind == "ordinal" and not (action == "explain" and part.named):
            part.ordinal = part.ordinal or int(tag.value)
        elif tag.kind == "other":
            part.other = action in ("recommend", "filter", "select") or not part.named
        elif tag.kind == "relation" and action == "explain" and part.numbers:
            continue  # "why 1 before 6"
        elif tag.kind == "relation" and len(parts) <= 2:
            part.relation = tag.value
            parts.append(_Part(deixis="that" if "its" in reading.words[tag.at:tag.at + 3] else ""))
            negated = False
        elif tag.kind == "generic":
            part.plural = part.plural or tag.value == "ones"
            part.named = True
        if tag.kind in ("number", "deixis", "most", "class"):
            part.named = True
        part.plural = part.plural or (tag.kind in ("class", "generic") and reading.words[tag.at] in PLURALS)
    if about and "its" in reading.words and not parts[0].named and not parts[0].conditions:
        parts[0].deixis = "that"
    for place in range(len(parts) - 1, 0, -1):
        anchor = parts[place].made(parts[place].anchor)
        if anchor.empty:
            reading.unsure.append(parts[place - 1].relation)  # "take the box under": under what?
            parts[place - 1].relation = ""
            parts[place - 1].adopt(parts[place])
        else:
            parts[place - 1].anchor = anchor
    what = parts[0].made(parts[0].anchor)
    return what, about


@dataclass
class _Part:
    """A description while it is put together."""

    conditions: list[Condition] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    deixis: str = ""
    most: str = ""
    ordinal: int = 0
    relation: str = ""
    anchor: Description | None = None
    plural: bool = False
    other: bool = False
    named: bool = False
    among: bool = False

    def add(self, condition: Condition) -> None:
        if condition not in self.conditions:
            self.conditions.append(condition)

    def adopt(self, other: _Part) -> None:
        self.plural = self.plural or other.plural

    def made(self, anchor: Description | None) -> Description:
        named = self.conditions or self.most or self.ordinal or self.relation
        deixis = "" if self.numbers or (self.deixis and named and not self.among) else self.deixis
        plural = self.plural or len(self.numbers) > 1 or deixis == "them"
        return Description(tuple(sorted(self.conditions)), tuple(sorted(set(self.numbers))), deixis, self.most, self.ordinal,
                           self.relation, anchor, plural, self.other)


def _condition(tag: Tag, negated: bool, bundle: int) -> Condition:
    if tag.kind == "amount":
        slot, operator, value = tag.value.split(" ")
        return Condition(slot, value, operator, negated, bundle)
    return Condition(tag.kind, tag.value, "=", negated, bundle)


def _whole(words: Sequence[str]) -> Action | None:
    """The action when the text is nothing but one of its phrases, politeness aside."""
    plain = [word for word in words if word[0].isalnum() or word[0] == "\0"]
    if not plain:
        return "help" if words and set(words) == {"?"} else None
    if {"hello", "hi", "hey"}.issuperset(plain):
        return "help"
    found: list[tuple[int, Action]] = []
    for action in _WHOLE:
        for phrase in WHOLE[action]:
            size = len(phrase)
            for start in range(len(plain) - size + 1):
                rest = frozenset(plain[:start] + plain[start + size:])
                if tuple(plain[start:start + size]) == phrase and POLITE.issuperset(rest - ECHOES.get(action, frozenset())):
                    found.append((size, action))
    best = max(found, key=lambda one: one[0])[1] if found else None
    if best == "undo" and plain[0] in _NO and {"not", "wasnt", "isnt", "wrong"} & set(plain):
        return "deny"  # "no, that is not what i meant"
    return best


def _comparing(reading: Reading) -> bool:
    has = reading.has
    numbers = sum(tag.kind == "number" for tag in reading.tags)
    about_weight = has("about") and bool({"than", "more", "less"} & set(reading.words))
    by_word = has("wh") and has("size", "weight", "height", "score", "most")
    as_much = ("as" in reading.words or "or" in reading.words) and has("is") and has("size", "weight", "height", "score")
    if numbers >= 2 and (has("compare", "comparative") or about_weight or by_word or as_much):
        return True
    if has("compare") and (numbers or has("class", "deixis")):
        return True
    first = reading.tags[0].kind == "is" and "than" in reading.words  # "is the bag bigger than the box"
    return has("comparative") and has("is", "wh") and (numbers > 0 or first) and not has("amount")


def _not_before_take(reading: Reading) -> bool:
    kinds = [tag.kind for tag in reading.tags]
    if "take" not in kinds or "wh" in kinds:
        return False
    before = kinds[:kinds.index("take")]
    return "not" in before


def _asks_about_one(reading: Reading) -> bool:
    """`what is number 7`, `is it covered`."""
    tags = reading.tags
    kinds = [tag.kind for tag in tags]
    if not kinds:
        return False
    first = 1 if kinds[0] == "but" and len(kinds) > 1 else 0
    one = any(tag.kind == "number" or (tag.kind == "deixis" and tag.value == "that") for tag in tags)
    if reading.has("wh") and one and not reading.has("relation", "take", "most", "comparative"):
        return any(tag.kind == "wh" and tag.value == "what" for tag in tags)
    if kinds[first] == "wh" and not reading.has("relation"):
        singular = one or (reading.has("class", "generic") and not any(reading.words[tag.at] in PLURALS for tag in tags))
        return singular and tags[first].value == "what"
    does = kinds[first] == "modal" and reading.words[tags[first].at] in ("does", "do") and reading.has("lies", "weight")
    return (kinds[first] == "is" or does) and (one or reading.has("class", "generic")) and reading.has(*SLOTS)


def _pointing(reading: Reading) -> Action:
    """Filter or select: several packages or one."""
    has = reading.has
    if not has(*SLOTS, "amount", "number", "deixis", "most", "ordinal", "relation"):
        return "unknown"
    single = has("number", "most", "ordinal") or any(tag.kind == "deixis" and tag.value == "that" for tag in reading.tags)
    plural = any(reading.words[tag.at] in PLURALS or tag.value in ("ones", "them") for tag in reading.tags)
    if has("only", "not") and not (has("number") and has("show")):
        return "filter"
    if single and (not plural or (has("most") and _OF_THE & set(zip(reading.words, reading.words[1:], strict=False)))):
        return "select"
    if plural:
        return "filter"
    if has("wh") and has("relation"):
        return "select"
    named = has("generic") or "one" in reading.words or (has("class") and bool(_SINGULAR & set(reading.words)))
    return "select" if named else "filter"


