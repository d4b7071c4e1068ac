"""A package index on this machine, and wheels made for it: no test asks another one."""

import base64
import hashlib
import importlib.metadata
import io
import json
import re
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

JSON = "application/vnd.pypi.simple.v1+json"


def zipped(files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return made.getvalue()


def wheel(name, version, files, *, requires=(), more=""):
    """A wheel of pure Python as bytes; `files` by path."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)]
    metadata = "\n".join(["Metadata-Version: 2.1", *lines]) + f"\n{more}\n"
    said = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    return zipped({**files, f"{info}/METADATA": metadata, f"{info}/WHEEL": said})


def installed(name, version):
    """A library that is installed here as a wheel of another version: real code, and no network."""
    files = {
        str(path): path.locate().read_bytes()
        for path in importlib.metadata.files(name)
        if not str(path).startswith("..")
        and ".dist-info" not in str(path)
        and path.suffix not in {".pyc", ".so"}
    }
    requires = importlib.metadata.requires(name) or ()
    return wheel(name, version, files, requires=[one for one in requires if "extra" not in one])


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Index:
    """What the server offers; tests change it as they go. `asked` are the paths that were."""

    def __init__(self):
        self.files = {}
        self.entries = {}
        self.asked = []
        self.html = False
        self.apart = False
        self.down = False
        self.odd = None
        self.credentials = None
        self.address = ""

    def offer(self, data, filename, *, name=None, **said):
        project = (name or filename.split("-")[0]).lower()
        self.files[f"/files/{filename}"] = data
        entry = {"filename": filename, "url": f"/files/{filename}"}
        entry["hashes"] = {"sha256": sha256(data)}
        if self.apart and data:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                (path,) = [path for path in archive.namelist() if path.endswith("/METADATA")]
                metadata = archive.read(path)
            self.files[f"/files/{filename}.metadata"] = metadata
            entry["core-metadata"] = {"sha256": sha256(metadata)}
        self.entries.setdefault(re.sub(r"[-_.]+", "-", project), []).append({**entry, **said})
        return data

    def put(self, name, version, files, *, requires=(), more="", **said):
        filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        made = wheel(name, version, files, requires=requires, more=more)
        return self.offer(made, filename, name=name, **said)

    def answer(self, path, header):
        if self.down:
            return 503, "text/plain", b"down"
        if self.credentials is not None:
            wanted = base64.b64encode(self.credentials.encode()).decode()
            if header != f"Basic {wanted}":
                return 401, "text/plain", b"who are you"
        if path in self.files:
            return 200, "application/octet-stream", self.files[path]
        name = path.removeprefix("/simple/").strip("/")
        if path.startswith("/simple/") and name in self.entries:
            return self._listing(name)
        return 404, "text/plain", b"nothing"

    def _listing(self, name):
        if self.odd is not None:
            return 200, JSON, self.odd
        entries = self.entries[name]
        if not self.html:
            return 200, JSON, json.dumps({"meta": {}, "name": name, "files": entries}).encode()
        links = "".join(
            f'<a href="{e["url"]}#sha256={e["hashes"]["sha256"]}"'
            + (' data-yanked="x"' if e.get("yanked") else "")
            + (
                f' data-requires-python="{e["requires-python"].replace(">", "&gt;")}"'
                if "requires-python" in e
                else ""
            )
            + f">{e['filename']}</a>"
            for e in entries
        )
        return 200, "text/html; charset=utf-8", f"<!DOCTYPE html><body>{links}</body>".encode()


@contextmanager
def served():
    """An Index over HTTP on a free port of this machine."""
    index = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            index.asked.append(self.path)
            status, kind, body = index.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    index.address = f"http://127.0.0.1:{server.server_port}/simple"
    try:
        yield index
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
