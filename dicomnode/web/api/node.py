"""The node: queue, deliveries, events, trouble."""

from typing import Annotated

from fastapi import APIRouter, Body, Query

from dicomnode.domain.results import DeliveryState
from dicomnode.store.lists import DeliveryListed, EventListed, list_deliveries, list_events
from dicomnode.store.overview import Overview, overview
from dicomnode.store.workers import QueueTold, queue_told
from dicomnode.web import steering
from dicomnode.web.api.values import After, Limit
from dicomnode.web.context import WebContext
from dicomnode.web.visitors import Admin, Viewer

router = APIRouter(tags=["node"])


@router.get("/queue")
def queue(web: WebContext, _visitor: Viewer) -> QueueTold:
    """What runs where, what waits, and whether models are paused."""
    return queue_told(web.database, web.clock())


@router.post("/queue/pause")
def pause(
    web: WebContext,
    visitor: Admin,
    reason: Annotated[str, Body(embed=True, max_length=200)] = "",
) -> QueueTold:
    """Start no more models, on any worker; what runs goes on."""
    steering.pause(web, visitor, reason)
    return queue_told(web.database, web.clock())


@router.post("/queue/resume")
def resume(web: WebContext, visitor: Admin) -> QueueTold:
    """Let models go on."""
    steering.resume(web, visitor)
    return queue_told(web.database, web.clock())


@router.get("/trouble")
def trouble(web: WebContext, _visitor: Viewer) -> Overview:
    """How much stands where, and everything that needs a person."""
    return overview(web.database, web.clock(), reserve_mb=web.settings.receive.reserve_mb)


@router.get("/deliveries")
def deliveries(
    web: WebContext,
    _visitor: Viewer,
    state: DeliveryState = DeliveryState.WAITING,
    after: After = 0,
    limit: Limit = 100,
) -> tuple[DeliveryListed, ...]:
    """Objects that stand in a state with a destination, oldest first."""
    return list_deliveries(web.database, state=state, after=after, limit=limit)


@router.get("/events")
def events(
    web: WebContext,
    _visitor: Viewer,
    after: After = 0,
    name: Annotated[str, Query(max_length=40)] = "",
    limit: Limit = 100,
) -> tuple[EventListed, ...]:
    """The log of the node from a place on, oldest first; ask again behind the last one."""
    return list_events(web.database, after=after, name=name, limit=limit)
