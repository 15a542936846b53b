"""`viewer`: OHIF beside a PACS, for a site that has no viewer."""

from pathlib import Path
from typing import Annotated

import typer

from dicomnode.cli.common import console

CACHE = Path.home() / ".cache" / "dicomnode" / "ohif"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(viewer)


def viewer(
    dicomweb: Annotated[
        str, typer.Argument(help="DICOMweb root of the PACS, e.g. http://127.0.0.1:8042/dicom-web")
    ],
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on.")] = 3000,
    cache: Annotated[Path, typer.Option(help="Where OHIF is kept once it was fetched.")] = CACHE,
) -> None:
    """Fetch OHIF once (50 MB, by npm, its digest checked) and serve it over the images of a PACS.

    It only reads. Example: dicomnode viewer http://127.0.0.1:8042/dicom-web
    """
    from dicomnode.viewer.configuration import app_config
    from dicomnode.viewer.release import fetch
    from dicomnode.viewer.site import Content, ViewerSite
    from dicomnode.viewer.upstream import Upstream

    console.print("looking for OHIF ...", style="dim")
    content = Content(
        files=fetch(cache),
        app_config=app_config(name="PACS", notice=True),
        pacs=Upstream.at(dicomweb),
    )
    with ViewerSite(content, host=host, port=port) as site:
        console.print(f"open {site.url} in a browser; Ctrl-C stops it")
        site.wait()
