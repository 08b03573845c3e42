"""The API of a request page, as programs ask it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr

from products.errors import RequestError

SECONDS = 60.0


class PageDidNotAnswer(RuntimeError):
    """The request page gave no usable answer; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Page:
    """The address of a request page, and the token of an account of it."""

    url: str
    token: SecretStr

    def asked(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401, JSON
        """The document that the page answers; RequestError with its words where it refuses."""
        place = f"{self.url.rstrip('/')}/api{path}"
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        try:
            answer = httpx.request(method, place, json=body, headers=headers, timeout=SECONDS)
        except httpx.HTTPError as error:
            raise PageDidNotAnswer(f"the request page at {self.url} cannot be reached: {error}") from error
        if answer.is_client_error:
            raise RequestError(f"the request page at {self.url} refuses {path}: {_said(answer)}")
        if answer.is_error:
            raise PageDidNotAnswer(f"the request page at {self.url} answers {answer.status_code}: {_said(answer)}")
        return answer.json()


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])[:500]
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
