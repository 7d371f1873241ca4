"""A small dataset whose files are known, and answers of a web server that misbehaves on demand."""

import gzip
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from orthograd.data.download import Limits
from orthograd.data.registry import Dataset

# Not compressible, so that half of the gzip data cannot hold all of the content.
CONTENT = {
    "alpha": b"".join(hashlib.sha256(bytes([i])).digest() for i in range(256)),
    "beta": b"".join(hashlib.sha256(bytes([i, 1])).digest() for i in range(256)),
}
FAST = Limits(connect=0.5, read=0.5, backoff=0.01, package_index=5, package=5)

Answer = Callable[[BaseHTTPRequestHandler], None]


def body(
    content: bytes, announced: int | None = None, status: int = 200, retry_after: int | None = None
) -> Answer:
    """Answer with `content` while announcing another length, if one is given."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content) if announced is None else announced))
        if retry_after is not None:
            handler.send_header("Retry-After", str(retry_after))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def status(code: int) -> Answer:
    return body(b"<html>sorry</html>", status=code)


@dataclass
class Server:
    """Answers by path: the listed answers in turn, the last one for ever; 404 for unknown paths."""

    url: str
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def serve(self, path: str, *answers: Answer) -> None:
        self.answers[path] = list(answers)

    def stall(self, content: bytes) -> Answer:
        """Send half of the content, then nothing."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content[: len(content) // 2])
            handler.wfile.flush()
            self.stopped.wait(30)

        return answer


def make_dataset(*sources: dict[str, str]) -> Dataset:
    """The dataset `toy`, with the files of CONTENT and the given sources."""
    files = [
        {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in CONTENT.items()
    ]
    return Dataset.model_validate(
        {
            "name": "toy",
            "version": "1",
            "title": "Toy",
            "licence": "CC0",
            "citation": "nobody",
            "homepage": "http://toy.invalid",
            "classes": ["a", "b"],
            "layout": {"kind": "idx"},
            "train_size": 2,
            "test_size": 2,
            "files": files,
            "sources": list(sources),
        }
    )


def zipped(name: str) -> bytes:
    return gzip.compress(CONTENT[name])


class Stopwatch:
    """Measures the time within a `with` block, in seconds."""

    def __enter__(self) -> "Stopwatch":
        self._start = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._start
