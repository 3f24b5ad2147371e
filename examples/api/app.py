"""A web application over groups: every handler is one line, for scope, filter, order and page come ready-made."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline  # FastAPI's own pages would load their scripts from elsewhere
from starlette.exceptions import HTTPException
from starlette.types import Lifespan

from examples.api.errors import PROBLEMS, answer, answer_http, answer_unfit
from examples.api.types import Groups, Id, NewGroup, Scope
from examples.group.repository import GroupRepository
from examples.group.search import GroupSearch
from examples.group.types import GroupData, GroupPatch
from rowsmith import Database, Page, RepositoryError

router = APIRouter(prefix="/groups", tags=["groups"], responses=PROBLEMS)


@router.post("", status_code=201)
async def create(spec: NewGroup, groups: Groups, scope: Scope) -> GroupData:
    """Make a group in the caller's domain."""
    return await groups.create(spec, scope=scope)


@router.post("/search")
async def search(request: GroupSearch, groups: Groups, scope: Scope) -> Page[GroupData]:
    """Find groups: filter, order, one mode of paging, and a count if it is wanted."""
    return await groups.search(scope, request.to_query())


@router.get("/{id}")
async def get(id: Id, groups: Groups, scope: Scope) -> GroupData:
    """Give one group."""
    return await groups.get(id, scope)


@router.patch("/{id}")
async def update(id: Id, patch: GroupPatch, groups: Groups, scope: Scope) -> GroupData:
    """Change what the body names: an absent field is left, ``null`` sets a nullable one to NULL."""
    return await groups.update(id, patch, scope=scope)


@router.delete("/{id}")
async def delete(id: Id, groups: Groups, scope: Scope) -> GroupData:
    """Mark a group as deleted; it can be restored."""
    return await groups.delete(id, scope=scope)


@router.post("/{id}/restore")
async def restore(id: Id, groups: Groups, scope: Scope) -> GroupData:
    """Bring a deleted group back."""
    return await groups.restore(id, scope=scope)


@router.post("/{id}/purge")
async def purge(id: Id, groups: Groups, scope: Scope) -> GroupData:
    """Remove a group for good, deleted or not."""
    return await groups.purge(id, scope=scope)


def make_app(db: Database, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """Make the application on a database, which stays the caller's to dispose of, as in a lifespan."""
    app = FastAPIOffline(title="Groups", version="1", description="An example of rowsmith.", lifespan=lifespan)
    app.state.groups = GroupRepository(db)
    app.include_router(router)
    app.add_exception_handler(RepositoryError, answer)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(RequestValidationError, answer_unfit)
    return app
