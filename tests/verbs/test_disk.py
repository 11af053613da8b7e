from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
from convsmith.errors import UserError
from convsmith.verbs.disk import save
try:
    save(Path(sys.argv[1]), "x" * 5000)
except UserError as error:
    sys.exit(str(error))
"""


def test_a_file_that_finds_no_room_is_one_sentence_and_the_old_one_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")
    done = subprocess.run([sys.executable, "-c", CODE, page], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "larger than allowed" in done.stderr
    assert done.stderr.strip().endswith("make room, then try again")
    assert page.read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]
