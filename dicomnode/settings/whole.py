"""The whole configuration."""

from pathlib import Path
from typing import Annotated

from pydantic import (
    Field,
    field_validator,
)

from dicomnode.settings.audit import AuditSettings
from dicomnode.settings.destinations import Destination
from dicomnode.settings.files import FilesSettings
from dicomnode.settings.keeping import KeepSettings
from dicomnode.settings.notices import NoticeSettings
from dicomnode.settings.receiving import AssemblySettings, ReceiveSettings
from dicomnode.settings.reports import ReportSettings, SqlSettings
from dicomnode.settings.values import AETitle, DatabaseUrl, Section
from dicomnode.settings.web import WebSettings
from dicomnode.settings.working import (
    AlgorithmSettings,
    FlowSettings,
    LesionSettings,
    OutputSettings,
)

INDEX_FILE = "index.sqlite"
"""In the data folder, where no other database is named."""


class Settings(Section):
    """The whole configuration."""

    ae_title: AETitle = "DICOMNODE"
    data_dir: Path = Path("dicomnode-data")
    """Files and, by default, both databases. Relative to the settings file."""
    rules: Path | None = None
    """TOML file of rules; none: the shipped rules."""
    database_url: DatabaseUrl = ""
    """Default: SQLite `index.sqlite` in `data_dir`. PostgreSQL: `postgresql+psycopg://...`."""
    flow_database_url: DatabaseUrl = ""
    """Default: SQLite `flow.sqlite` in `data_dir`, or the database of `database_url`."""
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    receive: ReceiveSettings = ReceiveSettings()
    assembly: AssemblySettings = AssemblySettings()
    files: FilesSettings = FilesSettings()
    flow: FlowSettings = FlowSettings()
    algorithms: AlgorithmSettings = AlgorithmSettings()
    audit: AuditSettings = AuditSettings()
    keep: KeepSettings = KeepSettings()
    lesions: LesionSettings = LesionSettings()
    notices: NoticeSettings = NoticeSettings()
    output: OutputSettings = OutputSettings()
    reports: ReportSettings = ReportSettings()
    sql: SqlSettings = SqlSettings()
    web: WebSettings = WebSettings()
    destinations: tuple[Destination, ...] = ()

    @field_validator("destinations")
    @classmethod
    def _names_are_unique(cls, known: tuple[Destination, ...]) -> tuple[Destination, ...]:
        names = [destination.name for destination in known]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"defined more than once: {', '.join(twice)}")
        return known

    def destination(self, name: str) -> Destination | None:
        """The destination called `name`, or None."""
        return next((known for known in self.destinations if known.name == name), None)

    @property
    def models_dir(self) -> Path:
        """Where added models are kept."""
        return self.algorithms.added or self.data_dir / "models"

    @property
    def index_url(self) -> str:
        """SQLAlchemy URL of the index."""
        return self.database_url or f"sqlite:///{self.data_dir / INDEX_FILE}"

    @property
    def flow_url(self) -> str:
        """SQLAlchemy URL of the durable flow's own tables."""
        if self.flow_database_url or self.database_url:
            return self.flow_database_url or self.database_url
        return f"sqlite:///{self.data_dir / 'flow.sqlite'}"
