"""HTTP on the loopback address: the page, and what it asks for.

Pages of other sites can make a browser send requests here, too. Those are refused: requests have to
name this address as their host, and those that change something carry a header that a foreign page
may not send. The browser is told to load nothing from anywhere else.
"""

import http.server
import json
import re
import urllib.parse
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from mtl_jax.demo import films
from mtl_jax.demo.films import Films
from mtl_jax.demo.studio import PHOTO_BYTES, DemoError, Studio

ADDRESS = "127.0.0.1"
HEADER = "X-Mtl-Demo"
_CHUNK = 1 << 20
_SECONDS = 60  # that a browser may be silent for
_PAGES = {
    "/": ("page/index.html", "text/html; charset=utf-8"),
    "/page.js": ("page/page.js", "text/javascript; charset=utf-8"),
    "/read_out.js": ("page/read_out.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page/page.css", "text/css; charset=utf-8"),
}
_ALWAYS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_SUFFIX_TYPES = {".png": "image/png", ".npy": "application/octet-stream"}


class Server(http.server.ThreadingHTTPServer):
    """Serves one studio until it is shut down.

    Attributes:
      url: of the page.
    """

    daemon_threads = True

    def __init__(self, studio: Studio, *, port: int = 0):
        """Takes the port; any that is free for 0.

        Raises:
          DemoError: the port is taken, or may not be used.
        """
        self.studio, self.films, self.examples = studio, Films(studio), examples()
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else "there are ports up to 65535"
            raise DemoError(
                f"--port={port} cannot be used ({why}). Give another one, or 0 for any."
            ) from error
        self.url = f"http://{ADDRESS}:{self.server_port}/"

    def server_close(self) -> None:
        """Ends videos that are on their way, too."""
        super().server_close()
        self.films.close()


