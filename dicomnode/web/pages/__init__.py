"""One module for each page. A line in `PAGES` puts a page into the navigation."""

from dicomnode.domain.access import Role
from dicomnode.web.pages import sql, studies
from dicomnode.web.rendering import Page

PAGES: tuple[Page, ...] = (
    Page(title="Studies", path="/studies", router=studies.router),
    Page(title="SQL", path="/sql", router=sql.router, role=Role.READER),
)
