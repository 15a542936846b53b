"""Full-text search over the texts of reports."""

from alembic import op

revision = "0003"
down_revision = "0002"

# External content: the words are indexed, the text stays in report_part alone.
SQLITE = (
    """
    CREATE VIRTUAL TABLE report_search USING fts5(
      text, content='report_part', content_rowid='id', tokenize='porter unicode61')
    """,
    """
    CREATE TRIGGER report_part_added AFTER INSERT ON report_part BEGIN
      INSERT INTO report_search(rowid, text) VALUES (new.id, new.text);
    END
    """,
    """
    CREATE TRIGGER report_part_removed AFTER DELETE ON report_part BEGIN
      INSERT INTO report_search(report_search, rowid, text)
        VALUES ('delete', old.id, old.text);
    END
    """,
    "INSERT INTO report_search(report_search) VALUES ('rebuild')",
)
POSTGRESQL = (
    """
    CREATE TABLE report_search (
      part_id bigint PRIMARY KEY REFERENCES report_part (id) ON DELETE CASCADE,
      words tsvector NOT NULL)
    """,
    "CREATE INDEX ix_report_search_words ON report_search USING gin (words)",
    """
    CREATE FUNCTION index_report_part() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO report_search
        VALUES (new.id, to_tsvector('english', left(new.text, 200000)));
      RETURN new;
    END $$
    """,
    """
    CREATE TRIGGER report_part_added AFTER INSERT ON report_part
      FOR EACH ROW EXECUTE FUNCTION index_report_part()
    """,
    """
    INSERT INTO report_search
      SELECT id, to_tsvector('english', left(text, 200000)) FROM report_part
    """,
)


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in SQLITE if is_sqlite else POSTGRESQL:
        op.execute(statement)
