"""What parameters may look like, and refusals."""

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel

StudyUidPath = Annotated[str, Path(pattern=r"^[0-9.]{1,64}$", description="StudyInstanceUID.")]
JobIdPath = Annotated[str, Path(pattern=r"^[0-9A-Za-z_-]{1,64}$", description="Id of a job.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
After = Annotated[int, Query(ge=0, lt=2**63, description="`number` of the last one seen.")]


class Refusal(BaseModel):
    """Why something was not done."""

    detail: str


REFUSALS: dict[int | str, dict[str, object]] = {
    401: {"model": Refusal, "description": "No valid token."},
    403: {"model": Refusal, "description": "The role is too low."},
    404: {"model": Refusal, "description": "There is no such thing, or it does not stand there."},
    422: {"model": Refusal, "description": "A parameter is not as it should be."},
    503: {"model": Refusal, "description": "The index cannot be reached at the moment."},
}
