"""The tables of `docs/sql.md`: `python -m dicomnode.sql_reference docs/sql.md` writes them."""

import sys
from collections.abc import Mapping

from dicomnode.documents import rewrite, table
from dicomnode.store.describe import TableTold, described_tables


def sql_tables() -> Mapping[str, str]:
    """The one part of the document."""
    return {"tables": "\n\n".join(_told(one) for one in described_tables())}


def _told(one: TableTold) -> str:
    rows = [
        (
            f"`{column.name}`",
            column.type,
            "yes" if column.nullable else "",
            column.key,
            column.words,
        )
        for column in one.columns
    ]
    heads = ("column", "type", "may be null", "key", "what it is")
    return f"### {one.name}\n\n{one.words}\n\n{table(heads, rows)}"


if __name__ == "__main__":
    rewrite(sys.argv[1:], sql_tables())
