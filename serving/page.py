"""The page of the server and its files, which a browser keeps and asks about again."""

import hashlib
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import Response

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def add_page(app):
    """Adds to a Starlette or FastAPI application the page at `/` and its files under `/static/`."""
    files = {path.name: path for path in Path(__file__).with_suffix("").iterdir() if path.suffix in TYPES}
    contents = {name: path.read_bytes() for name, path in files.items()}
    etags = {name: f'"{hashlib.sha256(content).hexdigest()[:16]}"' for name, content in contents.items()}

    async def send(request):
        name = request.path_params.get("name", "index.html")
        if name not in contents:
            raise HTTPException(404, f"there is no file {name}")
        headers = {"Cache-Control": "no-cache", "ETag": etags[name]}  # a browser asks whether its copy is still right
        if etags[name] in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        return Response(contents[name], headers=headers, media_type=TYPES[files[name].suffix])

    app.add_route("/", send, include_in_schema=False)
    app.add_route("/static/{name}", send, include_in_schema=False)
