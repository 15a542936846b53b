"""Alembic's entry: runs on the connection handed over by `dicomnode db upgrade`."""

from alembic import context

from dicomnode.store.tables import Base

config = context.config


def run() -> None:
    connection = config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    context.run_migrations()


run()
