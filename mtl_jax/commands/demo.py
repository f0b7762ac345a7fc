"""Opens a page on this machine that shows what trained networks make of photographs and videos."""

from collections.abc import Sequence
from pathlib import Path

from mtl_jax import _arguments
from mtl_jax.commands import setup
from mtl_jax.errors import UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until Ctrl-C; returns the exit status."""
    parser = _arguments.Parser(
        prog="mtl demo", description=__doc__.partition("\n")[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("--workdir", required=True, help="a run, a released folder, or <owner>/<name> on the hub")
    add("--compare", default="", help="another one, shown beside it")
    add("--port", type=int, default=7860, help="of 127.0.0.1; 0 = any that is free")
    add("--largest_side", type=int, default=0, help="pixels that photographs are shrunk to (1280)")
    add("--compilation_cache", help=f"compiled programs are kept here ({setup.CACHE})")
    given = _arguments.parse(parser, arguments)
    setup.libraries(cache=given.compilation_cache)
    serve(
        [given.workdir, *([given.compare] if given.compare else [])],
        port=given.port,
        largest_side=given.largest_side,
    )
    return 0


def serve(paths: Sequence[str], *, port: int = 7860, largest_side: int = 0) -> None:
    """Loads the networks, says where the page is, and serves until Ctrl-C.

    Args:
      paths: of one or two of what `mtl_jax.load` takes.
      port: of the loopback address.
      largest_side: pixels that photographs are shrunk to; 0 for the default.

    Raises:
      UsageError: there is no such run, or no such port.
    """
    if largest_side < 0 or 0 < largest_side < 32:
        raise UsageError(f"--largest_side={largest_side}: expected 32 pixels or more.")
    from mtl_jax import demo, prediction

    models = {}
    for path in paths:
        name = Path(path).name or path
        models[f"{name} (2)" if name in models else name] = prediction.load(path)
    studio = demo.Studio(models, largest_side=largest_side or demo.studio.LARGEST_SIDE)
    with demo.Server(studio, port=port) as server:
        for name, model in models.items():
            print(f"{name}: {', '.join(model.tasks)}, step {model.step}")
        print(f"Open {server.url} in a browser of this machine. Ctrl-C ends it.", flush=True)
        server.serve_forever()
