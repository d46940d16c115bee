"""The routes of the server."""

import asyncio
import json

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import ValidationError

from cli.console import UserError, excerpt
from serving.batcher import Failed, Options, Refused
from serving.page import add_page
from serving.schema import Predictions, Problem, Query, Reloaded, ServedModels, Status, query_model
from serving.service import READY, Unknown

DESCRIPTION = "Classifies Chinese texts. Probabilities are calibrated, with four decimal places."
UNWATCHED = 0.5  # seconds of a request after which the connection is watched
FIELDS = len(Query.model_fields)
REASONS = {
    401: "The key is missing or wrong",
    403: "Only from this machine, or with a key",
    404: "There is no such model",
    408: "The body did not arrive in time",
    413: "The body is too large",
    422: "The request is not valid",
    500: "The model failed",
    503: "The server is loading, stopping or has too many requests; try again after the seconds of Retry-After",
}


class Route(APIRoute):
    """A route whose function gets the Request as it is: FastAPI's handling of parameters takes longer than it."""

    def get_route_handler(self):
        return self.endpoint


def create_app(service, settings, metrics, changed=None):
    """The application, which `Access` must surround.

    service: a `Service`; settings: a namespace with `max_texts`, `max_characters`, `max_bytes`, `timeout`; metrics: a
    `Metrics`; changed: a function that is called after a reload.
    """
    query_class = query_model(settings.max_texts, settings.max_characters)
    app = FastAPI(title="Text classification", version="1", description=DESCRIPTION, docs_url=None, redoc_url=None)
    body = {"required": True, "content": {"application/json": {"schema": query_class.model_json_schema()}}}

    async def predict(request: Request):
        query = query_class.model_validate_json(await request.body())
        served = service.find(query.model)
        texts = query.texts if query.text is None else [query.text]
        request.scope["log"] |= {"model": served.name, "texts": texts}
        options = Options(query.top_k, query.min_confidence, query.explain)
        rows = await while_connected(request.receive, settings.timeout, service.predict(served, texts, options))
        content = f'{{"model": {json.dumps(served.name)}, "predictions": [{", ".join(rows)}]}}'
        return Response(content.encode(), media_type="application/json")

    app.router.add_api_route(
        "/predict",
        predict,
        methods=["POST"],
        route_class_override=Route,
        response_model=Predictions,
        responses=problems(401, 404, 408, 413, 422, 500, 503),
        openapi_extra={"requestBody": body},
        summary="Classify texts",
    )

    @app.get("/models", response_model=ServedModels, responses=problems(401, 503), summary="Models and limits")
    async def models():
        service.find()
        limits = {"bytes": settings.max_bytes, "texts": settings.max_texts, "characters": settings.max_characters}
        return {"models": [described(served) for served in service.models.values()], "limits": limits}

    @app.post("/reload", response_model=Reloaded, responses=problems(401, 403, 422, 503), summary="Load changed files")
    async def reload():
        await service.reload()
        if changed:
            changed()
        return {"models": {name: served.version for name, served in service.models.items()}}

    @app.get("/healthz", response_model=Status, summary="Whether the server runs")
    async def healthz():
        return {"status": "alive"}

    @app.get("/readyz", response_model=Status, responses=problems(503), summary="Whether the server predicts")
    async def readyz():
        if service.state != READY:
            raise Refused(f"the server is {service.state}")
        return {"status": service.state}

    @app.get("/metrics", responses=problems(401), summary="Metrics for Prometheus", response_class=Response)
    async def prometheus():
        return Response(metrics.content(), media_type=metrics.media_type)

    add_page(app)
    add_error_handlers(app)
    return app


class Gone(Exception):
    """The client has disconnected."""


async def while_connected(receive, seconds, work):
    """Awaits `work`, for so many seconds at most. Raises TimeoutError, or Gone if the client disconnects meanwhile."""
    loop, watching = asyncio.get_running_loop(), []

    async def watch():
        while (await receive())["type"] != "http.disconnect":
            pass
        limit.reschedule(loop.time())

    timer = loop.call_later(UNWATCHED, lambda: watching.append(loop.create_task(watch())))
    try:
        async with asyncio.timeout(seconds) as limit:
            return await work
    except TimeoutError:
        if watching and watching[0].done():
            raise Gone from None
        raise
    finally:
        timer.cancel()
        for task in watching:
            task.cancel()


def add_error_handlers(app):
    """Turns exceptions into responses with a line as `detail`."""

    def problem(status, detail, **headers):
        return JSONResponse({"detail": detail}, status, headers)

    @app.exception_handler(ValidationError)
    async def invalid(request, error):
        return problem(422, explained(error))

    @app.exception_handler(UserError)
    async def mistaken(request, error):
        return problem(422, str(error))

    @app.exception_handler(Unknown)
    async def unknown(request, error):
        return problem(404, str(error))

    @app.exception_handler(Refused)
    async def refused(request, error):
        return problem(503, str(error), **{"Retry-After": str(error.seconds)})

    @app.exception_handler(Failed)
    async def failed(request, error):
        return problem(500, str(error))

    @app.exception_handler(Gone)
    async def gone(request, error):
        return Response(status_code=499)  # for the log and the metrics; nobody reads it

    @app.exception_handler(TimeoutError)
    async def late(request, error):
        return problem(503, "the predictions took too long", **{"Retry-After": "1"})


def explained(error):
    """What a ValidationError says first, as a line."""
    if error.error_count() > FIELDS:  # a list of all of them would take seconds
        return f"{error.error_count()} fields are not permitted or not valid"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    message = first["msg"].removeprefix("Value error, ")
    return excerpt(f"{where}: {message}" if where else message, 500)


def described(served):
    """A model as /models lists it."""
    predictor = served.predictor
    return {
        "name": served.name,
        "model": served.kind,
        "classes": predictor.classes,
        "multi_label": predictor.multi_label,
        "levels": predictor.hierarchy.num_levels,
        "limit": predictor.limit,
        "loaded": served.loaded,
        "version": served.version,
    }


def problems(*statuses):
    """The descriptions of these statuses for OpenAPI."""
    retry = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    headers = {503: {"headers": retry}}
    return {status: {"model": Problem, "description": REASONS[status]} | headers.get(status, {}) for status in statuses}
