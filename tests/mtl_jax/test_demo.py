"""The page of `mtl demo`: what its server answers, refuses and keeps; and the page in a browser."""

import http.client
import io
import json
import pathlib
import shutil
import socket
import struct
import threading
import time
import urllib.parse
import zlib
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from toy_predictions import photograph

from mtl_jax import demo, tasks
from mtl_jax.commands import demo as command
from mtl_jax.demo import facts, films, studio
from mtl_jax.errors import UsageError
from mtl_jax.prediction import videos

TASKS = tasks.build(
    {
        "semseg": {"type": "segmentation"},
        "depth": {"type": "depth", "normalization": "none", "range": (1.0, 90.0)},
        "normals": {"type": "normals"},
    },
    {
        "semseg": {
            "kind": "classes",
            "class_names": ("dark", "<b>light"),
            "palette": ((0, 0, 0), (9, 9, 9)),
            "ignore": 255,
        }
    },
)


class Brightness:
    """In place of a network: maps that one can compute by hand."""

    step, tasks = 7, TASKS

    def predict(self, image):
        value = image[..., 0].astype(np.float32)
        normals = np.zeros((*value.shape, 3), np.float32)
        normals[:, 1:, 2] = -1
        return {
            "semseg": (value > 127).astype(np.int32),
            "depth": 1 + value / 8,
            "normals": normals,
        }

    def draw(self, image, maps):
        return image


@pytest.fixture(scope="module")
def server():
    models = {"a": Brightness(), "b c": Brightness()}
    with demo.Server(demo.Studio(models, largest_side=64)) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(server, method, path, body=None, **headers):
    """(status, headers, body) of one request; `headers` have '_' for '-'."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    given = {"X-Mtl-Demo": "1"} if method == "POST" else {}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def png(image, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", **options)
    return buffer.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def predicted(server, image):
    status, _, body = ask(server, "POST", "/api/photo", png(image))
    assert status == 200, body
    return json.loads(body)


def test_it_is_on_the_loopback_address_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"


def test_the_page_loads_nothing_from_elsewhere(server):
    for path, kind in (("/", "html"), ("/page.js", "javascript"), ("/page.css", "css")):
        status, headers, body = ask(server, "GET", path)
        assert status == 200
        assert kind in headers["Content-Type"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert b"http://" not in body
        assert b"https://" not in body
        assert b"innerHTML" not in body  # a class may be called <script>


def test_maps_are_those_of_the_network(server):
    image = photograph(20, 30)
    found = predicted(server, image)
    assert (found["width"], found["height"], found["original"]) == (30, 20, [30, 20])
    assert [result["model"] for result in found["results"]] == ["a", "b c"]
    expected = Brightness().predict(image)
    base = f"/api/photo/{found['id']}"
    np.testing.assert_array_equal(pixels(ask(server, "GET", f"{base}/image.png")[2]), image)
    for model in ("a", "b%20c"):
        for task, dtype in (("semseg", "<i4"), ("depth", "<f4"), ("normals", "<f4")):
            status, headers, body = ask(server, "GET", f"{base}/{model}/{task}/values.bin")
            assert (status, headers["Cache-Control"]) == (200, "no-store")
            values = np.frombuffer(body, dtype).reshape(expected[task].shape)
            np.testing.assert_array_equal(values, expected[task])
    status, headers, body = ask(server, "GET", f"{base}/b%20c/depth/file")
    assert headers["Content-Disposition"] == 'attachment; filename="b_c_depth.png"'
    np.testing.assert_array_equal(pixels(body), 1000 * expected["depth"])
    assert pixels(ask(server, "GET", f"{base}/a/semseg/picture.png")[2]).shape == (20, 30, 3)
    np.testing.assert_array_equal(pixels(ask(server, "GET", f"{base}/a/figure.png")[2]), image)


def test_what_explains_a_map():
    model, image = Brightness(), photograph(8, 10)
    maps = model.predict(image)
    about = {task: facts.of_map(model.tasks[task], image, maps[task]) for task in maps}
    classes = about["semseg"]
    assert (classes["kind"], classes["integer"], classes["channels"]) == ("classes", True, 1)
    assert classes["names"] == ["dark", "<b>light"]
    shares = {entry["name"]: entry["share"] for entry in classes["legend"]}
    assert shares["<b>light"] == np.mean(maps["semseg"])
    assert [0, 0, 0] not in [entry["colour"] for entry in classes["legend"]]  # a safe palette
    depth = about["depth"]
    assert (depth["kind"], depth["unit"], depth["legend"]) == ("number", "m", [])
    ticks = {tick["value"]: tick["at"] for tick in depth["bar"]["ticks"]}
    assert ticks[10] == pytest.approx(np.log(10) / np.log(90))
    normals = about["normals"]
    assert (normals["kind"], normals["channels"]) == ("vector", 3)
    assert normals["axes"] == ["right", "down", "ahead"]
    json.dumps(about)


def test_large_photographs_are_shrunk_and_upright(server):
    exif = Image.Exif()
    exif[0x0112] = 6
    body = png(np.zeros((100, 200, 3), np.uint8), exif=exif)
    found = json.loads(ask(server, "POST", "/api/photo", body)[2])
    assert (found["width"], found["height"], found["original"]) == (32, 64, [100, 200])


def test_the_last_photographs_are_kept(server):
    first = predicted(server, photograph(4, 4))["id"]
    for _ in range(studio._KEPT):
        predicted(server, photograph(4, 4))
    status, _, body = ask(server, "GET", f"/api/photo/{first}/image.png")
    assert (status, json.loads(body)["error"][:22]) == (422, "This photograph is gon")


def _header_of(width, height) -> bytes:
    """A PNG that says it has so many pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 9) + b"IDAT" + bytes(9)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "does not decode"),
        (b"GIF89a" + bytes(99), "does not decode"),
        (png(photograph(20, 20))[:400], "does not decode"),
        (png(np.zeros((9, 9), np.uint16)), "8 bits per channel"),
        (_header_of(9_000, 8_000), "9000 × 8000 pixels; at most 60 million"),
        (_header_of(100_000, 100_000), "does not decode"),  # Pillow's own limit
    ],
)
def test_what_is_no_photograph_is_refused(server, body, message):
    status, _, answer = ask(server, "POST", "/api/photo", body)
    assert status == 422
    assert message in json.loads(answer)["error"]


