"""README and docs say what the code says: tables, links, pictures; and nothing in them names a place that is not there."""

import re
from pathlib import Path

import pytest

from perception_node.cli import BENCHES, VERBS
from perception_node.config import Config
from perception_node.parameters import parameters
from perception_node.ros import docs
from perception_node.ros.interface import ENDPOINTS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("name", docs.DOCUMENTS)
def test_tables_are_up_to_date(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert docs.renew(text) == text, "python -m perception_node.ros.docs --write"


def test_every_topic_parameter_and_message_is_documented():
    text = (ROOT / "docs/interfaces.md").read_text(encoding="utf-8")
    assert all(f"`{e.name}`" in text for e in ENDPOINTS)
    assert all(f"`{p.name}`" in text for p in parameters(Config))
    interfaces = [p.relative_to(ROOT / "perception_node_msgs") for p in (ROOT / "perception_node_msgs").glob("*/*.[ms][sr][gv]")]
    assert len(interfaces) >= 6
    assert all(f"<!-- generated:{path.as_posix()} -->" in text for path in interfaces)


def test_the_readme_lists_every_verb():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"`perception {name}`" in text for name in VERBS)
    assert all(f"`perception bench {name}`" in text for name in BENCHES)


def test_an_outdated_document_is_reported_and_renewed(tmp_path, capsys):
    for name in docs.DOCUMENTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("<!-- generated:topics -->\nold\n<!-- /generated -->\nkept\n")
    assert docs.main(["--root", str(tmp_path)]) == 1
    assert "--write" in capsys.readouterr().err
    assert docs.main(["--root", str(tmp_path), "--write"]) == 0
    assert docs.main(["--root", str(tmp_path)]) == 0
    text = (tmp_path / "README.md").read_text()
    assert "`~/scene`" in text
    assert text.endswith("kept\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    local = [target for target in targets if not target.startswith(("http://", "https://"))]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_demo_picture_is_small():
    assert (ROOT / "docs/images/demo.png").stat().st_size < 600_000


def test_the_planner_example_is_short_enough_to_copy():
    assert len((ROOT / "perception_node/ros/planner_example.py").read_text(encoding="utf-8").splitlines()) <= 60
