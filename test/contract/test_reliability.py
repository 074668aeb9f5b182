"""The fault table has exactly the faults that tests are marked with, and the promises' defaults hold."""

import importlib.util
from pathlib import Path

import pytest

from perception_node.config import Config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def faults():
    """The module test/faults.py."""
    spec = importlib.util.spec_from_file_location("faults", ROOT / "test" / "faults.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_has_a_row_for_each_marked_test(faults):
    names = faults.marked()
    assert len(names) == len(set(names)) >= 40
    assert sorted(faults.rows((ROOT / "docs/reliability.md").read_text(encoding="utf-8"))) == sorted(names)


def test_a_failed_or_missing_fault_gives_no_table(faults, tmp_path, monkeypatch, capsys):
    outcomes, page = tmp_path / "out.json", tmp_path / "page.md"
    page.write_text(f"{faults.BEGIN}\nold\n{faults.END}\nkept\n")
    outcomes.write_text('[{"fault": "camera silent", "outcome": "failed"}]')
    monkeypatch.setattr("sys.argv", ["faults.py", str(outcomes), str(page)])
    assert faults.main() == 1
    assert "camera silent: failed" in (said := capsys.readouterr().err)
    assert "black picture: not run" in said
    assert "old" in page.read_text()


def test_the_table_says_what_was_seen(faults):
    row = {"fault": "dark", "published": "nothing", "status": "camera", "level": "ERROR", "said": "no picture for 1.3 s",
           "counted": "", "log": ""}
    assert faults.table([row]).splitlines()[-1] == "| dark | nothing | `camera` ERROR: no picture for T s |  |"


def test_a_silent_camera_is_an_error_within_a_second_by_default():
    node = Config().node
    assert node.camera_timeout_s + node.diagnostics_period_s <= 1.0