def test_a_defect_is_said_and_is_no_silence(server, monkeypatch, capfd):
    def fails(self, image):
        raise MemoryError("of the device")

    monkeypatch.setattr(Brightness, "predict", fails)
    status, _, answer = ask(server, "POST", "/api/photo", png(photograph(4, 4)))
    assert (status, json.loads(answer)) == (500, {"error": "This failed; the terminal says more."})
    for _ in range(100):  # which another thread writes to
        if "MemoryError: of the device" in (said := capfd.readouterr().err):
            break
        time.sleep(0.05)
    assert "MemoryError: of the device" in said


def test_requests_of_other_pages_are_refused(server):
    body, port = png(photograph(4, 4)), server.server_port
    for headers in (
        {"Host": f"rebound.example:{port}"},
        {"X_Mtl_Demo": "0"},
        {"Origin": "http://evil.example"},
        {"Origin": f"http://127.0.0.1:{port + 1}"},
    ):
        status, _, answer = ask(server, "POST", "/api/photo", body, **headers)
        assert (status, "error" in json.loads(answer)) == (403, True), headers
    assert ask(server, "GET", "/", Host="rebound.example")[0] == 403
    own = {"Origin": f"http://localhost:{port}", "Host": f"localhost:{port}"}
    assert ask(server, "POST", "/api/photo", body, **own)[0] == 200


