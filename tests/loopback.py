"""A web server on this machine that can break off, forget, refuse, and go on where it stopped."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Files:
    """What is served, how it fails, and what was asked."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.url = ""
        self.ranges: list[str | None] = []
        """The Range of each request."""
        self.cuts: list[int] = []
        """After so many bytes each of the next answers breaks off."""
        self.refuses: list[int] = []
        """Statuses of the next answers."""
        self.resumes = True
        """Whether it knows of ranges; else each answer is the whole file."""
        self.tells_length = True


@contextmanager
def served() -> Iterator[Files]:
    """A server with nothing yet, until the end of the block."""
    files = Files()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.ranges.append(self.headers["Range"])
            body = files.content.get(self.path)
            status = files.refuses.pop(0) if files.refuses else 200 if body is not None else 404
            if status != 200 or body is None:
                self.send_error(status)
                return
            first = int((self.headers["Range"] or "bytes=0-")[6:-1]) if files.resumes else 0
            if first >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
            rest = body[first:]
            if files.tells_length:
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            cut = files.cuts.pop(0) if files.cuts else len(rest)
            self.wfile.write(rest[:cut])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    files.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
