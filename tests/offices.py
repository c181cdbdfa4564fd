"""An office that publishes for two devices, and a web server that may misbehave."""

import contextlib
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

from edge_agent.clock import Clock, SystemClock
from edge_agent.commands import publish as command
from edge_agent.fleet.signing import Role
from tests.fleets import HEADER, small

DAY_S = 86400
Trouble = Literal["cut", "endless", "missing", "silent", "drip"]


class Office:
    """A fleet's folder with ear-1 and ear-2, its keys, and its repository.

    Args:
        path: For all of it.
        clock: The office's.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.clock = clock or SystemClock()
        self.fleet = path / "fleet"
        self.keys = path / "keys"
        self.repo = path / "repo"
        rows = f"{HEADER}\near-1,pi,mic-1,town\near-2,pi,mic-1,town\n"
        small(self.fleet, {"fleet.csv": rows})
        command.init(self.fleet, self.keys, self.repo, None, self.clock)

    def publish(self, release: int, site: str = "about: a site\n", *chosen: str) -> None:
        """Give the devices of this release what the site says."""
        allowed = "allow_plaintext: [127.0.0.1, mq.example, mq.exmaple]\n"
        (self.fleet / "fleet.yaml").write_text(f"release: {release}\n{allowed}")
        (self.fleet / "sites" / "town.yaml").write_text(site)
        command.publish(
            self.fleet, self.keys, self.repo, chosen, self.clock, window_s=0, dry_run=False
        )

    def rotate(self, role: Role) -> None:
        """A new key."""
        command.rotate(role, self.keys, self.repo, self.clock)

    def refresh(self) -> None:
        """As cron does."""
        command.refresh(self.keys, self.repo, self.clock)

    def copied(self, to: Path) -> Path:
        """The repository as it is now, elsewhere."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.repo, to)
        return to

    def file(self, pattern: str) -> Path:
        """The newest file of the repository by a pattern."""
        return max(self.repo.glob(pattern), key=lambda path: path.stat().st_mtime_ns)


class Server:
    """Static files of a folder, over real sockets; some with trouble.

    Args:
        folder: What is served; may be changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.troubles: dict[str, Trouble] = {}
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.serve(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """Stop, whatever hangs."""
        self.over.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """One answer."""
        name = request.path.lstrip("/")
        self.asked.append(name)
        trouble = self.troubles.get(name) or self.troubles.get("*")
        file = self.folder / name
        if trouble == "missing" or not file.is_file():
            request.send_error(404)
            return
        data = file.read_bytes()
        request.send_response(200)
        if trouble != "endless":
            request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        # The other side may hang up.
        with contextlib.suppress(OSError):
            self._body(request, data, trouble)

    def _body(self, request: BaseHTTPRequestHandler, data: bytes, trouble: Trouble | None) -> None:
        match trouble:
            case "cut":
                request.wfile.write(data[: len(data) // 2])
                request.wfile.flush()
                request.close_connection = True
            case "endless":
                while not self.over.is_set():
                    request.wfile.write(b"{" * 65536)
            case "drip":
                for byte in data:
                    request.wfile.write(bytes([byte]))
                    request.wfile.flush()
                    if self.over.wait(0.05):
                        return
            case "silent":
                self.over.wait(60)
            case _:
                request.wfile.write(data)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server for as long as the context lasts."""
    server = Server(folder)
    try:
        yield server
    finally:
        server.close()
