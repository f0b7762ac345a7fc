"""python -m mtl_jax.reporting runs/* --output=report."""

import sys
from collections.abc import Sequence

from mtl_jax import _arguments
from mtl_jax.errors import UsageError
from mtl_jax.reporting import pictures, report


def main(arguments: Sequence[str] | None = None, *, prog: str = "mtl report") -> int:
    """Writes a report; returns the exit status."""
    parser = _arguments.Parser(prog=prog, description=__doc__, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", help="work directories of runs or sweeps")
    parser.add_argument("--output", default="report", help="the folder to write to")
    parser.add_argument("--title", default="Report", help="of the report")
    parser.add_argument(
        "--pictures",
        type=int,
        default=pictures.COUNT,
        metavar="N",
        help="at most N examples of each run, and N worst images of each of its tasks",
    )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="RUN",
        help="a run of several seeds from which the differences of the others are told, paired by "
        "seed; may be given several times",
    )
    try:
        given = _arguments.parse(parser, arguments)
        if given.pictures < 0:
            raise UsageError(f"--pictures={given.pictures}: expected 0 or more.")
        files = report.write(
            given.runs,
            given.output,
            title=given.title,
            count=given.pictures,
            against=given.against,
        )
    except (UsageError, OSError) as error:  # also where --output cannot be written
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print("\n".join(map(str, files)))
    return 0


if __name__ == "__main__":
    sys.exit(main(prog="python -m mtl_jax.reporting"))
