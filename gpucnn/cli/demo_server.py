"""The page of `gpucnn demo` and the two things that it asks for: what the model is, and what it makes of a drawing."""

from pathlib import Path
from socket import socket
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .demo_answer import SIDE, Reader

PAGE = Path(__file__).with_name("demo.html")
HOSTS = ["127.0.0.1", "localhost"]  # under another name, a page from elsewhere would pass for ours: DNS rebinding
POLICY = "default-src 'none'; connect-src 'self'; img-src data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
HEADERS = {"Content-Security-Policy": f"{POLICY}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}


def serve(reader: Reader, listener: socket) -> None:
    """Answer whoever connects to `listener`, until Ctrl-C, and a second longer. Faults are told on the page."""
    quiet: dict[str, Any] = {"log_config": None, "log_level": "critical", "lifespan": "off", "ws": "none"}
    uvicorn.Server(uvicorn.Config(application(reader), timeout_graceful_shutdown=1, **quiet)).run(sockets=[listener])


def application(reader: Reader) -> Starlette:
    """GET / is the page, GET /model the `facts` of `reader`, POST /answer its answer to a drawing.

    These are coroutines, so that drawings are read one after another: a model has room for one.
    """

    async def page(request: Request) -> Response:
        return HTMLResponse(PAGE.read_bytes(), headers=HEADERS)

    async def model(request: Request) -> Response:
        return JSONResponse(reader.facts)

    async def answer(request: Request) -> Response:
        return JSONResponse(reader.answer(await drawing(request)))

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=400)

    async def failed(request: Request, error: Exception) -> Response:
        return PlainTextResponse(f"{type(error).__name__}: {error}", status_code=500)

    return Starlette(
        routes=[Route("/", page), Route("/model", model), Route("/answer", answer, methods=["POST"])],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)],
        exception_handlers={ClientDisconnect: gone, Exception: failed},
    )


async def drawing(request: Request) -> np.ndarray:
    """The body, one byte of ink a pixel: uint8 (SIDE, SIDE). No more of it is read than a drawing has."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > SIDE * SIDE:
            raise HTTPException(413, f"a drawing has {SIDE * SIDE} bytes, this one has more")
    if len(body) != SIDE * SIDE:
        raise HTTPException(400, f"a drawing has {SIDE * SIDE} bytes, this one has {len(body)}")
    return np.frombuffer(bytes(body), np.uint8).reshape(SIDE, SIDE)
