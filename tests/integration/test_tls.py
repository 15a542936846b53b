"""DICOM over TLS: who is let in, who is not, with OpenSSL and DCMTK at the other end."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicomnode.deliver import Peer, echo, send_objects
from dicomnode.domain.errors import ConfigError, PeerUnavailable
from dicomnode.domain.events import EventName
from dicomnode.domain.tls import TlsFiles, server_context
from dicomnode.settings import (
    Destination,
    PeerTls,
    ReceiveSettings,
    ReceiveTls,
    load_settings,
)
from dicomnode.testing.certificates import Authority, Issued
from dicomnode.testing.results import stand_in_result
from dicomnode.testing.sender import ASSOCIATE_AC, RawSender, associate_request
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from tests.integration.receiver_scenes import Node, running, until

STORESCU, ECHOSCU, STORESCP = (
    Path("/usr/bin") / name for name in ("storescu", "echoscu", "storescp")
)
OPENSSL = shutil.which("openssl")
NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)

needs_dcmtk = pytest.mark.skipif(not STORESCU.exists(), reason="DCMTK is not installed")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def own(authority: Authority) -> Issued:
    return authority.issue("node")


@contextmanager
def node(folder: Path, own: Issued, authority: Authority | None, **more: object) -> Iterator[Node]:
    tls = ReceiveTls(
        certificate=own.certificate,
        key=own.key,
        authorities=authority.certificate if authority else None,
        port=0,
        **more,  # type: ignore[arg-type]
    )
    with running(folder / "data", ReceiveSettings(reserve_mb=0, tls=tls)) as one:
        yield one


def port_of(one: Node) -> int:
    port = one.receiver.tls_port
    assert port is not None
    return port


def refusal(one: Node) -> str:
    """Why the only connection did not become a secure one."""
    (event,) = one.events.wait_for(EventName.ASSOCIATION_REJECTED)
    return str(event.facts["why"])


def dcmtk(program: Path, port: int, shown: Issued, *more: str | Path) -> int:
    """Exit code of a DCMTK sender that shows a certificate."""
    command = [program, "-aec", "DICOMNODE", "+tls", shown.key, shown.certificate, *more]
    options = [str(one) for one in command]
    files = [options.pop() for one in list(options) if one.endswith(".dcm")][::-1]
    done = subprocess.run(
        [*options, "127.0.0.1", str(port), *files], capture_output=True, timeout=60, check=False
    )
    return done.returncode


@needs_dcmtk
def test_images_come_in_over_tls_as_they_were_sent(
    tmp_path: Path, authority: Authority, own: Issued
) -> None:
    paths = []
    geometry = SeriesGeometry(rows=512, columns=512, slices=3)
    sent = ct_series(StudyIdentity(seed="tls"), geometry)
    for number, ds in enumerate(sent):
        paths.append(tmp_path / f"{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    with node(tmp_path, own, authority) as one:
        shown = authority.issue("modality")
        code = dcmtk(STORESCU, port_of(one), shown, "+cf", authority.certificate, *paths)
        assert code == 0
        assert one.outcome() == "released"
        kept = list(one.index.instances.values())
    assert len(kept) == 3
    pixels = {ds.SOPInstanceUID: ds.PixelData for ds in sent}
    for instance in kept:
        assert pixels[instance.sop_instance_uid] in instance.path.read_bytes()


@needs_dcmtk
def test_a_peer_of_another_authority_is_not_let_in(
    tmp_path: Path, authority: Authority, own: Issued
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("stranger-modality")
    with node(tmp_path, own, authority) as one:
        code = dcmtk(ECHOSCU, port_of(one), stranger, "+cf", authority.certificate)
        assert code != 0
        assert "certificate is not accepted" in refusal(one)
        assert one.events.named(EventName.ASSOCIATION_OPENED) == []


@needs_dcmtk
def test_an_expired_certificate_is_not_let_in(
    tmp_path: Path, authority: Authority, own: Issued
) -> None:
    late = authority.issue("late", lasts=timedelta(seconds=-60))
    with node(tmp_path, own, authority) as one:
        assert dcmtk(ECHOSCU, port_of(one), late, "+cf", authority.certificate) != 0
        assert "expired" in refusal(one)


def test_a_peer_that_shows_nothing_is_not_let_in(
    tmp_path: Path, authority: Authority, own: Issued
) -> None:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with node(tmp_path, own, authority) as one:
        with (
            socket.create_connection(("127.0.0.1", port_of(one)), 20) as line,
            context.wrap_socket(line, server_hostname="localhost") as secure,
            pytest.raises(OSError, match=r"(?i)certificate.required|reset"),
        ):
            # Under TLS 1.3 the refusal comes where the first answer would.
            secure.recv(1)
        assert "peer did not return a certificate" in refusal(one)


def test_without_tls_the_secure_port_says_nothing(
    tmp_path: Path, authority: Authority, own: Issued
) -> None:
    with node(tmp_path, own, authority) as one:
        with RawSender(port_of(one)) as sender:
            offers = [("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])]
            sender.send(associate_request(offers, calling_ae="RAW", called_ae="DICOMNODE"))
            # A TLS alert record (RFC 8446 5.1) or nothing at all, but no A-ASSOCIATE-AC.
            assert sender.receive_pdu()[:1] in (b"", b"\x15")
        assert refusal(one).startswith("no handshake")


@needs_openssl
@pytest.mark.parametrize(
    ("options", "is_let_in"),
    [
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], False),
        (["-tls1_2"], True),
        (["-tls1_3"], True),
        (["-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384"], False),
    ],
)
def test_only_versions_and_ciphers_of_bcp_195_are_spoken(
    tmp_path: Path, authority: Authority, own: Issued, options: list[str], *, is_let_in: bool
) -> None:
    shown = authority.issue("modality")
    with node(tmp_path, own, authority) as one:
        done = subprocess.run(
            [
                *(str(OPENSSL), "s_client", "-connect", f"127.0.0.1:{port_of(one)}"),
                *("-CAfile", str(authority.certificate), "-verify_return_error"),
                *("-cert", str(shown.certificate), "-key", str(shown.key), *options),
            ],
            input=b"",
            capture_output=True,
            timeout=60,
            check=False,
        )
    said = (done.stdout + done.stderr).decode()
    has_agreed = "Verify return code: 0 (ok)" in said and "Cipher is (NONE)" not in said
    assert has_agreed is is_let_in, said


@needs_dcmtk
def test_a_renewed_certificate_counts_without_a_restart_and_a_broken_one_does_not(
    tmp_path: Path, authority: Authority, own: Issued
) -> None:
    renewed = Authority(tmp_path, "renewed")
    shown = authority.issue("modality")
    with node(tmp_path, own, authority) as one:
        believe_old = ("+cf", authority.certificate)
        assert dcmtk(ECHOSCU, port_of(one), shown, *believe_old) == 0
        own.certificate.write_text("half written")
        assert dcmtk(ECHOSCU, port_of(one), shown, *believe_old) == 0
        (event,) = one.events.wait_for(EventName.CERTIFICATE_REFUSED)
        assert "cannot be used" in str(event.facts["why"])
        again = renewed.issue("node")
        assert again == own
        assert dcmtk(ECHOSCU, port_of(one), shown, *believe_old) != 0
        assert dcmtk(ECHOSCU, port_of(one), shown, "+cf", renewed.certificate) == 0


def test_a_peer_that_never_shakes_hands_holds_up_nobody(
    tmp_path: Path, authority: Authority, own: Issued
) -> None:
    peer = Peer(
        ae_title="DICOMNODE",
        host="127.0.0.1",
        port=0,
        tls=PeerTls(authorities=authority.certificate, certificate=own.certificate, key=own.key),
    )
    with node(tmp_path, own, authority) as one:
        idle = [socket.create_connection(("127.0.0.1", port_of(one))) for _ in range(20)]
        port = port_of(one)
        echo(Peer(ae_title=peer.ae_title, host=peer.host, port=port, tls=peer.tls), own_ae="US")
        for line in idle:
            line.close()


def test_both_ports_serve_one_node_and_only_closes_the_plain_one(
    tmp_path: Path, authority: Authority, own: Issued
) -> None:
    with node(tmp_path / "both", own, authority) as one, RawSender(one.port) as sender:
        assert one.port != port_of(one)
        answer = sender.associate([("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])])
        assert answer[0] == ASSOCIATE_AC
    with node(tmp_path / "only", own, authority, only=True) as one:
        assert one.port == port_of(one)


@pytest.fixture
def archive(tmp_path: Path, authority: Authority) -> Iterator[Destination]:
    """DCMTK's storescp under TLS, wanting to see a certificate."""
    if not STORESCP.exists():
        pytest.skip("DCMTK is not installed")
    shown = authority.issue("archive")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "archive"
    folder.mkdir()
    process = subprocess.Popen(
        [
            *(STORESCP, "-aet", "ARCHIVE", "-od", folder, "+tls", shown.key, shown.certificate),
            *("+cf", authority.certificate, str(port)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    own = authority.issue("node")
    tls = PeerTls(authorities=authority.certificate, certificate=own.certificate, key=own.key)
    yield Destination(name="pacs", ae_title="ARCHIVE", host="127.0.0.1", port=port, tls=tls)
    process.terminate()
    process.wait(20)


def waited_for(destination: Destination) -> None:
    def answers() -> bool:
        with socket.socket() as line:
            return line.connect_ex((destination.host, destination.port)) == 0

    until(answers)


def test_results_go_out_over_tls(tmp_path: Path, archive: Destination) -> None:
    waited_for(archive)
    encoded = stand_in_result(tmp_path, StudyIdentity(seed="out"), pixel_bytes=256 * 1024)
    (outcome,) = send_objects([encoded], archive, own_ae="DICOMNODE", clock=lambda: NOON)
    assert outcome.receipt is not None
    (kept,) = (tmp_path / "archive").iterdir()
    assert kept.stat().st_size > 256 * 1024


def test_a_destination_of_another_authority_or_name_is_not_believed(
    tmp_path: Path, archive: Destination
) -> None:
    waited_for(archive)
    assert archive.tls is not None
    stranger = Authority(tmp_path, "stranger").certificate
    for change in ({"authorities": stranger}, {"server_name": "other.example"}):
        tls = archive.tls.model_copy(update=change)
        peer = Peer.of(archive.model_copy(update={"tls": tls}))
        with pytest.raises(PeerUnavailable, match="vouch for its certificate"):
            echo(peer, own_ae="DICOMNODE")


def test_files_that_cannot_be_used_are_named(tmp_path: Path, own: Issued) -> None:
    (tmp_path / "nothing.pem").write_text("no certificate")
    for certificate, key, fault in (
        (tmp_path / "gone.pem", own.key, "gone.pem: No"),
        (tmp_path / "nothing.pem", own.key, "nothing.pem: .* cannot be used"),
        (own.key, own.certificate, "cannot be used"),
    ):
        with pytest.raises(ConfigError, match=fault):
            server_context(TlsFiles(certificate=certificate, key=key, authorities=None))


def test_paths_of_certificates_lie_beside_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "dicomnode.toml"
    file.write_text(
        '[receive.tls]\ncertificate = "node.pem"\nkey = "/etc/key.pem"\n'
        '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "pacs"\nport = 2762\n'
        'tls = {authorities = "ca.pem"}\n'
    )
    settings = load_settings(file, {})
    assert settings.receive.tls is not None
    assert settings.receive.tls.certificate == tmp_path / "node.pem"
    assert settings.receive.tls.key == Path("/etc/key.pem")
    (destination,) = settings.destinations
    assert destination.tls is not None
    assert destination.tls.authorities == tmp_path / "ca.pem"
