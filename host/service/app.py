# SPDX-License-Identifier: Apache-2.0
"""The web application: routes, errors as the protocol says, headers, and counting of requests."""

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from host.service import page, protocol
from host.service.errors import RETRY_SECONDS, BadRequest, Refused, refusal
from host.service.metrics import UNKNOWN
from host.service.service import Service

HEADERS = [
    (b"content-security-policy", b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                                 b"img-src 'self' data: blob:; base-uri 'none'; form-action 'self'; "
                                 b"frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
"""Headers of every answer: the page asks nothing of other servers, and stands in no other page."""


def application(service: Service, local: bool = True) -> FastAPI:
    """The application of a service that was started; ``local``: it is reached from this computer only, by the names
    that this computer has for itself. A page of another name may belong to anybody."""
    app = FastAPI(title="edge-moe", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(protocol.routes(service))
    app.include_router(page.routes(service))
    app.add_middleware(_Gate, service=service, local=local)  # type: ignore[arg-type]  # Starlette types it by its own protocol

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return answered(Refused(error.status_code, _name(error.status_code), f"{error.detail}."), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return answered(BadRequest(f"{error.errors()[0]['msg']}."))

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> JSONResponse:
        return answered(Refused(499, "ClientGone", "The client left before its body had come."))

    @app.exception_handler(Exception)
    @app.exception_handler(Refused)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        return answered(refusal(error))
    for kind in protocol.FAILURES:
        app.add_exception_handler(kind, failed)
    return app


def answered(error: Refused, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer to a request that is refused."""
    return JSONResponse(error.answer, error.status, {**(headers or {}), **error.headers})


def _name(status: int) -> str:
    return {404: "NotFound", 405: "MethodNotAllowed"}.get(status, "BadRequest" if status < 500 else "InternalError")


class _Gate:
    """Sets headers, refuses what other sites' pages send and too many bodies at a time, counts requests for a
    result."""

    def __init__(self, app: ASGIApp, service: Service, local: bool):
        self._app, self._service, self._local, self._open = app, service, local, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def sends(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)
        if scope["method"] != "POST":
            refused = self._misled(Request(scope))
            await (self._app if refused is None else answered(refused))(scope, receive, sends)
            return
        counted, state = _is_counted(scope["path"]), scope.setdefault("state", {})
        self._open += 1
        if counted:
            self._service.metrics.begins()
        try:
            if (refused := self._refused(Request(scope))) is not None:
                await answered(refused)(scope, receive, sends)
            else:
                await self._app(scope, receive, sends)
        finally:
            self._open -= 1
            if counted:
                self._service.metrics.ends(state.get("model", UNKNOWN), state.get("task", UNKNOWN), status)

    def _misled(self, request: Request) -> Refused | None:
        """What to answer to a browser that was led here by another name: the names of other sites can be made to lead
        to this computer."""
        if not self._local or _is_here(host := request.headers.get("host", "")):
            return None
        return Refused(421, "OtherHost", f"This service is called localhost, not {host[:80]!r}.")

    def _refused(self, request: Request) -> Refused | None:
        if (refused := self._misled(request)) is not None:
            return refused
        origin, host = request.headers.get("origin"), request.headers.get("host", "")
        if origin is not None and urlsplit(origin).netloc != host:
            return Refused(403, "OtherOrigin", f"A page of {origin[:80]!r} may not ask for results here.")
        if self._open > self._service.limits.open:
            return Refused(503, "TooManyRequests", f"{self._service.limits.open} requests are being answered: try "
                                                   f"again later.", RETRY_SECONDS)
        return None


def _is_here(host: str) -> bool:
    """Whether a Host header names this computer as it calls itself.

    >>> [_is_here(host) for host in ("localhost:8000", "127.0.0.1", "[::1]:80", "rebound.example:8000", "")]
    [True, True, True, False, False]
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _is_counted(path: str) -> bool:
    """Whether a request asks for a result."""
    return path.endswith("/infer") or path == "/api/run"
