"""A hub in memory: what huggingface_hub asks of one when a folder is pushed and pulled, answered over HTTP."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub(BaseHTTPRequestHandler):
    """Repositories of one revision; `files` of the server has them by repository and path."""

    def do_POST(self):
        path, body = urlsplit(self.path).path, self.rfile.read(int(self.headers["Content-Length"] or 0))
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = "/".join(part for part in (asked.get("organization"), asked["name"]) if part)
            self.server.files.setdefault(repo, {})
            self.say({"url": f"{self.server.address}/{repo}", "name": repo, "id": repo})
        elif path == "/api/validate-yaml":
            self.say({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            asked = json.loads(body)["files"]
            self.say(
                {"files": [{"path": its["path"], "uploadMode": "regular", "shouldIgnore": False} for its in asked]}
            )
        elif "/commit/" in path:
            repo = unquote(path.removeprefix("/api/models/").partition("/commit/")[0])
            for line in body.decode().splitlines():
                its = json.loads(line)
                if its["key"] == "file":
                    self.server.files[repo][its["value"]["path"]] = base64.b64decode(its["value"]["content"])
            self.say({"commitUrl": f"{self.server.address}/{repo}/commit/{'0' * 40}", "commitOid": "0" * 40})
        else:
            self.send_error(404)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if path == "/api/whoami-v2":
            return self.say({"name": "me", "type": "user"})
        if path.startswith("/api/models/"):
            repo = "/".join(path.removeprefix("/api/models/").split("/")[:2])
            if repo not in self.server.files:
                return self.send_error(404)
            files = self.server.files[repo]
            if "/tree/" in path:
                sizes = [
                    {"type": "file", "path": name, "size": len(its), "oid": _etag(its)} for name, its in files.items()
                ]
                return self.say(sizes)
            siblings = [{"rfilename": name, "size": len(its)} for name, its in files.items()]
            return self.say({"id": repo, "modelId": repo, "sha": "0" * 40, "siblings": siblings, "private": False})
        repo, _, rest = path.lstrip("/").partition("/resolve/")
        content = self.server.files.get(repo, {}).get(rest.partition("/")[2])
        if content is None:
            return self.send_error(404)
        return self.say(content, {"X-Repo-Commit": "0" * 40, "ETag": f'"{_etag(content)}"'})

    def say(self, answer, headers=()):
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *given):  # pyright: ignore[reportIncompatibleMethodOverride]
        self.server.asked.append(f"{self.command} {self.path}")


def _etag(content):
    return hashlib.sha1(content).hexdigest()


@contextmanager
def stand_in():
    """The server, with its `address`, the `files` it holds and what it was `asked`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.files, server.asked = {}, []
        server.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
