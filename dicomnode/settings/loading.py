"""From a TOML file to settings, every fault at once."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import (
    BaseModel,
    ValidationError,
)
from pydantic_core import ErrorDetails

from dicomnode.domain.errors import ConfigError
from dicomnode.settings.receiving import PeerTls, ReceiveTls
from dicomnode.settings.web import WebSettings
from dicomnode.settings.whole import Settings

_Tls = TypeVar("_Tls", ReceiveTls, PeerTls)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read settings from a TOML file; without one, the defaults.

    Raises:
        ConfigError: listing every fault of the file.
    """
    raw: dict[str, object] = {}
    base = Path.cwd()
    if path is not None:
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        # ValueError: no TOML, or no UTF-8.
        except (OSError, ValueError) as exc:
            raise ConfigError([f"{path}: {exc}"]) from exc
        except RecursionError:
            raise ConfigError([f"{path}: nested too deeply to be read"]) from None
        base = path.resolve().parent
    for key, variable in (
        ("database_url", "DICOMNODE_DATABASE_URL"),
        ("flow_database_url", "DICOMNODE_FLOW_DATABASE_URL"),
    ):
        if environ.get(variable):
            raw[key] = environ[variable]
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as exc:
        # `from None`: pydantic quotes the input, and a database URL may hold a password.
        raise ConfigError([f"{path or 'settings'}: {_words(f)}" for f in exc.errors()]) from None
    return settings.model_copy(
        update={
            "data_dir": base / settings.data_dir,
            "rules": base / settings.rules if settings.rules else None,
            "algorithms": settings.algorithms.model_copy(
                update={
                    "roots": tuple(base / root for root in settings.algorithms.roots),
                    "added": base / settings.algorithms.added
                    if settings.algorithms.added
                    else None,
                }
            ),
            "reports": settings.reports.model_copy(
                update={"lexicons": tuple(base / one for one in settings.reports.lexicons)}
            ),
            "sql": settings.sql.model_copy(
                update={
                    "questions": tuple(base / one for one in settings.sql.questions),
                    "reader_url": environ.get("DICOMNODE_READER_URL") or settings.sql.reader_url,
                }
            ),
            "files": settings.files.model_copy(
                update={
                    "token": environ.get("DICOMNODE_FILES_TOKEN") or settings.files.token,
                    "authorities": base / settings.files.authorities
                    if settings.files.authorities
                    else None,
                }
            ),
            "web": _web(settings.web, base, environ),
            "audit": settings.audit.model_copy(update={"tls": _beside(settings.audit.tls, base)}),
            "notices": settings.notices.model_copy(
                update={"tls": _beside(settings.notices.tls, base)}
            ),
            "receive": settings.receive.model_copy(
                update={
                    "tls": _beside(settings.receive.tls, base),
                    "commitment": tuple(
                        one.model_copy(update={"tls": _beside(one.tls, base)})
                        for one in settings.receive.commitment
                    ),
                }
            ),
            "assembly": settings.assembly.model_copy(
                update={
                    "count_queries": tuple(
                        one.model_copy(update={"tls": _beside(one.tls, base)})
                        for one in settings.assembly.count_queries
                    )
                }
            ),
            "destinations": tuple(
                one.model_copy(update={"tls": _beside(one.tls, base)})
                for one in settings.destinations
            ),
        }
    )


def _beside(tls: _Tls | None, base: Path) -> _Tls | None:
    """The same with paths that do not depend on where the node is started."""
    if tls is None:
        return None
    names = ("certificate", "key", "authorities")
    stated = {name: getattr(tls, name) for name in names}
    return tls.model_copy(update={name: base / path for name, path in stated.items() if path})


def _web(web: WebSettings, base: Path, environ: Mapping[str, str]) -> WebSettings:
    secret = environ.get("DICOMNODE_OIDC_SECRET")
    oidc = (
        web.oidc.model_copy(update={"client_secret": secret}) if web.oidc and secret else web.oidc
    )
    return web.model_copy(
        update={
            "viewer": base / web.viewer if web.viewer else None,
            "certificate": base / web.certificate if web.certificate else None,
            "key": base / web.key if web.key else None,
            "oidc": oidc,
        }
    )


def _words(fault: ErrorDetails) -> str:
    """One fault for people: where it stands, what is wrong, what may have been meant."""
    place = ".".join(str(part) for part in fault["loc"]) or "settings"
    if fault["type"] != "extra_forbidden":
        return f"{place}: {fault['msg'].removeprefix('Value error, ')}"
    near = get_close_matches(str(fault["loc"][-1]), _keys_at(fault["loc"][:-1]), n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"{place}: there is no such setting{meant}"


def _keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """The settings there are in the section at `loc`."""
    section: type[BaseModel] = Settings
    for part in loc:
        if isinstance(part, str):
            section = _section_type(section.model_fields[part].annotation)
    return list(section.model_fields)


def _section_type(annotation: object) -> type[BaseModel]:
    """`X` of a field that holds one section `X` or a tuple of them."""
    inner = get_args(annotation)
    found = inner[0] if inner else annotation
    assert isinstance(found, type)
    assert issubclass(found, BaseModel)
    return found
