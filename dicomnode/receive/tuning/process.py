"""Settings of pydicom and pynetdicom for a process that does nothing but receive."""

from pydicom import config as pydicom_config
from pynetdicom import _config as pynetdicom_config


def tune_process() -> None:
    """Check UIDs of an A-ASSOCIATE-RQ by their length only; call once, before the port opens.

    A sender that offers 128 contexts names some 350 UIDs, and each is matched against a regular
    expression five times over, which is half the cost of an association. What is negotiated is
    compared with our list anyway, and what becomes a name is checked by `checked_uid`. Both
    settings are global in the libraries, so this is for a receiver in a process of its own.
    """
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    pynetdicom_config.VALIDATORS["UI"] = _has_allowed_length


def _has_allowed_length(uid: str) -> tuple[bool, str]:
    """pynetdicom's own rule without ENFORCE_UID_CONFORMANCE."""
    return 0 < len(uid) <= 64, "must have 1 to 64 characters"
