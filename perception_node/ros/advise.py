"""`~/ask` and `~/preferred`: the advisor beside the pipeline. It never delays a scene: it speaks after the scene was published."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy

from perception_node.advise.advisor import Advisor
from perception_node.advise.ranking import Candidate, Ranking
from perception_node.advise.replies import Advice, Ranked
from perception_node.config import Config
from perception_node.errors import unexpected
from perception_node.learn.outcome_log import identity
from perception_node.ros.messages import header, time_message
from perception_node.types import CLASS_NAMES, GRASP_KINDS, Frame, Scene
from perception_node_msgs.msg import Preferred, RankedPackage
from perception_node_msgs.srv import Ask

ASKS_PER_S, ASKS_AT_ONCE = 20.0, 20
"""More requests are refused in words. Source: an answer takes 1 to 3 ms of one core: at most a twentieth of it."""
STALE_S = 2.0
"""Nothing is answered, and nothing chosen, about a scene that is older than this."""
LOG_LINES, LOG_BYTES = 1000, 4 << 20
"""Outcomes that are learned again after a start, within the log's last bytes: what came before them is forgotten anyway
(`Ranking.memory_picks`), and a log grows for years. Source: a line has 1 to 3 KB."""


class AdviseDesk:
    """Answers `~/ask`, publishes `~/preferred` with every scene, and learns from reported outcomes.

    Args:
        node: the perception node. newest: the last frame and its scene. log: outcomes so far (`outcomes.jsonl`).
    """

    def __init__(self, node: Any, config: Config, newest: Callable[[], tuple[Frame, Scene] | None], log: Path) -> None:
        advise = config.advise
        self.advisor = Advisor(Ranking(advise.explore_share, advise.explore_floor, advise.memory_picks, advise.seed))
        if config.grasp.ranking == "own":  # a fitted ranking has learned from the log already
            learn_log(self.advisor.ranking, log)
        self._node, self._newest = node, newest
        self._allowance, self._asked_s = float(ASKS_AT_ONCE), time.monotonic()
        self._run: object = None
        qos = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
        self._publisher = node.create_lifecycle_publisher(Preferred, "~/preferred", qos)
        self._service = node.create_service(Ask, "~/ask", self._ask)

    def destroy(self) -> None:
        """Remove service and publisher."""
        self._node.destroy_service(self._service)
        self._node.destroy_lifecycle_publisher(self._publisher)

    def seen(self, scene: Scene, frame: Frame, run: object) -> None:
        """A scene was published. When the tracker has started over, `run` is another one: numbers mean other packages."""
        if self._run is not None and run != self._run:
            self.advisor.reset()
        self._run = run
        try:
            if self._publisher.get_subscription_count() > 0:
                self._publisher.publish(preferred_message(self.advisor, scene, frame))
            else:
                self.advisor.observe(scene)
        except Exception as error:  # a fault of ours must cost advice, not frames
            self._fault(error)

    def learn(self, entry: Mapping[str, Any], current: bool) -> None:
        """An outcome was accepted; `entry`: as in the log, with the grasp as it was proposed.

        Args:
            current: its track id still means that package; else only the grasp's kind, class and terms teach.
        """
        track_id, kind = entry["track_id"], entry["kind"]
        if not current:
            candidate = Candidate(kind, entry["class_name"], entry["score"], None, entry["terms"], entry["degraded"])
            self.advisor.learn(0, kind, entry["success"], None, candidate)
            return
        candidate = self.advisor.candidate(track_id, kind, entry["score"], entry["terms"], entry["degraded"])
        self.advisor.learn(track_id, kind, entry["success"], entry["weight_kg"], candidate)

    def _ask(self, request: Any, response: Any) -> Any:
        now = time.monotonic()
        self._allowance = min(self._allowance + ASKS_PER_S * (now - self._asked_s), float(ASKS_AT_ONCE))
        self._asked_s = now
        newest = self._newest()
        if self._allowance < 1.0:
            response.reply = f"too many requests: at most {ASKS_PER_S:.0f} a second are answered"
            return response
        self._allowance -= 1.0
        if newest is None:
            response.reply = "there is no scene yet"
            return response
        frame, scene = newest
        age_s = 1e-9 * (self._node.get_clock().now().nanoseconds - scene.stamp_ns)
        if age_s > STALE_S:
            response.reply = f"the newest scene is {age_s:.1f} s old: is the camera silent or are frames dropped? See /diagnostics"
            return response
        try:
            return self._advised(request, response, scene, frame)
        except Exception as error:  # nor the node
            self._fault(error)
            response.answered, response.reply = False, "this could not be answered, by a fault of the program; nothing was changed"
            return response

    def _fault(self, error: Exception) -> None:
        words = f"no advice: {unexpected(error)}"
        self._node.get_logger().error(words, throttle_duration_sec=5.0)

    def _advised(self, request: Any, response: Any, scene: Scene, frame: Frame) -> Any:
        if request.point:
            self.advisor.point(list(request.point), scene, request.session_id)
        if not request.point and not request.text.strip():  # the page keeps its list up to date with this
            response.answered, response.reply = True, "nothing was said"
            response.ranked = ranked_messages(self.advisor.listed(scene, request.session_id))
            return response
        if not request.text.strip():
            return fill(response, self.advisor.ask("what is that", scene, request.session_id, frame.rgb))
        return fill(response, self.advisor.ask(request.text, scene, request.session_id, frame.rgb))


def fill(response: Any, advice: Advice) -> Any:
    """An answer as the service's response."""
    response.answered, response.reply, response.action = True, advice.reply, advice.understood.action
    response.arguments = sorted(advice.understood.slots())
    response.ranked = ranked_messages(advice.ranked)
    response.highlights, response.affected = list(advice.highlights), list(advice.affected)
    response.done, response.asks, response.refused = advice.done, advice.asks, advice.refused
    response.suggestions = list(advice.suggestions)
    return response


