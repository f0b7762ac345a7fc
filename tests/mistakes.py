"""Deliberate mistakes, and which test catches each: `python -m tests.mistakes`, from the root.

A test that never fails guards nothing. `mistakes.toml` has lines of this project and what somebody
might have written instead. Each is made in a copy of the tracked files as they are now, one at a
time, and the tests beside it, which have to fail, are run there. Mistakes that no test catches, and
lines that are no longer there (then adapt the list), are the exit status.

It takes some ten seconds a mistake; `--only=weightings` runs those of files or tests so called.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".toml")
FAILED = 1  # pytest's exit status where tests failed, and not their collection


def chosen(only: str) -> list[dict]:
    """The mistakes of files, or with tests, that have `only` in their names."""
    mistakes = tomllib.loads(LIST.read_text())["mistake"]
    return [m for m in mistakes if any(only in name for name in (m["file"], *m["tests"]))]


def is_outdated(mistake: dict) -> bool:
    """Whether the line is not in its file exactly once."""
    file = ROOT / mistake["file"]
    return not file.exists() or file.read_text().count(mistake["right"]) != 1


def copy_to(folder: Path) -> None:
    """Copies the tracked files, with what is changed in them."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)


def caught_by(mistake: dict, folder: Path) -> str:
    """The test that fails with the mistake in the copy; '' if none does."""
    file = folder / mistake["file"]
    right = file.read_text()
    file.write_text(right.replace(mistake["right"], mistake["wrong"]))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    command += mistake["tests"] + (["-k", mistake["only"]] if "only" in mistake else [])
    cache = {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "jax")}
    try:
        done = subprocess.run(
            command, cwd=folder, env=cache | os.environ, capture_output=True, text=True, check=False
        )
    finally:
        file.write_text(right)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode != FAILED:
        return ""
    return failed[0].split(" - ")[0].split(" ", 1)[1] if failed else "a test"


def main() -> int:
    """Returns how many mistakes were not caught, or could not be made."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="part of the name of a file or of a test")
    parser.add_argument(
        "--check", action="store_true", help="only look whether the lines are there"
    )
    given = parser.parse_args()
    mistakes, bad = chosen(given.only), 0
    with tempfile.TemporaryDirectory() as folder:
        copy_to(Path(folder))
        for mistake in mistakes:
            if is_outdated(mistake):
                found, said = "", "OUTDATED: the line is not there once"
            elif given.check:
                continue
            else:
                found = caught_by(mistake, Path(folder))
                said = found or "NOT CAUGHT"
            bad += not found
            print(f"{mistake['file']}: {mistake['wrong'].strip()}\n    {said}", flush=True)
    print(f"{len(mistakes)} mistakes, {bad} not caught or outdated")
    return min(bad, 99)


if __name__ == "__main__":
    sys.exit(main())
