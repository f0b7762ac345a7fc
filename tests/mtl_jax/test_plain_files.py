"""Files at plain addresses: fetched once and whole, or an error that names the place."""

import email.message
import hashlib
import io
import urllib.error
import urllib.request

import pytest

from mtl_jax.weights import plain_files, published
from mtl_jax.weights.published import PretrainedError

URL = "https://example.org/weights/head.pth"
CONTENT = bytes(range(256)) * 20


class Answer(io.BytesIO):
    """Of a server that announces `length` bytes."""

    def __init__(self, content: bytes, length: int | None):
        super().__init__(content)
        self.headers = email.message.Message()
        if length is not None:
            self.headers["Content-Length"] = str(length)


@pytest.fixture
def server(monkeypatch, tmp_path):
    """What is asked for, and the answers to it."""
    asked, answers = [], []

    def urlopen(url, *, timeout):
        assert timeout > 0
        asked.append(url)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(plain_files, "FOLDER", str(tmp_path / "cache"))
    return asked, answers


def test_is_fetched_once(server, tmp_path):
    asked, answers = server
    answers += [Answer(CONTENT, len(CONTENT))]
    said = []
    path = plain_files.fetch(URL, said.append)
    assert path == tmp_path / "cache" / "head.pth"
    assert path.read_bytes() == CONTENT
    assert URL in said[0]
    assert hashlib.sha256(CONTENT).hexdigest() in said[1]
    assert plain_files.fetch(URL, said.append) == path
    assert asked == [URL]
    assert len(said) == 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (urllib.error.URLError("no address associated with hostname"), "URLError: .*no address"),
        (urllib.error.HTTPError(URL, 404, "Not Found", None, None), "HTTPError: HTTP Error 404"),
        (TimeoutError("timed out"), "TimeoutError"),
        (Answer(CONTENT[:-7], len(CONTENT)), "ValueError: 5113 bytes arrived of 5120"),
    ],
)
def test_what_does_not_arrive_is_said_with_its_place(server, tmp_path, answer, why):
    server[1].append(answer)
    with pytest.raises(plain_files.DownloadError, match=rf"{URL} cannot be fetched \({why}") as e:
        plain_files.fetch(URL, lambda line: None)
    assert f"put it at {tmp_path / 'cache' / 'head.pth'}" in str(e.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_digits_in_a_name_are_compared(server):
    """AlexNet's, which is not on the hub."""
    server[1].append(Answer(CONTENT, None))
    with pytest.raises(PretrainedError, match="expected 7be5be79; delete the file"):
        published.fetch("alexnet", lambda line: None)
    assert server[0] == ["https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"]
    assert published.where("alexnet").name == "alexnet-owt-7be5be79.pth"