def test_there_are_no_other_paths(server):
    key = predicted(server, photograph(4, 4))["id"]
    for path in ("/../setup.py", "/page.py", "/examples/../page.js", "/examples/x.jpg", "/api/x"):
        assert ask(server, "GET", path)[0] == 404, path
    for path in (f"{key}/c/depth/values.bin", f"{key}/a/x/picture.png", f"{key}/x/figure.png"):
        assert ask(server, "GET", f"/api/photo/{path}")[0] == 422, path
    assert ask(server, "POST", "/api/x", b"")[0] == 404
    status, _, body = ask(
        server, "POST", "/api/photo", b"", Content_Length=str(studio.PHOTO_BYTES + 1)
    )
    assert (status, "larger than 40 MB" in json.loads(body)["error"]) == (413, True)
    assert ask(server, "POST", "/api/photo", iter([b"x"]), Transfer_Encoding="chunked")[0] == 411


def test_requests_that_no_browser_sends_are_answered(server):
    for path in ("/%00", "/%ff/%2e%2e", "/api/photo/%0d%0aX:/image.png"):
        assert ask(server, "GET", path)[0] in (404, 422), path
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as client:
        host = f"Host: 127.0.0.1:{server.server_port}"
        client.sendall(f"GET http://[/ HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n".encode())
        assert client.recv(99).startswith(b"HTTP/1.1 404 ")


def test_a_file_has_a_name_that_a_header_can_hold(server, monkeypatch):
    key = predicted(server, photograph(4, 4))["id"]
    photographs = server.studio._photographs
    monkeypatch.setitem(server.studio.models, "道路\r\nX: y", server.studio.models["a"])
    photographs[key].maps["道路\r\nX: y"] = photographs[key].maps["a"]
    name = urllib.parse.quote("道路\r\nX: y")
    status, headers, _ = ask(server, "GET", f"/api/photo/{key}/{name}/depth/file")
    assert status == 200
    assert headers["Content-Disposition"] == 'attachment; filename="____X__y_depth.png"'
    assert headers["X"] is None


def test_examples_are_photographs(server):
    about = json.loads(ask(server, "GET", "/api/about")[2])
    assert [model["name"] for model in about["models"]] == ["a", "b c"]
    assert {"drawn_street_1.jpg", "china.jpg"} <= set(about["examples"])
    for name in about["examples"]:
        assert studio.read(ask(server, "GET", f"/examples/{name}")[2]).ndim == 3


def write_video(path, frames):
    with videos.VideoWriter(path, Fraction(25), Fraction(1, 25000)) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame, Fraction(i, 25))
    return path


def wait(server, key) -> dict:
    for _ in range(300):
        found = json.loads(ask(server, "GET", f"/api/video/{key}")[2])
        if found["state"] != "running":
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def test_a_video(server, tmp_path):
    pytest.importorskip("av")
    source = write_video(tmp_path / "film.mp4", [photograph(32, 48)] * 5)
    status, _, body = ask(server, "POST", "/api/video/of/a", source.read_bytes())
    assert status == 200, body
    key = json.loads(body)["id"]
    assert wait(server, key) == {"state": "done", "done": 5, "total": 5, "error": ""}
    status, _, whole = ask(server, "GET", f"/api/video/{key}/result.mp4")
    assert (status, whole[4:8]) == (200, b"ftyp")
    status, headers, part = ask(server, "GET", f"/api/video/{key}/result.mp4", Range="bytes=4-7")
    assert (status, part) == (206, b"ftyp")
    assert headers["Content-Range"] == f"bytes 4-7/{len(whole)}"
    assert ask(server, "GET", f"/api/video/{key}/result.mp4", Range="bytes=999999999-")[0] == 416


