"""The application: pages, API, static files, one open index, and the thread that hands requests to Prefect."""

import os
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.sessions import SessionMiddleware

from datacube_config.connection import is_lost, open_index
from datacube_config.errors import IndexUnavailable, StorageUnavailable
from datacube_config.settings import Settings, get_settings
from flows.request_page import api, pages, tiles
from flows.request_page.dispatch import dispatching
from flows.request_page.known_plans import KnownPlans
from flows.request_page.sign_in import MOST_FORM_BYTES, Attempts, SignInRequired
from flows.requesting import NotAllowed
from flows.steps.service.prefect_runs import PrefectDidNotAnswer
from products.errors import RequestError

SESSION_S = 12 * 3600
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STATUS: dict[type[Exception], int] = {
    RequestError: 422,
    NotAllowed: 403,
    FileNotFoundError: 410,
    IndexUnavailable: 503,
    PrefectDidNotAnswer: 503,
    StorageUnavailable: 503,
}


def from_settings() -> FastAPI:
    """The application of the settings in force, for uvicorn; the Prefect API is the one of PREFECT_API_URL."""
    return create_app(get_settings(), os.environ.get("PREFECT_API_URL"))


def create_app(settings: Settings, prefect_api: str | None = None) -> FastAPI:
    """The application; without a Prefect API requests wait. RequestError where nobody could sign in."""
    if not settings.accounts:
        raise RequestError("nobody can sign in: expected accounts in settings.toml, see `neocube account`")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.index = stack.enter_context(open_index(settings))
            if prefect_api:
                stack.enter_context(dispatching(app.state.index, settings, prefect_api))
            yield

    app = FastAPI(title="neocube", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.settings, app.state.prefect_api, app.state.attempts = settings, prefect_api, Attempts()
    app.state.preview_lock, app.state.plans = threading.Lock(), KnownPlans()
    app.include_router(tiles.router)
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).with_name("static")))
    app.add_middleware(BaseHTTPMiddleware, dispatch=guarded)
    key = settings.session_key.get_secret_value() if settings.session_key else secrets.token_urlsafe(32)
    app.add_middleware(
        SessionMiddleware, secret_key=key, session_cookie="neocube", max_age=SESSION_S, same_site="lax",
        https_only=settings.session_https_only,
    )  # fmt: skip
    app.add_exception_handler(SignInRequired, to_sign_in)
    for kind in (*STATUS, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, in_words)
    return app


async def guarded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse bodies without a length, or too large; say so where the index gave out; say to the browser what it may load: nothing from elsewhere."""
    length = request.headers.get("Content-Length", "0")
    if "Transfer-Encoding" in request.headers or not length.isdecimal() or int(length) > MOST_FORM_BYTES:
        answer: Response = JSONResponse(
            {"detail": f"expected at most {MOST_FORM_BYTES} bytes, of a stated length"}, 413
        )
    else:
        try:
            answer = await call_next(request)
        except Exception as error:
            if not is_lost(error):
                raise
            answer = await in_words(request, IndexUnavailable("the index does not answer now: try again in a minute"))
    answer.headers.update(HEADERS)
    if not request.url.path.startswith("/static"):
        answer.headers.setdefault("Cache-Control", "no-store")
    return answer


async def to_sign_in(request: Request, error: Exception) -> Response:
    """The way to the form."""
    return RedirectResponse("/sign-in", 303)


async def in_words(request: Request, error: Exception) -> Response:
    """What is wrong: as JSON to programs, as a page to people; what was sent is not repeated."""
    if isinstance(error, HTTPException):
        status, said, headers = error.status_code, str(error.detail), error.headers
    elif isinstance(error, RequestValidationError):
        status, headers = 422, None
        said = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors())
    else:
        status, said, headers = next(code for kind, code in STATUS.items() if isinstance(error, kind)), str(error), None
    said = said.encode(errors="replace").decode()
    if request.url.path.startswith("/api/"):
        return JSONResponse({"detail": said}, status, headers)
    return pages.problem_page(request, status, said, headers)