def examples() -> dict[str, bytes]:
    """{file name: JPEG} of the pictures that come with the page.

    Two scenes of Streets, and scikit-learn's photographs (CC BY; its README names the authors).
    """
    own = resources.files("mtl_jax.demo") / "examples"
    theirs = resources.files("sklearn.datasets") / "images"
    found = sorted((f for f in own.iterdir() if f.name.endswith(".jpg")), key=lambda f: f.name)
    found += [theirs / "china.jpg", theirs / "flower.jpg"]
    return {file.name: file.read_bytes() for file in found}


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "mtl_demo", ""
    timeout = _SECONDS

    def do_GET(self) -> None:
        """Everything but predictions."""
        self._answered(self._get)

    def do_POST(self) -> None:
        """A photograph, a video, the end of one."""
        self._answered(self._post)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the terminal is for what goes wrong."""

    def _answered(self, answer: Callable[[str, list[str]], None]) -> None:
        self._begun = False
        try:
            self._check_host()
            path = self.path.partition("?")[0]
            answer(path, [urllib.parse.unquote(part) for part in path.split("/")[1:]])
        except DemoError as error:
            self.close_connection = True  # what was not read of the request is not the next one
            self._send_json({"error": str(error)}, status=422)
        except _Refused as error:
            self.close_connection = True
            self._send_json({"error": str(error)}, status=error.status)
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the browser went away
        except Exception:  # a defect of ours, or too little memory; the terminal shows it
            self.close_connection = True
            if not self._begun:
                self._send_json({"error": "This failed; the terminal says more."}, status=500)
            raise

    def _check_host(self) -> None:
        """Other names may lead here, too, by a name server of somebody's own."""
        hosts = {f"{name}:{self.server.server_port}" for name in (ADDRESS, "localhost")}
        if self.headers.get("Host") not in hosts:
            raise _Refused(403, f"Only {self.server.url} is served.")

    def _get(self, path: str, parts: list[str]) -> None:
        studio = self.server.studio
        match parts:
            case _ if path in _PAGES:
                file, kind = _PAGES[path]
                self._send((resources.files("mtl_jax.demo") / file).read_bytes(), kind)
            case ["api", "about"]:
                self._send_json(self._about())
            case ["examples", name] if name in self.server.examples:
                self._send(self.server.examples[name], "image/jpeg")
            case ["api", "photo", key, "image.png"]:
                self._send(studio.image(key), "image/png")
            case ["api", "photo", key, model, "figure.png"]:
                self._send(studio.figure(key, model), "image/png", f"{model}_overlay.png")
            case ["api", "photo", key, model, task, "picture.png"]:
                self._send(studio.picture(key, model, task), "image/png")
            case ["api", "photo", key, model, task, "values.bin"]:
                self._send(studio.values(key, model, task), "application/octet-stream")
            case ["api", "photo", key, model, task, "file"]:
                contents, suffix = studio.file(key, model, task)
                self._send(contents, _SUFFIX_TYPES[suffix], f"{model}_{task}{suffix}")
            case ["api", "video", key]:
                self._send_json(self.server.films.get(key).progress())
            case ["api", "video", key, "result.mp4"]:
                self._send_film(key)
            case _:
                raise _Refused(404, "There is no such page here.")

    def _post(self, path: str, parts: list[str]) -> None:
        origin = self.headers.get("Origin")
        host = f"http://{self.headers['Host']}"
        if self.headers.get(HEADER) != "1" or origin not in (None, host):
            raise _Refused(403, "This request does not come from the page of this server.")
        match parts:
            case ["api", "photo"]:
                content = b"".join(self._body(PHOTO_BYTES, "picture"))
                self._send_json(self.server.studio.predict(content))
            case ["api", "video", "of", model]:
                self._send_json({"id": self.server.films.start(model, self._receive)})
            case ["api", "video", key, "cancel"]:
                self.server.films.get(key).cancel()
                self._send_json({})
            case _:
                raise _Refused(404, "There is no such page here.")

    def _about(self) -> dict[str, Any]:
        return self.server.studio.about() | {
            "examples": list(self.server.examples),
            "video": films.available(),
            "video_bytes": films.VIDEO_BYTES,
            "frames": films.FRAMES,
        }

    def _body(self, limit: int, what: str) -> Iterator[bytes]:
        """The request's body, a piece at a time."""
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,15}", length):
            raise _Refused(411, "The request does not say how long it is.")
        if int(length) > limit:
            raise _Refused(
                413, f"This file is larger than {limit >> 20} MB, the most for a {what}."
            )
        missing = int(length)
        while missing:
            piece = self.rfile.read(min(missing, _CHUNK))
            if not piece:
                raise ConnectionError
            missing -= len(piece)
            yield piece

    def _receive(self, path: Path) -> None:
        """Writes a video's bytes to a file."""
        try:
            with path.open("wb") as file:
                for piece in self._body(films.VIDEO_BYTES, "video"):
                    if not file.tell() and not films.is_video(piece):
                        raise DemoError(
                            "This file is no MP4, QuickTime, WebM, Matroska or AVI video."
                        )
                    file.write(piece)
                if not file.tell():
                    raise DemoError("This file is empty.")
        except (ConnectionError, TimeoutError):
            raise  # the browser went away
        except OSError as error:
            raise DemoError(
                f"This video cannot be kept on this machine ({error.strerror})."
            ) from error

    def _send_film(self, key: str) -> None:
        """The MP4, or the range of it that the browser asks for, as it does to jump."""
        film = self.server.films.get(key)
        if film.state != "done":
            raise DemoError("This video is not done yet.")
        size = film.result.stat().st_size
        asked = re.fullmatch(r"bytes=(\d{1,15})-(\d{0,15})", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        last = min(int(asked[2]) if asked and asked[2] else size - 1, size - 1)
        if first > last:
            raise _Refused(416, "There is no such part of this video.")
        more = {"Accept-Ranges": "bytes"}
        if asked:
            more["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._head(206 if asked else 200, "video/mp4", last - first + 1, more)
        with film.result.open("rb") as file:
            file.seek(first)
            left = last - first + 1
            while left:
                piece = file.read(min(left, _CHUNK))
                self.wfile.write(piece)
                left -= len(piece)

    def _send_json(self, value: Any, *, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", status=status)

    def _send(self, content: bytes, kind: str, download: str = "", *, status: int = 200) -> None:
        more = {}
        if download:
            name = re.sub(r"[^\w.-]", "_", download, flags=re.ASCII)  # what a header may hold
            more["Content-Disposition"] = f'attachment; filename="{name}"'
        self._head(status, kind, len(content), more)
        self.wfile.write(content)

    def _head(self, status: int, kind: str, length: int, more: dict[str, str]) -> None:
        self._begun = True
        self.send_response(status)
        closing = {"Connection": "close"} if self.close_connection else {}
        headers = {
            "Content-Type": kind,
            "Content-Length": str(length),
            **_ALWAYS,
            **more,
            **closing,
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class _Refused(Exception):
    """A request that the page does not make; with the HTTP status to answer with."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
