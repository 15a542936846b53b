"""OHIF's `app-config.js`, with what it takes to draw our SEG and SR without a question."""

import json
from urllib.parse import urlencode

from dicomnode.domain.identifiers import SeriesUid, StudyUid

DICOMWEB = "/dicom-web"
"""Where the site offers the PACS's DICOMweb."""


def app_config(*, name: str, notice: bool, of_node: bool = False, may_store: bool = False) -> str:
    """The file's content. `name` is shown in the study list.

    `notice` keeps OHIF's "investigational use only" banner, which covers the image's bottom until
    it is dismissed. `of_node`: for the node's own DICOMweb, whose pages list the studies.
    `may_store`: segmentations and measurements made in the viewer can be sent back.
    """
    settings = {
        "routerBasename": "/",
        "extensions": [],
        "modes": [],
        "showStudyList": not of_node,
        "maxNumberOfWebWorkers": 3,
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": False,
        "showLoadingIndicator": True,
        "strictZSpacingForVolumeViewport": True,
        # A SEG or SR that is asked for is shown; no prompt in between.
        "disableConfirmationPrompts": True,
        "measurementTrackingMode": "simplified",
        "investigationalUseDialog": {"option": "always" if notice else "never"},
        "defaultDataSourceName": "pacs",
        "dataSources": [_pacs(name, includes_fields=of_node, stores=may_store)],
    }
    return f"window.config = {json.dumps(settings, indent=1)};\n"


def _pacs(name: str, *, includes_fields: bool, stores: bool) -> dict[str, object]:
    return {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "pacs",
        "configuration": {
            "friendlyName": name,
            "name": "pacs",
            "wadoUriRoot": DICOMWEB,
            "qidoRoot": DICOMWEB,
            "wadoRoot": DICOMWEB,
            "imageRendering": "wadors",
            "thumbnailRendering": "wadors",
            "qidoSupportsIncludeField": includes_fields,
            "supportsReject": False,
            "supportsFuzzyMatching": False,
            "supportsWildcard": True,
            "supportsStow": stores,
            "dicomUploadEnabled": False,
            "enableStudyLazyLoad": True,
            "omitQuotationForMultipartRequest": True,
            "bulkDataURI": {"enabled": True},
        },
    }


def study_path(study: StudyUid, series: SeriesUid | None = None) -> str:
    """Path and query that open a study; with a SEG or SR as `series`, with that one drawn."""
    query: dict[str, str] = {"StudyInstanceUIDs": study}
    if series is not None:
        query["initialSeriesInstanceUID"] = series
    return f"/viewer?{urlencode(query)}"
