"""OHIF at `/viewer`, over the node's own DICOMweb and behind the same accounts.

Its build knows only addresses at the root (`/app.bundle....js`), so its files are served there,
after every page of the node: what is no page and no file of the viewer is not found.
"""

import re
from pathlib import Path

from fastapi import APIRouter, Depends, Response
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException

from dicomnode.domain.access import Role
from dicomnode.domain.identifiers import StudyUid
from dicomnode.viewer.configuration import app_config, study_path
from dicomnode.viewer.release import installed
from dicomnode.web.context import Web, WebContext
from dicomnode.web.visitors import Viewer, require

_FOLDERS = ("assets", "customizations", "dicom-microscopy-viewer", "ort")
# Its service worker would stand before the node's pages too, and asks a foreign host.
_LEFT_OUT = frozenset({"sw.js", "init-service-worker.js", "index.html", "app-config.js"})
_WORKER_SCRIPT = re.compile(r'<script[^>]*src="/init-service-worker\.js"[^>]*></script>')
_HASHED = re.compile(r"\.[0-9a-f]{12,}\.|^[0-9a-f]{12,}\.")
_POLICY = "; ".join(
    (
        "default-src 'none'",
        # Decoders are WebAssembly that makes functions of its own; two lines stand in the page.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:",
        "worker-src 'self' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "manifest-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
_ISOLATED = {
    "Content-Security-Policy": _POLICY,
    # SharedArrayBuffer is given to pages that let nothing foreign in.
    "Cross-Origin-Embedder-Policy": "require-corp",
}
_KEPT = "private, max-age=31536000, immutable"
_ASKED_FOR = "private, no-cache"

router = APIRouter(dependencies=[Depends(require(Role.VIEWER))])


def viewer_folder(web: Web) -> Path | None:
    """The viewer's files, None if it is not installed."""
    settings = web.settings
    return installed(settings.web.viewer or settings.data_dir / "viewer")


def viewer_address(web: Web, study: StudyUid) -> str | None:
    """Where a study is opened; None without a viewer."""
    return study_path(study) if viewer_folder(web) else None


@router.get("/viewer")
@router.get("/segmentation")
def viewer(web: WebContext) -> Response:
    """The viewer's page."""
    page = (_files(web) / "index.html").read_text(encoding="utf-8")
    headers = {**_ISOLATED, "Cache-Control": _ASKED_FOR}
    return HTMLResponse(_WORKER_SCRIPT.sub("", page), headers=headers)


@router.get("/app-config.js")
def configuration(web: WebContext, visitor: Viewer) -> Response:
    """How the viewer is set: who judges results may store corrected ones."""
    _files(web)
    script = app_config(
        name="dicomnode", notice=False, of_node=True, may_store=visitor.may(Role.READER)
    )
    headers = {**_ISOLATED, "Cache-Control": _ASKED_FOR}
    return Response(script, media_type="text/javascript", headers=headers)


@router.get("/{name}")
def file(web: WebContext, name: str) -> Response:
    """A file of the viewer."""
    return _file(web, name)


def _serve_folder(folder: str) -> None:
    @router.get(f"/{folder}/{{path:path}}")
    def file_in_folder(web: WebContext, path: str) -> Response:
        """A file in one of the viewer's folders."""
        return _file(web, f"{folder}/{path}")


for _folder in _FOLDERS:
    _serve_folder(_folder)


_NOT_INSTALLED = "no viewer is installed: run `dicomnode viewer --install` once"


def _files(web: Web) -> Path:
    files = viewer_folder(web)
    if files is None:
        raise HTTPException(404, _NOT_INSTALLED)
    return files


def _file(web: Web, path: str) -> Response:
    root = viewer_folder(web)
    try:
        wanted = (root / path).resolve() if root else None
    except ValueError:
        wanted = None
    if (
        root is None
        or wanted is None
        or path in _LEFT_OUT
        or not wanted.is_relative_to(root.resolve())
        or not wanted.is_file()
    ):
        raise HTTPException(404, "there is no such page")
    cache = _KEPT if _HASHED.search(wanted.name) else _ASKED_FOR
    kind = _TYPES.get(wanted.suffix)
    return FileResponse(wanted, media_type=kind, headers={**_ISOLATED, "Cache-Control": cache})


_TYPES = {".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}
