"""Lines to other machines: when one that says nothing any more counts as broken."""

from collections.abc import Mapping

DATABASE_LINE: Mapping[str, int] = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Words of libpq for PostgreSQL; seconds, the last milliseconds. Without them a commit on the way
to a machine that vanished waits for a quarter of an hour, an idle line for two, and with it every
sender whose image that commit is to acknowledge. What stands in the URL goes before."""


def database_line(stated: Mapping[str, object]) -> dict[str, int]:
    """`DATABASE_LINE` without what is `stated` already, in a URL's query."""
    return {name: value for name, value in DATABASE_LINE.items() if name not in stated}
