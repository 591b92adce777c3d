"""As much of a W&B server as its client needs to begin an online run and to stream numbers to it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUCKET = {
    "id": "1",
    "displayName": "a run",
    "project": {"id": "1", "name": "tests", "entity": {"id": "1", "name": "nobody"}},
    "historyLineCount": 0,
}
VIEWER = {"id": "1", "entity": "nobody", "username": "nobody", "email": "", "flags": "{}", "teams": {"edges": []}}


class WandbServer:
    """Listens on a port of its own until it is closed, and counts the parts of runs that it was sent."""

    def __init__(self) -> None:
        self.streamed = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.path.endswith("/file_stream"):
                    outer.streamed.set()
                answer = json.dumps(_answer(self.path, body)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _answer(path: str, body: bytes) -> dict:
    if path != "/graphql":
        return {}
    request = json.loads(body)
    query = request["query"]
    if "upsertBucket" in query:
        bucket = {**BUCKET, "name": request["variables"]["name"]}
        return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
    if "viewer" in query:
        return {"data": {"viewer": VIEWER}}
    if "RunResumeStatus" in query:
        return {"data": {"model": None}}
    return {"errors": [{"message": "this server does not know that"}]}
