"""Is it alive? For supervisors; tells nothing else, since nobody has to log in."""

from fastapi import APIRouter

from dicomnode.store.overview import is_reachable
from dicomnode.web.context import WebContext

router = APIRouter()


@router.get("/health")
def health(web: WebContext) -> dict[str, str]:
    """200 if pages can be served from the index; 503 otherwise."""
    is_reachable(web.database)
    return {"status": "ok"}
