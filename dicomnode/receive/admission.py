"""May this peer talk to us? Decided once per association, before anything is negotiated."""

from dataclasses import dataclass

from dicomnode.settings import ReceiveSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """Who asks for an association."""

    calling_ae: str
    called_ae: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why not, as A-ASSOCIATE-RJ says it (PS3.8 9.3.4)."""

    result: int
    """1 permanent, 2 transient."""
    source: int
    """1 service user, 2 provider (ACSE), 3 provider (presentation)."""
    reason: int
    because: str


CALLING_AE_UNKNOWN = Rejection(
    result=1, source=1, reason=3, because="calling AE title or address is not on the allow list"
)
CALLED_AE_UNKNOWN = Rejection(
    result=1, source=1, reason=7, because="called AE title is not one this sender may call"
)
LIMIT_EXCEEDED = Rejection(
    result=2, source=3, reason=2, because="as many associations are open as max_associations allows"
)
SHUTTING_DOWN = Rejection(result=2, source=3, reason=1, because="the receiver is shutting down")


def admit(
    settings: ReceiveSettings,
    applicant: Applicant,
    *,
    own_ae: str,
    open_associations: int,
    is_draining: bool = False,
) -> Rejection | None:
    """None if the applicant is admitted, else why not.

    `open_associations` counts the others. Without an allow list everyone is admitted: settings see
    to it that then only this machine can connect.
    """
    if settings.allow and not _is_allowed(settings, applicant, own_ae):
        if _is_known_caller(settings, applicant):
            return CALLED_AE_UNKNOWN
        return CALLING_AE_UNKNOWN
    if is_draining:
        return SHUTTING_DOWN
    if open_associations >= settings.max_associations:
        return LIMIT_EXCEEDED
    return None


def _is_allowed(settings: ReceiveSettings, applicant: Applicant, own_ae: str) -> bool:
    return any(
        peer.fits(
            calling_ae=applicant.calling_ae,
            called_ae=applicant.called_ae,
            address=applicant.address,
            own_ae=own_ae,
        )
        for peer in settings.allow
    )


def _is_known_caller(settings: ReceiveSettings, applicant: Applicant) -> bool:
    """True if only the called AE title is wrong."""
    return any(
        peer.fits(
            calling_ae=applicant.calling_ae,
            called_ae=peer.called_ae or applicant.called_ae,
            address=applicant.address,
            own_ae=applicant.called_ae,
        )
        for peer in settings.allow
    )
