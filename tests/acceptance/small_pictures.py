"""Screenshots small enough for the repository."""

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

WIDTH = 1000


def save_small(page: Page, path: Path) -> None:
    """Keep what the browser shows as a PNG of few colours."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    size = (WIDTH, round(WIDTH * picture.height / picture.width))
    small = picture.resize(size, Image.Resampling.LANCZOS)
    few = small.quantize(112, kmeans=2, dither=Image.Dither.NONE)
    path.parent.mkdir(parents=True, exist_ok=True)
    few.save(path, optimize=True)
