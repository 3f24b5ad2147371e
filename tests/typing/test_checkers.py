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


# pyright looks for packages in the Python that it is told of, mypy in the one that runs it.
CHECKERS = {"mypy": ["--strict"], "pyright": ["--pythonpath", sys.executable]}


@pytest.mark.parametrize("checker", CHECKERS)
def test_user_code_passes_and_wrong_programs_do_not(checker: str, tmp_path: Path) -> None:
    """The sample is clean, and each wrong line is refused: an ignore comment that nothing needs is an error too.

    The check of the check goes with it: a right line with the comments of a wrong one is complained of.
    """
    right = tmp_path / "right.py"
    right.write_text("x: int = 1  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]\n")
    files = [str(HERE / "api.py"), str(HERE / "wrong.py"), str(right)]
    command = [sys.executable, "-m", checker, *CHECKERS[checker], *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert (done.returncode, len(errors)) == (1, 1), done.stdout + done.stderr
    assert "right.py:1" in errors[0]


def test_every_wrong_line_names_both_checkers() -> None:
    """No line is excused from one of them."""
    excused = [line for line in (HERE / "wrong.py").read_text().splitlines() if "ignore[" in line]
    assert len(excused) > 45
    assert [line for line in excused if not IGNORED.search(line)] == []
