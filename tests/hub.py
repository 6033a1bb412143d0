"""A hub of models on this machine that speaks the Hugging Face hub's protocol.

Repositories are created, files committed (small ones in the commit, model files through
the store of large files) and downloaded: as huggingface_hub and those who call it do.
"""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

LARGE = (".pth", ".pt", ".png", ".zip")
RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
MODEL = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+?)(/(?P<what>\w+)/(?P<rest>.+))?")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Hub(ThreadingHTTPServer):
    """A page for each file, which redirects to a store of another name.

    Attributes:
        repositories: "owner/name" -> path -> content.
        accounts: token -> the owner whose repositories it may write to.
        etags: path -> what the hub says of it instead of its sha256.
        troubles: the store's next answers: a status, or the bytes after which the
            connection ends.
        knows_ranges: whether a part of a file can be asked for.
        requests: method and path of each request.
        ranges: where each transfer from the store began.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.accounts: dict[str, str] = {}
        self.etags: dict[str, str] = {}
        self.store: dict[str, bytes] = {}
        self.troubles: list[int | str] = []
        self.knows_ranges = True
        self.requests: list[tuple[str, str]] = []
        self.ranges: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def revision(self, repo: str) -> str:
        """A commit's name, which changes with the files."""
        files = self.repositories[repo]
        text = repr(sorted((path, sha256(files[path])) for path in files))
        return hashlib.sha1(text.encode()).hexdigest()

    def environment(
        self, home: os.PathLike, token: str | None = None
    ) -> dict[str, str]:
        """What a process needs to take this for the hub, with a cache in ``home``."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_TOKEN": token or "",
            "HOME": str(home),
            "NO_PROXY": "*",
        }


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that runs until the end of the block."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


@contextmanager
def this_process_using(hub: Hub, cache: Path, monkeypatch) -> Iterator[None]:
    """Have huggingface_hub, within the block, take this hub for the hub."""
    from huggingface_hub import close_session, constants

    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    settings = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_TOKEN_PATH": str(cache / "token"),
    }
    with monkeypatch.context() as patch:
        for name, value in settings.items():
            patch.setattr(constants, name, value)
        patch.setenv("NO_PROXY", "*")
        patch.delenv("HF_TOKEN", raising=False)
        close_session()  # so that the next one sees that there is no proxy
        yield
    close_session()


class Handler(BaseHTTPRequestHandler):
    """Answers one request; see Hub."""

    def log_message(self, *_):
        pass

    def answer(self, status: int, headers: dict, content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer_json(self, content, status: int = 200) -> None:
        headers = {"Content-Type": "application/json"}
        self.answer(status, headers, json.dumps(content).encode())

    def absent(self, code: str) -> None:
        self.answer(404, {"X-Error-Code": code})

    def note(self) -> str:
        path = self.path.partition("?")[0]
        self.server.requests.append((self.command, path))
        return path

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def owner(self) -> str | None:
        """Who asks."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return self.server.accounts.get(token)

    def do_HEAD(self):
        self.answer_page(self.note())

    def do_GET(self):
        path = self.note()
        if path.startswith("/store/"):
            self.answer_store(path.removeprefix("/store/"))
        elif match := MODEL.fullmatch(path):
            self.answer_model(match["repo"], match["what"])
        else:
            self.answer_page(path)

    def answer_page(self, path: str) -> None:
        match = RESOLVE.fullmatch(path)
        files = self.server.repositories.get(match["repo"], {}) if match else {}
        if not files or match["path"] not in files:
            self.absent("EntryNotFound" if files else "RepoNotFound")
            return
        content = files[match["path"]]
        stored = sha256(content)
        self.server.store[stored] = content
        headers = {
            "Location": f"http://localhost:{self.server.server_port}/store/{stored}",
            "X-Repo-Commit": self.server.revision(match["repo"]),
            "X-Linked-Etag": f'"{self.server.etags.get(match["path"], stored)}"',
            "X-Linked-Size": len(content),
        }
        self.answer(302, headers)

    def answer_store(self, stored: str) -> None:
        content = self.server.store[stored]
        asked = self.headers.get("Range", "0") if self.server.knows_ranges else "0"
        begin = int(re.sub(r"\D", "", asked))
        self.server.ranges.append(begin)
        trouble = self.server.troubles.pop(0) if self.server.troubles else None
        if isinstance(trouble, str):
            self.answer(int(trouble), {})
            return
        span = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        headers = {"Content-Length": len(content) - begin, "Content-Range": span}
        sent = content[begin : begin + (trouble or len(content))]
        self.answer(206 if begin else 200, headers, sent)

    def answer_model(self, repo: str, what: str | None) -> None:
        if repo not in self.server.repositories:
            self.absent("RepoNotFound")
            return
        files = self.server.repositories[repo]
        if what == "tree":
            self.answer_json(
                [
                    {
                        "type": "file",
                        "path": path,
                        "size": len(content),
                        "oid": hashlib.sha1(content).hexdigest(),
                    }
                    for path, content in files.items()
                ]
            )
            return
        card = files.get("README.md", b"").decode()
        stated = yaml.safe_load(card.split("---")[1]) if card.startswith("---") else {}
        about = {key: stated.get(key) for key in ("pipeline_tag", "tags")}
        revision = self.server.revision(repo)
        siblings = [{"rfilename": path} for path in files]
        self.answer_json(
            {"id": repo, "sha": revision, "siblings": siblings, "private": False}
            | {key: value for key, value in about.items() if value}
        )

    def do_POST(self):
        path, body = self.note(), self.body()
        if path == "/api/repos/create":
            self.create(json.loads(body))
        elif path == "/api/validate-yaml":
            self.answer_json({"errors": [], "warnings": []})
        elif path.endswith("/info/lfs/objects/batch"):
            self.offer_store(json.loads(body))
        elif match := MODEL.fullmatch(path):
            answer = {"preupload": self.preupload, "commit": self.commit}
            answer[match["what"]](match["repo"], body)
        else:
            self.absent("RepoNotFound")

    def create(self, asked: dict) -> None:
        owner = self.owner()
        repo = f"{asked['organization']}/{asked['name']}"
        if owner is None:
            self.answer_json({"error": "Invalid username or password."}, 401)
        elif owner != asked["organization"]:
            self.answer_json({"error": "You don't have the rights"}, 403)
        else:
            known = repo in self.server.repositories
            self.server.repositories.setdefault(repo, {})
            url = f"{self.server.url}/{repo}"
            self.answer_json({"url": url}, 409 if known else 200)

    def preupload(self, repo: str, body: bytes) -> None:
        asked = [file["path"] for file in json.loads(body)["files"]]
        modes = {path: "lfs" if path.endswith(LARGE) else "regular" for path in asked}
        self.answer_json(
            {
                "files": [
                    {"path": path, "uploadMode": modes[path], "shouldIgnore": False}
                    for path in asked
                ]
            }
        )

    def offer_store(self, asked: dict) -> None:
        objects = []
        for entry in asked["objects"]:
            href = f"{self.server.url}/store/{entry['oid']}"
            known = entry["oid"] in self.server.store
            actions = {} if known else {"actions": {"upload": {"href": href}}}
            objects.append({**entry, **actions})
        self.answer_json({"transfer": "basic", "objects": objects})

    def do_PUT(self):
        path, content = self.note(), self.body()
        assert path == f"/store/{sha256(content)}"
        self.server.store[sha256(content)] = content
        self.answer(200, {})

    def commit(self, repo: str, body: bytes) -> None:
        if self.owner() != repo.partition("/")[0]:
            self.answer_json({"error": "Forbidden"}, 403)
            return
        files = self.server.repositories[repo]
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.store[value["oid"]]
        url = f"{self.server.url}/{repo}/commit/{self.server.revision(repo)}"
        self.answer_json({"commitUrl": url, "commitOid": self.server.revision(repo)})
