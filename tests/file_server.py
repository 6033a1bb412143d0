"""A server of files: byte ranges, versions, and the troubles that networks have."""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves ``files``, path -> content, below ``url``.

    The next answers come from ``troubles``, one each: a status, or the bytes after which
    the connection ends; None is no trouble. ``requests`` has (path, first byte) of each
    answer but those of a single byte, which only ask about a file.
    """

    def __init__(self, files: Mapping[str, bytes]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = dict(files)
        self.etags = {path: f'"v1-{len(content)}"' for path, content in files.items()}
        self.content_type = "application/zip"
        self.knows_ranges = True
        self.states_length = True
        self.troubles: list[int | str | None] = []
        self.requests: list[tuple[str, int]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def address(self, path: str) -> str:
        return f"{self.url}/{path}"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, path = self.server, self.path.lstrip("/")
        if path not in server.files:
            self.answer(404, {"Content-Length": 0})
            return
        content, etag = server.files[path], server.etags[path]
        first, last = 0, len(content) - 1
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and server.knows_ranges:
            if self.headers.get("If-Range", etag) == etag:
                first, last = int(asked[1]), min(int(asked[2] or last), last)
            else:
                asked = None
        only_asks = asked is not None and asked[2] != ""
        trouble = None
        if not only_asks:
            server.requests.append((path, first))
            trouble = server.troubles.pop(0) if server.troubles else None
        if isinstance(trouble, str):
            self.answer(int(trouble), {"Content-Length": 0})
            return
        headers = {"Content-Type": server.content_type}
        if etag:
            headers["ETag"] = etag
        if server.states_length:
            headers["Content-Length"] = last + 1 - first
        if asked and server.knows_ranges:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            self.answer(206, headers)
        else:
            self.answer(200, headers)
        end = last + 1 if trouble is None else first + trouble
        with suppress(BrokenPipeError, ConnectionResetError):  # it has read enough
            self.wfile.write(content[first : min(end, last + 1)])

    def answer(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[FileServer]:
    """Serve files on this machine for the length of a test."""
    server = FileServer(files)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
