"""One module for each page. A line in `PAGES` puts a page into the navigation."""

from dicomnode.domain.access import Role
from dicomnode.web.pages import (
    audit,
    lesions,
    overview,
    queue,
    reports,
    results,
    rules,
    sql,
    studies,
    trouble,
    users,
)
from dicomnode.web.rendering import Page

PAGES: tuple[Page, ...] = (
    Page(title="Overview", path="/overview", router=overview.router),
    Page(title="Studies", path="/studies", router=studies.router),
    Page(title="Results", path="/results", router=results.router),
    Page(title="Lesions", path="/lesions", router=lesions.router),
    Page(title="Reports", path="/reports", router=reports.router, role=Role.READER),
    Page(title="SQL", path="/sql", router=sql.router, role=Role.READER),
    Page(title="Queue", path="/queue", router=queue.router),
    Page(title="Trouble", path="/trouble", router=trouble.router),
    Page(title="Rules", path="/rules", router=rules.router),
    Page(title="Users", path="/users", router=users.router, role=Role.ADMIN),
    Page(title="Audit", path="/audit", router=audit.router, role=Role.ADMIN),
)
