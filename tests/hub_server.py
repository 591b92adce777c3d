"""A stand-in for the HTTP interface of the Hugging Face Hub, with repositories in memory."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

TOKEN = "hf_a_token_of_the_tests"


@dataclass
class Hub:
    """What the server holds: by repository, its files and whether it is private."""

    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)

    def commit(self, repository: str) -> str:
        names = sorted((name, hashlib.sha1(data).hexdigest()) for name, data in self.files[repository].items())
        return hashlib.sha1(repr(names).encode()).hexdigest()


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Starts the server on a free port of this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def json(self, value: object) -> None:
            self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

        @property
        def is_known(self) -> bool:
            return self.headers.get("Authorization") == f"Bearer {TOKEN}"

        def repository(self, name: str) -> bool:
            """Whether the account may see a repository; answers if not."""
            if name in hub.files and (self.is_known or not hub.private[name]):
                return True
            self.answer(401 if not self.is_known else 404, b"", X_Error_Code="RepoNotFound")
            return False

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if not content and self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    content += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            if not self.is_known:
                self.answer(401, b"{}")
            elif self.path == "/api/repos/create":
                self.create(json.loads(content))
            elif self.path == "/api/validate-yaml":
                self.json({"errors": [], "warnings": []})
            else:
                self.change(content)

        def create(self, asked: dict) -> None:
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            if name in hub.files:
                self.answer(409, json.dumps({"url": f"{hub.address}/{name}"}).encode())
                return
            hub.files[name] = {".gitattributes": b""}
            hub.private[name] = bool(asked.get("private")) or asked.get("visibility") == "private"
            self.json({"url": f"{hub.address}/{name}"})

        def change(self, content: bytes) -> None:
            parts = unquote(self.path).split("/")  # "", api, models, user, repo, preupload or commit, revision
            name, action = "/".join(parts[3:5]), parts[5]
            if not self.repository(name):
                return
            if action == "preupload":
                asked = json.loads(content)["files"]
                kinds = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked]
                self.json({"files": kinds})
                return
            for line in content.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    hub.files[name][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            oid = hub.commit(name)
            self.json({"commitUrl": f"{hub.address}/{name}/commit/{oid}", "commitOid": oid, "pullRequestUrl": None})

        def do_GET(self) -> None:
            parts = unquote(self.path.partition("?")[0]).split("/")[1:]
            if parts[:2] == ["api", "models"]:
                name = "/".join(parts[2:4])
                if self.repository(name):
                    names = [{"rfilename": file} for file in hub.files[name]]
                    self.json({"id": name, "sha": hub.commit(name), "private": hub.private[name], "siblings": names})
                return
            name, file = "/".join(parts[:2]), "/".join(parts[4:])  # user, repo, resolve, revision, file
            if not self.repository(name):
                return
            oid = hub.commit(name)
            if parts[3] not in ("main", oid):
                self.answer(404, b"", X_Error_Code="RevisionNotFound")
            elif file not in hub.files[name]:
                self.answer(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=oid)
            else:
                data = hub.files[name][file]
                tag = f'"{hashlib.sha1(data).hexdigest()}"'
                self.answer(200, data, ETag=tag, X_Repo_Commit=oid)

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
