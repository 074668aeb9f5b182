"""The other way to understand: a small model of the action, trained on simulated turns, to measure the grammar against.

Hashed words, pairs of words and letter triples; one softmax layer. Only for comparison: what is shipped is in `advise/`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perception_node.advise.request import ACTIONS
from perception_node.advise.words import tokens

BUCKETS = 1 << 14
TURNS, EPOCHS, RATE = 12_000, 12, 0.5

_KIND = ("box", "boxes", "bag", "bags", "mailer", "mailers", "package", "one", "ones", "envelope", "poly bag", "carton")
_LOOK = ("white", "brown", "black", "red", "big", "small", "tall", "flat", "heavy", "free", "covered", "")
_PLACE = ("on the left", "on the right", "in the middle", "at the back", "under the bag", "behind it", "next to number 4", "")
TEMPLATES = {
    "recommend": (
        "what should i pick next", "which {k} should i take", "what next", "recommend a {k}", "suggest something",
        "what do you recommend", "which one first", "what is the best {k}", "something else", "any ideas", "you decide",
        "what would you take", "show me your top pick", "which {l} {k} is best to pick"),
    "filter": (
        "only {l} {k}", "just the {k} {p}", "show me the {l} {k}", "no {k}", "not the {l} ones", "anything but {k}",
        "{l} ones", "only those {p}", "under 20 cm", "score above 80 percent", "hide the {k}", "which are {l}",
        "everything except {k}", "lighter than 2 kg", "ones that suction can take", "what is {p}"),
    "select": (
        "the {l} {k} {p}", "number 7", "that one", "the one {p}", "the biggest {k}", "show me number 5",
        "where is the {l} {k}", "the second one", "this one", "highlight the {l} {k}", "find the {k} {p}",
        "the leftmost {k}"),
    "describe": (
        "what is number 7", "tell me about number 3", "how big is the {l} {k}", "how heavy is it",
        "what colour is number 2", "is number 4 covered", "describe the {k} {p}", "what is that", "details of 5",
        "what is the score of 6", "is it {l}"),
    "count": (
        "how many {k}", "how many {l} {k} are there", "count the {k}", "are there any {l} {k}", "any {k} left",
        "number of {k}", "how many are {l}", "is there a {l} {k}"),
    "compare": (
        "which is the biggest", "which {k} is the heaviest", "is 7 heavier than 9", "compare 3 and 5",
        "what is the tallest {k}", "which is bigger 3 or 4", "3 versus 7", "which one is the smallest {k}"),
    "explain": (
        "why not the {l} {k}", "why is number 4 first", "why this one", "what is wrong with 7", "explain number 5",
        "why", "how come you skip the {k}", "why not"),
    "take": (
        "take the {l} {k}", "take number 7", "pick that one", "grab the {k} {p}", "pick up the {l} {k} {p}",
        "go for number 3", "take the biggest {k}", "i want number 5", "lets take 6", "get the {l} one",
        "please take the {k}", "take it"),
    "never": (
        "never take the {k}", "never this one", "dont take number 7", "ignore the {l} {k}", "skip that one",
        "avoid the {k} {p}", "do not touch 5", "leave number 3 alone", "exclude number 4"),
    "later": (
        "leave the {k} for later", "the {l} {k} later", "do the {k} last", "number 4 can wait", "postpone 6",
        "keep the {k} for the end", "hold off on number 5", "{k} at the end"),
    "confirm": (
        "yes", "yes please", "ok", "do it", "go ahead", "sure", "correct", "thats right"),
    "deny": (
        "no", "nope", "no thanks", "wrong", "not that"),
    "undo": (
        "undo", "undo that", "go back", "take that back", "never mind", "cancel that", "scratch that", "forget it"),
    "start_over": (
        "start over", "start again", "reset", "clear all filters", "from the beginning", "forget everything", "show all"),
    "help": (
        "help", "what can i say", "what can you do", "how does this work", "help me"),
    "unknown": (
        "tell me a joke", "what is the weather", "who won the match", "stop the belt", "asdf qwer", "i like trains",
        "good morning", "turn off the light", "move the arm", "how old are you"),
}
_POLITE = ("", "", "", "please ", "ok ", "hey ", "can you ", "now ", "um ")


def simulate(count: int, seed: int) -> list[tuple[str, int]]:
    """Turns of a simulated operator with their actions; a fifth have a slip of the keyboard."""
    random = np.random.default_rng(seed)

    def pick(options: Sequence[str]) -> str:
        return options[int(random.integers(len(options)))]

    turns = []
    for _ in range(count):
        action = int(random.integers(len(ACTIONS)))
        text = pick(TEMPLATES[ACTIONS[action]])
        text = pick(_POLITE) + text.replace("{k}", pick(_KIND)).replace("{l}", pick(_LOOK)).replace("{p}", pick(_PLACE))
        if random.random() < 0.2 and len(text) > 4:
            place = int(random.integers(len(text) - 1))
            text = text[:place] + text[place + 1] + text[place] + text[place + 2:]
        turns.append((" ".join(text.split()), action))
    return turns


def features(text: str) -> NDArray[np.int64]:
    """Indices of what is in a text."""
    words = ["^", *("7" if word[0].isdigit() else word for word in tokens(text)), "$"]
    parts = [*words, *(" ".join(pair) for pair in zip(words, words[1:], strict=False))]
    parts += [f"~{padded[i:i + 3]}" for padded in (f"<{word}>" for word in words) for i in range(len(padded) - 2)]
    return np.array(sorted({zlib.crc32(part.encode()) % BUCKETS for part in parts}), dtype=np.int64)


class ActionModel:
    """A softmax layer over hashed features, trained by stochastic gradient descent; the same seed gives the same model."""

    def __init__(self, seed: int = 0, turns: int = TURNS) -> None:
        self._weights = np.zeros((BUCKETS, len(ACTIONS)))
        random = np.random.default_rng(seed)
        samples = [(features(text), action) for text, action in simulate(turns, seed)]
        for epoch in range(EPOCHS):
            for place in random.permutation(len(samples)):
                rows, action = samples[place]
                gradient = self._softmax(rows)
                gradient[action] -= 1.0
                self._weights[rows] -= RATE / (1 + epoch) / len(rows) ** 0.5 * gradient

    def action(self, text: str) -> str:
        """The most probable action."""
        return ACTIONS[int(np.argmax(self._softmax(features(text))))]

    def _softmax(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        logits = self._weights[rows].sum(axis=0)
        odds = np.exp(logits - logits.max())
        result: NDArray[np.float64] = odds / odds.sum()
        return result
