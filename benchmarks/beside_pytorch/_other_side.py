"""A program of another environment, which answers each line that it is given by one of JSON."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class OtherSide:
    """That program, running.

    Attributes:
      about: its first line, what it says of itself.
    """

    def __init__(self, python: str, program: Path, given: Mapping[str, Any]):
        """Starts it by an interpreter of its own, with JSON of `given` as its argument."""
        self._name = program.name
        self._process = subprocess.Popen(
            [python, str(program), json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.about = self._read()

    def tell(self, line: str) -> None:
        """Gives it a line that has no answer."""
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def ask(self, line: str = "") -> dict[str, Any]:
        """Gives it a line and waits for the answer. Raises RuntimeError if it has ended."""
        self.tell(line)
        return self._read()

    def close(self) -> None:
        """Ends it."""
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} ended with status {self._process.wait()}.")
        return json.loads(line)