def test_what_is_no_video_is_refused(server):
    pytest.importorskip("av")
    for body, message in ((b"#EXTM3U\nhttp://x", "no MP4"), (b"", "empty")):
        status, _, answer = ask(server, "POST", "/api/video/of/a", body)
        assert (status, message in json.loads(answer)["error"]) == (422, True)
    key = json.loads(ask(server, "POST", "/api/video/of/a", b"....ftyp" + bytes(99))[2])["id"]
    found = wait(server, key)
    assert found["state"] == "failed"
    assert found["error"].startswith("This video: does not decode")
    assert ask(server, "GET", f"/api/video/{key}/result.mp4")[0] == 422
    assert ask(server, "POST", "/api/video/of/x", b"")[0] == 422


def test_a_video_that_does_not_fit_on_the_disk(server, monkeypatch):
    open_file, sources = pathlib.Path.open, []

    def full(path, *arguments):
        sources.append(path)
        return open_file(pathlib.Path("/dev/full"), *arguments)

    monkeypatch.setattr(pathlib.Path, "open", full)
    status, _, body = ask(server, "POST", "/api/video/of/a", b"....ftyp" + bytes(99_999))
    message = "This video cannot be kept on this machine (No space left on device)."
    assert (status, json.loads(body)["error"]) == (422, message)
    assert sources
    assert not list(pathlib.Path(server.films._folder.name).glob("*/source"))


def test_a_video_can_be_cancelled_and_is_the_only_one(server, tmp_path):
    pytest.importorskip("av")
    source = write_video(tmp_path / "film.mp4", [photograph(32, 48)] * 9).read_bytes()
    with server.studio.busy:  # it waits for its first frame
        key = json.loads(ask(server, "POST", "/api/video/of/a", source)[2])["id"]
        status, _, body = ask(server, "POST", "/api/video/of/a", source)
        assert (status, "on its way" in json.loads(body)["error"]) == (422, True)
        assert ask(server, "POST", f"/api/video/{key}/cancel", b"")[0] == 200
    assert wait(server, key)["state"] == "cancelled"
    assert films.is_video(source)


def test_the_command_says_what_is_wrong(server, tmp_path):
    with pytest.raises(UsageError, match="expected 32 pixels or more"):
        command.serve([str(tmp_path)], largest_side=7)
    with pytest.raises(UsageError, match="holds no run"):
        command.serve([str(tmp_path)])
    for port in (server.server_port, 65536, -1):
        with pytest.raises(UsageError, match=rf"--port={port} cannot be used"):
            demo.Server(demo.Studio({}), port=port)


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(server, width, tmp_path):
    """Only where there is one: pip install playwright, and Chromium of the system."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium here")
    (tmp_path / "photo.png").write_bytes(png(np.full((20, 30, 3), 200, np.uint8)))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800})
        said, foreign = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: foreign.append(r.url) if server.url not in r.url else None)
        page.goto(server.url)
        page.wait_for_selector("#examples img")
        page.set_input_files("#file", tmp_path / "photo.png")
        page.wait_for_selector("#results:not([hidden])")
        page.locator(".view").first.focus()
        page.keyboard.press("ArrowRight")
        spoken = page.locator("#spoken").inner_text()
        place, *said_of = spoken.split("; ")
        assert place == "column 16, row 10"
        assert said_of[:2] == ["semseg of a: <b>light", "depth of a: 26 m"]
        assert said_of[2].startswith("normals of a: right")
        assert page.locator("#read-out-body td").first.inner_text() == "<b>light"
        assert page.locator(".view").count() == 6  # two networks of three tasks
        page.locator("#opacity").fill("20")
        assert page.locator(".over").first.evaluate("e => e.style.opacity") == "0.2"
        with page.expect_download() as download:
            page.locator(".downloads a").first.click()
        assert download.value.suggested_filename == "a_semseg.png"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.set_input_files("#file", tmp_path / "bad.png")
        page.wait_for_selector("#error:not(:empty)")
        assert "does not decode" in page.locator("#error").inner_text()
        browser.close()
    assert not [url for url in foreign if not url.startswith("data:")]
    assert not [line for line in said if "422" not in line]
