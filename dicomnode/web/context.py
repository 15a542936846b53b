"""What every page and router is given."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from dicomnode.domain.access import Role
from dicomnode.domain.audit import Deed
from dicomnode.domain.events import FactValue
from dicomnode.settings import Settings
from dicomnode.store.audit import record_deed
from dicomnode.store.database import Database
from dicomnode.web.passwords import Passwords


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Somebody who is logged in: holding one is the proof."""

    name: str
    role: Role
    address: str
    form_token: str = ""
    """For the forms of this session; empty for a program with a token."""
    session_hash: str = ""
    """Empty for a program with a token."""

    def may(self, role: Role) -> bool:
        """True if the visitor may do what needs `role`."""
        return self.role.includes(role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """The parts pages work with; built once in `create_app`."""

    settings: Settings
    database: Database
    clock: Callable[[], datetime]
    passwords: Passwords

    def note(
        self,
        visitor: Visitor,
        what: str,
        on: str = "",
        facts: Mapping[str, FactValue] | None = None,
    ) -> None:
        """Write into the audit trail what somebody did or looked at."""
        deed = Deed(who=visitor.name, address=visitor.address, what=what, on=on, facts=facts or {})
        record_deed(self.database, deed, self.clock())

    @contextmanager
    def noted(
        self,
        visitor: Visitor,
        what: str,
        on: str = "",
        facts: Mapping[str, FactValue] | None = None,
    ) -> Iterator[None]:
        """The same, in one commit with what the block writes: both are there, or neither."""
        with self.database.as_one():
            yield
            self.note(visitor, what, on, facts)


async def web_of(request: Request) -> Web:
    """The context of the application that answers; async, since it waits for nothing."""
    web = request.app.state.web
    assert isinstance(web, Web)
    return web


WebContext = Annotated[Web, Depends(web_of)]
