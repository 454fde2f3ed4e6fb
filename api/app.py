"""The application: routes, the words for every fault, and the OpenAPI document."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from api import docs, environments, health, models, problems, routes
from api.doors import Doors
from api.languages import languages
from api.metrics import Measured
from api.problems import Fault, Problem
from api.rendering import Json
from api.rules import OPEN
from api.services import Services, of
from streams.errors import BlobMissing, LogFull, LogUnavailable

_LOGGER: Final = logging.getLogger(__name__)
_TITLE: Final = "Sandstream"
_ABOUT: Final = (
    "Runs untrusted programs in the Nix shell that each submission brings. "
    "Every step is an event; every answer is a fold of them."
)


def create_app(own: Services) -> FastAPI:
    app = FastAPI(title=_TITLE, version="0.1.0", docs_url=None, redoc_url=None)
    app.state.services = own
    app.add_middleware(Doors, rules=own.rules)
    app.add_middleware(Measured, metrics=own.metrics)
    app.include_router(routes.router)
    app.include_router(environments.router)
    _add_service_routes(app)
    _add_handlers(app)
    app.openapi = lambda: _openapi(app, own)  # type: ignore[method-assign]
    return app


def _add_service_routes(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/docs")

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> Response:
        return HTMLResponse(docs.page(app.openapi()))

    @app.get("/healthz", tags=["service"], summary="Alive")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", tags=["service"], summary="Able to serve, and what is wrong if not")
    async def readyz(request: Request) -> dict[str, Any]:
        here = of(request)
        return health.answer(await health.look(here.client, here.log, here.model))

    @app.get("/metrics", tags=["service"], summary="Prometheus")
    async def metrics(request: Request) -> Response:
        here = of(request)
        seen = await health.look(here.client, here.log, here.model)
        return PlainTextResponse(
            here.metrics.text(seen, here.live.attacks),
            media_type="text/plain; version=0.0.4; charset=utf-8",
        )

    @app.get(
        "/languages",
        tags=["environments"],
        summary="The ready-made shells",
        response_model=list[models.LanguageAnswer],
    )
    async def ready_made(request: Request) -> Response:
        return Json(languages(Path(of(request).settings.languages_folder)))


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(_request: Request, error: Problem) -> Response:
        return problems.response(error)

    @app.exception_handler(LogUnavailable)
    async def unavailable(_request: Request, error: LogUnavailable) -> Response:
        _LOGGER.warning("503: %s", error)
        return problems.response(problems.unavailable(str(error)))

    @app.exception_handler(LogFull)
    async def full(_request: Request, error: LogFull) -> Response:
        _LOGGER.error("507: %s", error)
        return problems.response(problems.full(str(error)))

    @app.exception_handler(BlobMissing)
    async def missing(_request: Request, error: BlobMissing) -> Response:
        _LOGGER.error("500: %s", error)
        return problems.response(Problem(500, str(error), type_="/problems/blob-missing"))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        faults = [
            Fault("/".join(str(part) for part in item["loc"]), item["msg"])
            for item in error.errors()
        ]
        return problems.response(problems.invalid(faults))

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        detail = f"{request.method} {request.url.path[:200]}: {error.detail}; see /docs"
        headers = dict(error.headers or {})
        return problems.response(Problem(error.status_code, detail, headers=headers))

    @app.exception_handler(Exception)
    async def fault(_request: Request, _error: Exception) -> Response:
        # The server logs the traceback itself; its words are not for strangers.
        return problems.response(Problem(500, "a fault of ours; the server's log says more"))


def _openapi(app: FastAPI, own: Services) -> dict[str, Any]:
    """FastAPI's document, and the bodies that the two POSTs read by themselves."""
    if app.openapi_schema is None:
        made = get_openapi(title=_TITLE, version=app.version, description=_ABOUT, routes=app.routes)
        parts = made["components"]["schemas"]
        for path, model in (
            ("/submissions", own.reader.model),
            ("/environments", own.reader.environment),
        ):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            parts |= schema.pop("$defs", {})
            parts[model.__name__] = schema
            made["paths"][path]["post"]["requestBody"] = {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"$ref": f"#/components/schemas/{model.__name__}"},
                        "example": schema["examples"][0],
                    }
                },
            }
        _add_refusals(made, keys=own.rules.keys is not None)
        app.openapi_schema = made
    return app.openapi_schema


#: What `api/doors.py` answers before any route sees the request.
_REFUSALS: Final = {
    "401": "The server has keys, and the request brings none of them.",
    "403": "The request's Origin is not one that may call this server.",
    "421": "The request's Host is no name of this server.",
}


def _add_refusals(made: dict[str, Any], *, keys: bool) -> None:
    """Each call's refusals at the door, and how to bring a key where one is needed."""
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemAnswer"}}}
    for path, calls in made["paths"].items():
        for method, call in calls.items():
            told = {"403": _REFUSALS["403"]} if path in OPEN else dict(_REFUSALS)
            if method == "post":
                told["415"] = "The body is not said to be plain JSON."
            for status, description in told.items():
                call["responses"].setdefault(status, {})
                call["responses"][status] |= {"description": description, "content": content}
            if path in OPEN:
                call["security"] = []
    if keys:
        scheme = {"type": "http", "scheme": "bearer", "description": "A key of this server."}
        made["components"]["securitySchemes"] = {"key": scheme}
        made["security"] = [{"key": []}]
