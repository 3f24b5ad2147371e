"""Errors as HTTP: the class decides the status, and the code goes into the body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import rowsmith as r

STATUS: Mapping[type[r.RepositoryError], int] = {
    r.BadInput: 400,
    r.ScopeMismatch: 403,
    r.EntityNotFound: 404,
    r.ReferenceNotFound: 404,
    r.ConstraintViolation: 409,
    r.StaleVersion: 412,
    r.IdempotencyMismatch: 422,
    r.LockNotAvailable: 503,
    r.SerializationFailure: 503,
    r.DeadlockDetected: 503,
    r.StalePlan: 503,
    r.DatabaseUnavailable: 503,
    r.StateUnavailable: 503,
    r.DeadlineExceeded: 504,
    r.RepositoryError: 500,
}


@dataclass(frozen=True)
class Problem:
    """What a client is told: a stable code to act on, and a sentence that never quotes a row."""

    error_code: str
    message: str


PROBLEMS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (400, 403, 404, 409, 422)}
"""For OpenAPI: what the operations on one entity may answer."""

_NO_SUCH_FIELD = ("extra_forbidden", "unexpected_keyword_argument")
"""What pydantic calls a field too many: of a model, of a dataclass."""


def status_of(error: r.RepositoryError) -> int:
    """Give the status of the nearest class that has one."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


async def answer(_: Request, error: Exception) -> JSONResponse:
    """Answer a request that ended in an error of the repository."""
    assert isinstance(error, r.RepositoryError)
    return _problem(status_of(error), error.error_code, str(error))


async def answer_http(_: Request, error: Exception) -> JSONResponse:
    """Answer what the framework itself refuses (no such page, a body that is no JSON) in the same form."""
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, str(r.ErrorCode("http", "request", str(error.status_code))), error.detail)


async def answer_unfit(_: Request, error: Exception) -> JSONResponse:
    """Answer a request that does not fit its schema: where, and what is wrong there, without what was given."""
    assert isinstance(error, RequestValidationError)
    complaints = dict.fromkeys(f"{_place(found)}: {found['msg']}" for found in error.errors())
    return _problem(422, str(r.ErrorCode("http", "request", "422")), "; ".join(complaints))


def _place(found: Mapping[str, Any]) -> str:
    """Give where a request does not fit; the name of a field that there is not is the client's word, and not said."""
    known = found["loc"][:-1] if found["type"] in _NO_SUCH_FIELD else found["loc"]
    return ".".join(map(str, known))


def _problem(status: int, error_code: str, message: str) -> JSONResponse:
    return JSONResponse(asdict(Problem(error_code, message)), status)
