"""What open pages are told unasked, and how seldom the node is asked for it."""

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

pytest.importorskip("aiohttp", reason="pip install -r requirements/runtime.txt")
pytest.importorskip("cv2")

from perception_node.errors import PerceptionError  # noqa: E402
from perception_node.ros import console_pages  # noqa: E402
from perception_node.ros.console_pages import Lists, Page  # noqa: E402


class FakeLink:
    """Notes who is asked for, and answers with one package named after the conversation."""

    def __init__(self):
        self.moment = SimpleNamespace(order=(1, 2))
        self.asked, self.fails = [], False

    def health(self):
        return {"level": "ok", "lines": []}

    def ask(self, text, session_id, point):
        assert (text, point) == ("", [])
        self.asked.append(session_id)
        future = Future()
        entry = SimpleNamespace(track_id=7, class_name=session_id, kind="suction", score=0.5, reasons=["free"])
        if self.fails:
            future.set_exception(PerceptionError("the perception node does not answer"))
        else:
            future.set_result(SimpleNamespace(answered=True, ranked=[entry]))
        return future


@pytest.fixture
def link():
    return FakeLink()


@pytest.fixture
def pages():
    return set()


@pytest.fixture
def spoken():
    return set()


@pytest.fixture
def lists(link, pages, spoken):
    return Lists(link, pages, spoken.__contains__)


def page(pages, session):
    made = Page(None, session)
    pages.add(made)
    return made


def renewed(lists, now_s):
    """Ask for what is due at a time; which conversation it was, None = none."""
    async def work():
        found = lists._due(now_s)
        if found is not None:
            await lists._renew(*found)
            lists._asked[found[0]] = now_s, lists._asked[found[0]][1]
        return None if found is None else found[0]
    return asyncio.run(work())


def test_a_list_is_renewed_when_the_order_changed_and_seldom_otherwise(lists, link, pages):
    one = page(pages, "a")
    assert renewed(lists, 100.0) == ""
    assert '"name": "a"' in one.unsent["ranking"]
    assert renewed(lists, 100.0 + console_pages.CHANGED_S) is None  # nothing has changed
    assert renewed(lists, 100.0 + console_pages.CALM_S) == ""
    link.moment = SimpleNamespace(order=(2, 1))
    assert renewed(lists, 100.0 + console_pages.CALM_S + console_pages.CHANGED_S / 2) is None
    assert renewed(lists, 100.0 + console_pages.CALM_S + console_pages.CHANGED_S) == ""
    lists.hurry(everybody=True)  # an outcome was reported
    assert renewed(lists, 100.1 + console_pages.CALM_S + console_pages.CHANGED_S) == ""
    assert len(link.asked) == 4


def test_conversations_in_which_nothing_was_said_share_one_question(lists, link, pages, spoken):
    alike = [page(pages, name) for name in "abc"]
    spoken.add("d")
    own = page(pages, "d")
    assert sorted([renewed(lists, 1.0), renewed(lists, 1.0)]) == ["", "d"]
    assert renewed(lists, 1.0) is None
    assert all("ranking" in each.unsent for each in alike)
    assert '"name": "d"' in own.unsent["ranking"]
    assert len(link.asked) == 2


def test_a_page_that_nobody_sees_asks_nothing(lists, link, pages):
    hidden = page(pages, "a")
    hidden.hidden = True
    assert renewed(lists, 1.0) is None
    hidden.hidden = False
    assert renewed(lists, 1.1) == ""


def test_a_node_that_does_not_answer_is_asked_again_and_the_page_keeps_its_list(lists, link, pages):
    one = page(pages, "a")
    link.fails = True
    assert renewed(lists, 1.0) == ""
    assert one.unsent == {}
    link.fails = False
    assert renewed(lists, 1.5) is None  # not at once
    assert renewed(lists, 1.0 + console_pages.TURN_S) == ""
    assert "ranking" in one.unsent


def test_only_what_is_new_is_sent_and_the_newest_of_a_kind():
    one = Page(None, "a")
    one.tell("health", {"level": "ok"})
    one.tell("health", {"level": "error"})
    assert list(one.waiting()) == ['{"type": "health", "level": "error"}']
    one.fresh.clear()
    one.tell("health", {"level": "error"})
    assert not one.fresh.is_set()
    assert list(one.waiting()) == []


def test_the_loop_tells_new_pages_at_once_and_waits_without_pages(lists, link, pages):
    async def work():
        lists.start()
        one = page(pages, "a")
        lists.hurry()
        while "ranking" not in one.told:
            await one.fresh.wait()
            one.fresh.clear()
        assert set(one.told) == {"health", "ranking"}
        lists.stop()
    asyncio.run(asyncio.wait_for(work(), 30))
