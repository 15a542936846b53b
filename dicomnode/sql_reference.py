"""The tables of `docs/sql.md`: `python -m dicomnode.sql_reference docs/sql.md` writes them."""

import sys
from collections.abc import Mapping

from dicomnode.documents import rewrite, table
from dicomnode.store.describe import TableTold, described_tables
from dicomnode.store.views import View, views


def sql_tables() -> Mapping[str, str]:
    """The parts of the document."""
    return {
        "views": "\n\n".join(_view_told(one) for one in views()),
        "tables": "\n\n".join(_told(one) for one in described_tables()),
    }


def _view_told(one: View) -> str:
    rows = [(f"`{name}`", words) for name, words in one.columns.items()]
    head = f"### {one.name}\n\nVersion {one.version}. {one.purpose}"
    return f"{head}\n\n{table(('column', 'what it is'), rows)}"


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
