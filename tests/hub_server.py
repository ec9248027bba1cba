"""A stand-in for the Hugging Face hub on loopback: repositories in memory, behind the requests its client makes.

The requests are those of https://huggingface.co/docs/hub/api and of git-lfs's batch API; large files have their SHA-256
as ETag there, and are sent and stored apart from the commit.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

TOKEN = "hf_right"
_LARGE = (".safetensors", ".gguf")


@dataclass
class Repository:
    files: dict[str, bytes] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    @property
    def sha(self) -> str:
        parts = [f"{name}:{hashlib.sha256(data).hexdigest()}" for name, data in sorted(self.files.items())]
        return hashlib.sha1("\n".join(parts).encode()).hexdigest()


@dataclass
class Hub:
    """The stand-in: what it holds, what it was asked, and what goes wrong with it."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    """By `OWNER/NAME`; that of a data set by `datasets/OWNER/NAME`."""
    stored: dict[str, bytes] = field(default_factory=dict)
    """Large files that were sent, by SHA-256."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and range of every request."""
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """File to the bytes after which the connection breaks, answer after answer."""
    stalls: dict[str, int] = field(default_factory=dict)
    """File to the bytes after which nothing comes any more."""
    stalled: threading.Event = field(default_factory=threading.Event)
    refused: set[str] = field(default_factory=set)
    """Paths, in part, that are answered by 500."""

    def put(self, name: str, folder: Path, **settings: bool) -> Repository:
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self.repositories[name] = Repository(files, **settings)
        return self.repositories[name]

    def sent(self, part: str) -> list[tuple[str, str, str]]:
        return [one for one in self.asked if part in one[1]]


def start() -> tuple[Hub, ThreadingHTTPServer]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return hub, server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ClassVar[Hub]

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append((self.command, path, self.headers.get("Range", "")))
        with suppress(BrokenPipeError, ConnectionResetError):
            self._route(path, body)

    def _route(self, path: str, body: bytes) -> None:
        if any(part in path for part in self.hub.refused):
            return self._json({"error": "broken"}, 500)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", TOKEN):
            return self._error(401, "", "Invalid credentials in Authorization header")
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body), token)
        if found := re.fullmatch(r"/lfs/([0-9a-f]{64})", path):
            self.hub.stored[found[1]] = body
            return self._json({})
        for pattern, act in (
            (r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._about),
            (r"/api/(datasets/[^/]+/[^/]+)(?:/revision/([^/]+))?", self._about),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self._tree),
            (r"/api/(?:models/)?((?:datasets/)?[^/]+/[^/]+)/preupload/(main)", self._modes),
            (r"/api/(?:models/)?((?:datasets/)?[^/]+/[^/]+)/commit/(main)", self._commit),
            (r"/([^/]+/[^/]+)\.git/info/lfs/objects/(batch)", self._batch),
            (r"/([^/]+/[^/]+)/resolve/([^/]+/.+)", self._file),
        ):
            if found := re.fullmatch(pattern, path):
                repository = self.hub.repositories.get(found[1])
                if repository is None or (repository.private and not token):
                    return self._error(404, "RepoNotFound", "Repository not found")
                if self.command in ("POST", "PUT") and not token:
                    return self._error(401, "", "Log in")
                return act(found[1], repository, found[2] or "main", body)
        return self._error(404, "EntryNotFound", "no such path")

    def _about(self, name: str, repository: Repository, revision: str, _: bytes) -> None:
        if revision not in ("main", repository.sha):
            return self._error(404, "RevisionNotFound", "no such revision")
        files = [{"rfilename": one["path"], "size": one["size"], "blobId": one["oid"],
                  **({"lfs": {**one["lfs"], "sha256": one["lfs"]["oid"]}} if "lfs" in one else {})}
                 for one in (_entry(*file) for file in repository.files.items())]  # fmt: skip
        told = {"_id": name, "id": name, "sha": repository.sha, "private": repository.private, "siblings": files}
        return self._json({**told, "gated": repository.gated, "tags": [], "downloads": 0, "likes": 0})

    def _tree(self, _name: str, repository: Repository, _revision: str, _: bytes) -> None:
        self._json([_entry(name, data) for name, data in repository.files.items()])

    def _file(self, _name: str, repository: Repository, place: str, _: bytes) -> None:
        name = place.partition("/")[2]
        if repository.gated:
            return self._error(403, "GatedRepo", "Accept the terms")
        if name not in repository.files:
            return self._error(404, "EntryNotFound", "no such file")
        data = repository.files[name]
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(found[1]) if found else 0
        self.send_response(206 if found else 200)
        self.send_header("ETag", f'"{_etag(name, data)}"')
        self.send_header("X-Repo-Commit", repository.sha)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - begin))
        if found:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        if stall := self.hub.stalls.pop(name, 0):
            self.wfile.write(data[begin : begin + stall])
            self.wfile.flush()
            self.hub.stalled.set()
            self.rfile.read(1)  # until the one who asked is gone
            self.close_connection = True
            return None
        cuts = self.hub.cuts.get(name)
        if cuts:
            self.wfile.write(data[begin : begin + cuts.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            return None
        self.wfile.write(data[begin:])
        return None

    def _create(self, wanted: dict[str, Any], token: str) -> None:
        prefix = "datasets/" if wanted.get("type") == "dataset" else ""
        name = f"{prefix}{wanted['organization']}/{wanted['name']}"
        if not token:
            return self._error(401, "", "Log in")
        known = name in self.hub.repositories
        self.hub.repositories.setdefault(name, Repository(private=wanted.get("visibility") == "private"))
        if wanted.get("private") is True and not known:
            self.hub.repositories[name].private = True
        return self._json({"url": f"{self.hub.url}/{name}"}, 409 if known else 200)

    def _modes(self, _name: str, _repository: Repository, _revision: str, body: bytes) -> None:
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(_LARGE) else "regular",
                "shouldIgnore": False,
            }
            for one in json.loads(body)["files"]
        ]
        self._json({"files": files})

    def _batch(self, _name: str, _repository: Repository, _revision: str, body: bytes) -> None:
        objects = []
        for one in json.loads(body)["objects"]:
            actions = {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}
            objects.append({**one, **({} if one["oid"] in self.hub.stored else actions)})
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, repository: Repository, _revision: str, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.stored[value["oid"]]
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{repository.sha}", "commitOid": repository.sha})

    def _error(self, status: int, code: str, message: str) -> None:
        told = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self._json({"error": message}, status, told)

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _etag(name: str, data: bytes) -> str:
    if name.endswith(_LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(name: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    large = {"lfs": {"oid": digest, "size": len(data), "pointerSize": 134}} if name.endswith(_LARGE) else {}
    oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return {"type": "file", "path": name, "size": len(data), "oid": oid, **large}
