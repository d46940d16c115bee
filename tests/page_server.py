"""An application with the page and a stand-in for models, whose answers a test knows and can hold back."""

import contextlib
import threading

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from serving.limits import Guard
from serving.page import add_page

HOSTILE = "<script>hacked()</script>"
MODELS = {
    "flat": {"classes": ["财经", "房产", HOSTILE], "multi_label": False, "levels": 1},
    "tree": {"classes": ["商业/财经", "商业/房产", "教育"], "multi_label": False, "levels": 2},
    "several": {"classes": ["财经", "房产", "股票"], "multi_label": True, "levels": 1},
}
LIMITS = {"bytes": 4000, "texts": 3, "characters": 100}


@contextlib.contextmanager
def running(app):
    """Serves an application in a thread; its address."""
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
    server, socket = uvicorn.Server(config), config.bind_socket()
    thread = threading.Thread(target=server.run, args=([socket],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


class StandIn:
    """The application `app`; `requests`: bodies of /predict; `replies`: statuses, headers and contents of the next."""

    def __init__(self):
        self.requests, self.replies = [], []
        self.held = set()  # texts whose answers wait until `release`
        self.released = threading.Condition()
        app = FastAPI()
        app.get("/models")(self.models)
        app.post("/predict")(self.predict)
        add_page(app)
        self.app = Guard(app, key=None, max_bytes=LIMITS["bytes"], seconds=60)

    def hold(self, text):
        self.held.add(text)

    def release(self):
        with self.released:
            self.held.clear()
            self.released.notify_all()

    def models(self):
        listed = [{"name": name, "model": "TextCNN", "limit": 32, **model} for name, model in MODELS.items()]
        return {"models": listed, "limits": LIMITS}

    def predict(self, query: dict):
        self.requests.append(query)
        if self.replies:
            status, headers, content = self.replies.pop(0)
            return JSONResponse(content, status, headers)
        texts = query.get("texts") or [query["text"]]
        with self.released:
            self.released.wait_for(lambda: not self.held & set(texts), timeout=60)
        model = MODELS[query["model"]]
        return {"model": query["model"], "predictions": [predicted(text, model, query) for text in texts]}


def predicted(text, model, query):
    """What the stand-in predicts: the number of 涨 decides the class, the length its probability."""
    classes = model["classes"]
    first, rest = text.count("涨") % len(classes), 1 / (len(text) + 1)
    shares = {name: rest / (len(classes) - 1) for name in classes} | {classes[first]: 1 - rest}
    ranked = [{"label": name, "probability": shares[name]} for name in sorted(classes, key=shares.get, reverse=True)]
    found = {"labels": ranked[: text.count("涨")]} if model["multi_label"] else ranked[0]
    if not text.strip():
        found = {"label": None, "probability": 0.0}
    if "top_k" in query:
        found = found | {"top_k": ranked[: query["top_k"]]}
    if query.get("explain"):
        found = found | {"weights": [{"涨": 2.0, "跌": -1.0}.get(character, 0.0) for character in text]}
    return found
