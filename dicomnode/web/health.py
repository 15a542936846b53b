"""Is it alive, is it ready? For supervisors; tells little, since nobody has to log in."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from dicomnode.domain.disk import lack_of_room
from dicomnode.store.gauges import Stage, standing
from dicomnode.store.overview import is_reachable
from dicomnode.web.context import Web, WebContext

router = APIRouter()

STUCK_S = 120.0
"""Images are in their study within a second; after this long nobody is indexing."""


@router.get("/health")
def health(web: WebContext) -> dict[str, str]:
    """200 if pages can be served from the index; 503 otherwise."""
    is_reachable(web.database)
    return {"status": "ok"}


@router.get("/health/ready")
def ready(web: WebContext) -> JSONResponse:
    """200 if the node can take images and is getting on with them; else 503 and what is wrong."""
    faults = faults_of(web)
    return JSONResponse(
        {"status": "not ready" if faults else "ready", "faults": faults},
        status_code=503 if faults else 200,
    )


def faults_of(web: Web) -> list[str]:
    """What keeps the node from its work, in words without any name."""
    faults = []
    if lack := lack_of_room(web.settings.data_dir, web.settings.receive.reserve_mb):
        faults.append(f"disk: {lack}")
    for waiting in standing(web.database, web.clock()).waiting:
        if waiting.stage is Stage.LANDED and waiting.oldest_s > STUCK_S:
            faults.append(f"index: {waiting.count} images wait to be indexed; is the node running?")
    return faults
