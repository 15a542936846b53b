"""One module for each page. A line in `PAGES` puts a page into the navigation."""

from dicomnode.web.pages import studies
from dicomnode.web.rendering import Page

PAGES: tuple[Page, ...] = (Page(title="Studies", path="/studies", router=studies.router),)
