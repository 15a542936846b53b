"""Pictures of every page of a running node, for docs/web.md: dark, light and at 200 %.

`python -m tests.acceptance.web_pictures http://127.0.0.1:8080 NAME PASSWORD docs/pictures/web`
"""

import re
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
SIZE = {"width": 1180, "height": 760}
COLOURS = 128
"""Enough for text and tables; keeps a picture small."""


def log_in(page: Page, address: str, name: str, password: str) -> None:
    """Fill in the form as a person does."""
    page.goto(f"{address}/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{address}/overview")


def first_story(page: Page, address: str) -> str:
    """Path of the story of the study received last."""
    page.goto(f"{address}/studies")
    found = re.search(r'href="(/studies/[\d.]+)"', page.content())
    assert found
    return found[1]


def save(page: Page, path: Path) -> None:
    """A picture of the window, with few colours."""
    shot = Image.open(BytesIO(page.screenshot())).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    shot.quantize(COLOURS).save(path, optimize=True)


def opened(browser: Browser, scheme: str, *, zoom: int = 1) -> Page:
    """A window; at 200 % the page has half as many pixels of its own across."""
    made = browser.new_context(
        viewport={"width": SIZE["width"] // zoom, "height": SIZE["height"] // zoom},
        device_scale_factor=zoom,
        color_scheme="dark" if scheme == "dark" else "light",
    )
    return made.new_page()


def main(address: str, name: str, password: str, folder: Path) -> None:
    """Write all pictures."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme, zoom in (("light", 1), ("dark", 1), ("light", 2)):
            page = opened(browser, scheme, zoom=zoom)
            suffix = f"{scheme}{'-200' if zoom == 2 else ''}"
            page.goto(f"{address}/login")
            save(page, folder / f"login-{suffix}.png")
            log_in(page, address, name, password)
            story = first_story(page, address)
            links = page.locator("nav a").evaluate_all(
                "all => all.map(a => a.getAttribute('href'))"
            )
            for path in [*links, story, "/account"]:
                page.goto(f"{address}{path}")
                title = "study" if path == story else path.strip("/").replace("/", "-")
                save(page, folder / f"{title}-{suffix}.png")
                if path == story:
                    page.locator("figure img").first.scroll_into_view_if_needed()
                    page.locator("figure").first.evaluate("one => one.scrollIntoView()")
                    page.wait_for_load_state("networkidle")
                    save(page, folder / f"overlay-{suffix}.png")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
