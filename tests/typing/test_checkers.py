"""Both type checkers, in strict mode, on the sample of user code and on the programs that must not pass."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
IGNORED = re.compile(r"# type: ignore\[[\w, -]+\]  # pyright: ignore\[[\w, ]+\]$")


@pytest.mark.parametrize("checker", [["mypy", "--strict"], ["pyright"]], ids=lambda command: command[0])
def test_user_code_passes_and_wrong_programs_do_not(checker: list[str]) -> None:
    """The sample is clean, and each wrong line is refused: an ignore comment that nothing needs is an error too."""
    files = [str(HERE / name) for name in ("api.py", "wrong.py")]
    done = subprocess.run(
        [sys.executable, "-m", *checker, *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_line_that_is_let_through_would_be_noticed(tmp_path: Path) -> None:
    """The check of the check: a right line with the comments of a wrong one fails both."""
    program = tmp_path / "right.py"
    program.write_text("x: int = 1  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]\n")
    (tmp_path / "pyrightconfig.json").write_text('{"reportUnnecessaryTypeIgnoreComment": "error"}')
    for command in (["mypy", "--strict", "right.py"], ["pyright", "-p", "."]):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, done.stdout


def test_every_wrong_line_names_both_checkers() -> None:
    """No line is excused from one of them."""
    excused = [line for line in (HERE / "wrong.py").read_text().splitlines() if "ignore[" in line]
    assert len(excused) > 45
    assert [line for line in excused if not IGNORED.search(line)] == []