def ranked_messages(ranked: Sequence[Ranked]) -> list[RankedPackage]:
    """The order of picking as messages."""
    return [RankedPackage(track_id=entry.track_id, class_name=entry.class_name, score=float(entry.score),
                          kind=entry.grasp.kind if entry.grasp is not None else "", reasons=list(entry.reasons))
            for entry in ranked]


def preferred_message(advisor: Advisor, scene: Scene, frame: Frame) -> Preferred:
    """What should be picked next, as a message with the scene's stamp."""
    standing = advisor.standing(scene, frame.rgb)
    message = Preferred(header=header(scene), never=list(standing.never), later=list(standing.later))
    wanted = standing.preference
    if wanted is not None:
        message.has_preference, message.track_id, message.kind = True, wanted.track_id, wanted.kind
        message.source, message.score = wanted.source, float(wanted.score)
        message.stamp, message.deadline = time_message(wanted.stamp_ns), time_message(wanted.deadline_ns)
    return message


def learn_log(ranking: Ranking, path: Path) -> int:
    """Learn the last outcomes of a log again, each pick once; lines that cannot be read are left out. Returns how many were
    learned."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES))
            lines = log.read().decode("utf-8", errors="replace").split("\n")[-LOG_LINES - 1:]
    except OSError:
        return 0
    learned: set[bytes] = set()
    for line in lines:
        try:
            entry = json.loads(line)
            same = identity(entry)
            if entry["kind"] not in GRASP_KINDS or entry["class_name"] not in CLASS_NAMES or same in learned:
                continue
            terms = {str(name): float(value) for name, value in entry["terms"].items()}
            candidate = Candidate(entry["kind"], entry["class_name"], float(entry["score"]), None, terms, bool(entry["degraded"]))
            ranking.learn(candidate, bool(entry["success"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        learned.add(same)
    return len(learned)
