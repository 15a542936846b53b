"""OHIF in a headless Chromium: open a study, go to a slice, read what is drawn."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.viewer.configuration import study_path

T = TypeVar("T")
Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

SIZE = (1500, 800)
"""Wide, so that labels beside a radiograph are not cut off."""
SAVED_WIDTH = 1150
PATIENCE_S = 600.0
"""For what a quiet machine does in five seconds; WebGL is done in software here.

On two cores with twenty things to do the first image has come after more than 180 s."""
BETWEEN_LOOKS_MS = 250

_ARGUMENTS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
# Without it a tour of the viewer lies over the page.
_NO_TOUR = "localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))"
# Services are there before they can answer, so a look may fail; then there is no viewport yet.
_VIEWPORT = """
const viewport = (() => {
  try {
    const id = window.services.viewportGridService.getActiveViewportId();
    return window.services.cornerstoneViewportService.getCornerstoneViewport(id);
  } catch (error) {
    return null;
  }
})();
"""
_READY = f"() => {{ {_VIEWPORT} return Boolean(viewport?.csImage); }}"
_BOX = f"""() => {{ {_VIEWPORT}
  const box = viewport.element.getBoundingClientRect();
  return [box.x, box.y, box.width, box.height]; }}"""
_GO_TO = f"""async uid => {{ {_VIEWPORT}
  await viewport.setImageIdIndex(viewport.getImageIds().findIndex(id => id.includes(uid))); }}"""
_SHOWN = f"() => {{ {_VIEWPORT} return viewport.getCurrentImageId(); }}"
_SEGMENTS = """() => {
  const id = window.services.viewportGridService.getActiveViewportId();
  return window.services.segmentationService.getSegmentationRepresentations(id)
    .flatMap(one => Object.values(
      window.services.segmentationService.getSegmentation(one.segmentationId).segments))
    .filter(Boolean).map(segment => segment.label); }"""
_ERASE = """() => {
  const viewport = window.services.viewportGridService.getActiveViewportId();
  const [one] = window.services.segmentationService.getSegmentationRepresentations(viewport);
  const images = window.services.segmentationService.getSegmentation(one.segmentationId)
    .representationData.Labelmap.imageIds.map(id => window.cornerstone.cache.getImage(id));
  const drawn = images.find(image => image.getPixelData().some(Boolean));
  drawn.voxelManager.getScalarData().fill(0);
  window.cornerstoneTools.segmentation.triggerSegmentationEvents
    .triggerSegmentationDataModified(one.segmentationId); }"""
# A SEG is written from the images it lies on, all of which have to be in the browser by then.
_SOURCES = """
const sources = (() => {
  const viewport = window.services.viewportGridService.getActiveViewportId();
  const [one] = window.services.segmentationService.getSegmentationRepresentations(viewport);
  return window.services.segmentationService.getSegmentation(one.segmentationId)
    .representationData.Labelmap.imageIds
    .map(id => window.cornerstone.cache.getImage(id)?.referencedImageId);
})();
"""
_LOADED = f"""() => {{ {_SOURCES}
  return [sources.filter(id => id && window.cornerstone.cache.getImage(id)).length,
    sources.length]; }}"""
_FORGET = f"""() => {{ {_SOURCES}
  const cache = window.cornerstone.cache;
  const kept = Object.getPrototypeOf(cache).getImage ?? cache.getImage;
  cache.getImage = id => id === sources[0] ? undefined : kept.call(cache, id);
  window.remember = () => {{ cache.getImage = id => kept.call(cache, id); }}; }}"""
_STORE = """() => {
  const notices = window.services.uiNotificationService;
  const show = Object.getPrototypeOf(notices).show;
  window.said = [];
  notices.show = told => {
    window.said.push(`${told.type}: ${told.message}`);
    return show.call(notices, told);
  };
  const viewport = window.services.viewportGridService.getActiveViewportId();
  const [one] = window.services.segmentationService.getSegmentationRepresentations(viewport);
  window.commandsManager.run({commandName: 'storeSegmentation', context: 'CORNERSTONE',
    commandOptions: {segmentationId: one.segmentationId, modality: 'SEG'}}); }"""
_LINES = """() => [...document.querySelectorAll('.svg-layer > line, .svg-layer > polyline')]
  .map(drawn => drawn.tagName === 'polyline'
    ? [...drawn.points].map(point => [point.x, point.y])
    : ['x1 y1', 'x2 y2'].map(ends => ends.split(' ').map(end => +drawn.getAttribute(end))))"""
_LABELS = """() => [...document.querySelectorAll('.svg-layer > g')].map(
  group => [...group.querySelectorAll('tspan')].map(row => row.textContent).join('\\n'))"""


@dataclass(frozen=True, kw_only=True)
class Viewport:
    """Where an image is drawn: scaled to fit and centred, all in screen pixels."""

    left: float
    top: float
    width: float
    height: float
    rows: int
    columns: int

    @property
    def scale(self) -> float:
        """Screen pixels an image pixel; those are square."""
        return min(self.width / self.columns, self.height / self.rows)

    @property
    def corner(self) -> tuple[float, float]:
        """The image's top left corner (x, y) in the viewport."""
        return (
            (self.width - self.columns * self.scale) / 2,
            (self.height - self.rows * self.scale) / 2,
        )

    def on_screen(self, points: Points) -> Points:
        """(column, row) as DICOM counts them -> (x, y) in the viewport."""
        return np.asarray(points * self.scale + np.array(self.corner))

    def projected(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """A mask (row, column) as it has to look in the viewport, pixel by pixel."""
        x, y = np.arange(round(self.width)) + 0.5, np.arange(round(self.height)) + 0.5
        columns = np.floor((x - self.corner[0]) / self.scale).astype(int)
        rows = np.floor((y - self.corner[1]) / self.scale).astype(int)
        across = (columns >= 0) & (columns < self.columns)
        down = (rows >= 0) & (rows < self.rows)
        seen = np.zeros((len(y), len(x)), dtype=bool)
        seen[np.ix_(down, across)] = mask[np.ix_(rows[down], columns[across])]
        return seen


class OhifPage:
    """One browser page on a viewer site."""

    def __init__(self, page: Page, url: str) -> None:
        self._page = page
        self._url = url
        self._complaints: list[str] = []
        page.on(
            "console",
            lambda said: self._complaints.append(said.text) if said.type == "error" else None,
        )

    def log_in(self, name: str, password: str) -> None:
        """Fill in the node's login page."""
        self._page.goto(f"{self._url}/login", timeout=PATIENCE_S * 1000)
        self._page.fill("input[name=name]", name)
        self._page.fill("input[name=password]", password)
        self._page.click("button[type=submit]")
        self._page.wait_for_url(lambda url: "/login" not in url, timeout=PATIENCE_S * 1000)

    def follow(self, path: str, link: str) -> None:
        """Open a page of the node and click a link that leads to an image."""
        self._page.goto(self._url + path, timeout=PATIENCE_S * 1000)
        self._page.click(f"text={link}")
        self._page.wait_for_function(_READY, timeout=PATIENCE_S * 1000)

    def complaints(self) -> list[str]:
        """What the browser said against the pages so far, security policies first of all."""
        return self._complaints

    def open(self, study: StudyUid, series: SeriesUid | None = None) -> None:
        """Open a study, drawing the SEG or SR `series`; returns when an image is there."""
        self._page.goto(self._url + study_path(study, series), timeout=PATIENCE_S * 1000)
        self._page.wait_for_function(_READY, timeout=PATIENCE_S * 1000)

    def go_to(self, image: InstanceUid) -> None:
        """Show this image of the series."""
        self._page.evaluate(_GO_TO, image)

    def shows(self, image: InstanceUid) -> bool:
        """True if this image is the one on the screen."""
        return f"/{image}/" in str(self._page.evaluate(_SHOWN))

    def viewport(self, rows: int, columns: int) -> Viewport:
        """Where an image of this size is drawn."""
        left, top, width, height = self._page.evaluate(_BOX)
        return Viewport(left=left, top=top, width=width, height=height, rows=rows, columns=columns)

    def picture(self, viewport: Viewport) -> Picture:
        """(y, x, RGB) of the viewport."""
        clip = {
            "x": viewport.left,
            "y": viewport.top,
            "width": round(viewport.width),
            "height": round(viewport.height),
        }
        png = self._page.screenshot(clip=clip, timeout=PATIENCE_S * 1000)  # type: ignore[arg-type]
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def segments(self) -> list[str]:
        """Labels of the segments that are drawn."""
        return [str(label) for label in self._page.evaluate(_SEGMENTS)]

    def erase_a_slice(self) -> None:
        """Take the first drawn slice of the segmentation away."""
        self._page.evaluate(_ERASE)

    def loaded(self) -> tuple[int, int]:
        """How many of the images the segmentation lies on are in the browser, and of how many."""
        there, wanted = self._page.evaluate(_LOADED)
        return there, wanted

    def forget_an_image(self) -> None:
        """Have one of them missing, as while a slow network still brings it."""
        self._page.evaluate(_FORGET)

    def remember_it(self) -> None:
        """It has come after all."""
        self._page.evaluate("() => window.remember()")

    def store_segmentation(self) -> list[str]:
        """What the segmentation's menu does for Export, DICOM SEG; then Save in its dialog.

        Returns what the viewer tells its user of it, "success: ..." or "error: ...".
        """
        self._page.evaluate(_STORE)
        self._page.click("button:has-text('Save')", timeout=PATIENCE_S * 1000)
        told = self.until(lambda: self._page.evaluate("() => window.said"), bool)
        return [str(words) for words in told]

    def lines(self) -> list[Points]:
        """Every line and outline of the SVG layer, (n, 2) in the viewport's pixels."""
        return [np.array(points, dtype=np.float64) for points in self._page.evaluate(_LINES)]

    def labels(self) -> list[str]:
        """The texts beside lines and outlines."""
        return [str(text) for text in self._page.evaluate(_LABELS)]

    def listed_series(self) -> list[str]:
        """What the study browser lists, one text a series."""
        return self._page.locator('[data-cy^="study-browser-thumbnail"]').all_inner_texts()

    def until(self, look: Callable[[], T], enough: Callable[[T], bool]) -> T:
        """Look again until it is enough or patience ends; the last look, for the test to judge."""
        deadline = time.monotonic() + PATIENCE_S
        seen = look()
        while not enough(seen) and time.monotonic() < deadline:
            self._page.wait_for_timeout(BETWEEN_LOOKS_MS)
            seen = look()
        return seen

    def save(self, path: Path) -> None:
        """Keep the whole page as a small PNG for the documentation."""
        png = self._page.screenshot(timeout=PATIENCE_S * 1000)
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.open(io.BytesIO(png)).convert("RGB")
        small = picture.resize(
            (SAVED_WIDTH, round(SAVED_WIDTH * picture.height / picture.width)),
            Image.Resampling.LANCZOS,
        )
        few_colors = small.quantize(256, kmeans=4, dither=Image.Dither.NONE)
        few_colors.save(path, optimize=True)


@contextmanager
def chromium_on(url: str, executable: str) -> Iterator[OhifPage]:
    """A page in a browser of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*_ARGUMENTS])
        try:
            context = browser.new_context(viewport={"width": SIZE[0], "height": SIZE[1]})
            context.add_init_script(_NO_TOUR)
            yield OhifPage(context.new_page(), url)
        finally:
            browser.close()
