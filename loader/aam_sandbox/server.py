"""`aam sandbox serve`: HTTP around the sandbox. What is behind an address stands in collect.py, api/ and page.py."""

from __future__ import annotations

import errno
import os
import pathlib
import secrets
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aam_onboard.config import package_rules
from aam_onboard.errors import ConfigError, LockedError
from aam_sandbox import collect
from aam_sandbox.access import HEADERS, Content, Sandbox
from aam_sandbox.api.listing import ApiError
from aam_sandbox.api.routes import rest_api, token_endpoint
from aam_sandbox.page import render_page

if TYPE_CHECKING:
    import uvicorn

LARGEST_BODY = 1 << 20  # far more than any call needs
TOKEN_SECONDS = 86_399
_LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]
# a transparent picture of one pixel
_PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)


def serve(
    folder: pathlib.Path, host: str, port: int, token_seconds: int, on_ready: Callable[[str], None]
) -> None:
    """Answer until interrupted. `on_ready` is called with the address as soon as somebody may ask there.

    Raises ConfigError when there is no sandbox, or the port is taken.
    """
    server = server_of(folder, host, token_seconds)
    with listening(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        on_ready(f"http://{shown}:{listener.getsockname()[1]}/")
        server.run(sockets=[listener])


def server_of(
    folder: pathlib.Path, host: str = "127.0.0.1", token_seconds: int = TOKEN_SECONDS
) -> uvicorn.Server:
    """A server that doesn't listen yet. Raises ConfigError when there is no sandbox."""
    import uvicorn

    app = make_app(folder, host, token_seconds)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="info" if os.environ.get("AAM_TRACEBACK") else "critical",
        access_log=False,  # addresses hold people's IDs
        server_header=False,
        lifespan="off",
    )
    return uvicorn.Server(config)


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections. Raises ConfigError when the port is taken or not ours to take."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        said = str(error.strerror or error).partition(" (while")[0]
        is_ports = error.errno in (errno.EADDRINUSE, errno.EACCES)
        todo = "give another with --port (0: any that is free)" if is_ports else "give another with --host"
        raise ConfigError(f"{host}, port {port}: {said}; {todo}") from None


def make_app(folder: pathlib.Path, host: str = "127.0.0.1", token_seconds: int = TOKEN_SECONDS) -> FastAPI:
    """The application for a sandbox's folder. `host`: the address on which it listens.

    Raises ConfigError when there is no sandbox.
    """
    sandbox = Sandbox(folder, package_rules(), token_seconds)
    with sandbox.store():
        pass  # whether there is one
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(_pages(sandbox))
    app.include_router(_calls(sandbox))
    app.include_router(token_endpoint(sandbox))
    app.include_router(rest_api(sandbox), prefix="/v1")
    _answer_errors(app)
    app.add_middleware(_OnePath)
    app.add_middleware(_SmallBody)
    if host in ("127.0.0.1", "::1", "localhost"):
        # Another site's page must not get at the answers by a name of its own for this address.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK)
    return app


def _answer_errors(app: FastAPI) -> None:
    """One line of text; Audience Manager documents no body."""

    def said(status: int, line: str, headers: dict[str, str] | None = None) -> Response:
        return PlainTextResponse(f"{line}\n", status, headers={**HEADERS, **(headers or {})})

    @app.exception_handler(ApiError)
    async def of_api(_: Request, error: ApiError) -> Response:
        headers = {"www-authenticate": 'Bearer realm="sandbox", error="invalid_token"'}
        return said(error.status, str(error), headers if error.status == 401 else None)

    @app.exception_handler(collect.CallError)
    async def of_call(_: Request, error: collect.CallError) -> Response:
        return said(400, str(error))

    @app.exception_handler(LockedError)
    async def of_lock(_: Request, error: LockedError) -> Response:
        return said(503, str(error), {"retry-after": "1"})

    @app.exception_handler(ConfigError)
    async def of_config(_: Request, error: ConfigError) -> Response:
        return said(500, str(error))

    @app.exception_handler(RequestValidationError)
    async def of_parameters(_: Request, error: RequestValidationError) -> Response:
        found = error.errors()[0]
        return said(400, f"{found['loc'][-1]}: {found['msg']}")

    @app.exception_handler(HTTPException)
    async def of_address(_: Request, error: HTTPException) -> Response:
        return said(error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def of_ours(_: Request, error: Exception) -> Response:
        return said(500, f"unexpected {type(error).__name__}; this is a fault of the sandbox")


class _OnePath:
    """`/v1/traits/` is `/v1/traits`, for the pages write both; and an ID sync says what it says in its path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path.startswith("/v1/"):
            scope = {**scope, "path": path.rstrip("/")}
        elif path.startswith("/ibs:"):
            scope = {**scope, "path": "/ibs"}
        await self._app(scope, receive, send)


class _SmallBody:
    """Refuse a body that is too large: by what its head says, else as soon as so many bytes have come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        is_small = length.isdigit() and len(length) < 20 and int(length) <= LARGEST_BODY
        body = b""
        more = True
        while is_small and more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            is_small = len(body) <= LARGEST_BODY
        if not is_small:
            refused = PlainTextResponse(
                f"a body holds {LARGEST_BODY:,} bytes at most\n", 413, headers={"connection": "close"}
            )
            await refused(scope, receive, send)
            return
        messages: Iterator[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            return next(messages, None) or await receive()

        await self._app(scope, again, send)


def _pages(sandbox: Sandbox) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    def page(request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        with sandbox.store() as store:
            text = render_page(store, dict(request.query_params), nonce)
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action 'self'; base-uri 'none';"
            " frame-ancestors 'none'"
        )
        return HTMLResponse(text, headers={**HEADERS, "content-security-policy": policy})

    return router


def _calls(sandbox: Sandbox) -> APIRouter:
    """What web pages and e-mails call. [id-sync-http, declared-ids]"""
    router = APIRouter()

    @router.get("/ibs")
    def id_sync(request: Request) -> Response:
        # the path as it came: an encoded & belongs to an ID
        path: bytes = request.scope["raw_path"]
        asked = collect.parse_http_sync(path.decode("ascii", "replace").partition("ibs:")[2])
        uuid = collect.device_of(request.cookies.get("demdex"))
        with sandbox.store() as store:
            collect.sync_ids(store, sandbox.rules, uuid, [asked.declared])
        if asked.redirect is None:
            return _picture(uuid)
        where = {"location": collect.redirect_to(asked.redirect, uuid)}
        return _remembered(Response(status_code=302, headers={**HEADERS, **where}), uuid)

    @router.get("/event")
    @router.post("/event")
    def event(request: Request, content: Content) -> Response:
        given = collect.parse_parameters(request.scope["query_string"] + b"&" + content)
        uuid = collect.device_of(request.cookies.get("demdex"))
        with sandbox.store() as store:
            declared = collect.parse_declared_ids(store, given)
            collect.sync_ids(store, sandbox.rules, uuid, declared)
            signals = [(key, value) for key, value in given if not key.startswith("d_")]
            realized = collect.take_event(store, uuid, declared, signals)
        said = {"uuid": uuid, "dcs_region": 9, "stuff": [], "traits": realized}
        return _remembered(JSONResponse(said, headers=HEADERS), uuid)

    @router.get("/demoptout.jpg")
    def opt_out(request: Request) -> Response:
        cookie = request.cookies.get("demdex")
        with sandbox.store() as store:
            declared = collect.parse_declared_ids(
                store, collect.parse_parameters(request.scope["query_string"])
            )
            collect.opt_out(store, sandbox.rules, collect.device_of(cookie) if cookie else None, declared)
        return Response(_PIXEL, media_type="image/gif", headers=HEADERS)

    return router


def _picture(uuid: str) -> Response:
    return _remembered(Response(_PIXEL, media_type="image/gif", headers=HEADERS), uuid)


def _remembered(response: Response, uuid: str) -> Response:
    """An answer that lets the browser keep its AAM UUID, as the cookie `demdex` does it for 180 days."""
    response.set_cookie("demdex", uuid, max_age=180 * 86_400, httponly=True, samesite="lax")
    return response
