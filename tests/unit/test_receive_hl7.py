"""ORU^R01 messages become reports, and every message gets the acknowledgement it deserves."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.domain.errors import ReportError, StoreUnavailable
from dicomnode.domain.incoming_reports import IncomingReport, ReportStatus
from dicomnode.receive.reports.hl7 import NotOurMessage, read_message
from dicomnode.receive.reports.mllp import answer

NOW = datetime(2024, 1, 31, 12, tzinfo=UTC)
MSH = "MSH|^~\\&|RIS|HOSP|NODE|RAD|20240131100000+0100||{kind}|{control}|P|2.5||||||{charset}"
PID = "PID|1||P1^^^HOSP^MR||Test^Phantom||19500102|F"
PV1 = "PV1|1|I|WARD7^12^A"
OBR = "OBR|1|PL1|FI1|CT^Chest|||20240130093000|||||||||||ACC1||||20240131095500||CT|{status}"


def message(
    *observations: str,
    control: str = "M1",
    kind: str = "ORU^R01",
    charset: str = "UNICODE UTF-8",
    status: str = "F",
    encoding: str = "utf-8",
) -> bytes:
    lines = [
        MSH.format(kind=kind, control=control, charset=charset),
        PID,
        PV1,
        OBR.format(status=status),
        *observations,
    ]
    return ("\r".join(lines) + "\r").encode(encoding)


def obx(text: str, name: str = "19005-8^Impression^LN", kind: str = "TX") -> str:
    return f"OBX|1|{kind}|{name}||{text}||||||F"


def only(data: bytes) -> IncomingReport:
    (report,) = read_message(data)[1]
    return report


def test_a_message_says_who_when_and_what() -> None:
    report = only(message(obx("Small effusion."), obx("No nodule.", "18782-3^Findings^LN")))
    assert (report.source_id, report.accession_number) == ("FI1", "ACC1")
    assert (report.patient_id, report.patient_birth_date, report.patient_sex) == (
        "P1",
        "19500102",
        "F",
    )
    assert (report.study_date, report.modality, report.referring_unit) == (
        "20240130",
        "CT",
        "WARD7",
    )
    assert [(part.name, part.text) for part in report.parts] == [
        ("impression", "Small effusion."),
        ("findings", "No nodule."),
    ]
    assert report.issued_at == datetime(2024, 1, 31, 9, 55, tzinfo=UTC)


def test_lines_repetitions_and_escapes_are_what_they_stand_for() -> None:
    report = only(message(obx("A \\T\\ B.\\.br\\C \\F\\ D.~E \\E\\ F."), obx("Last line.")))
    assert report.parts[0].text == "A & B.\nC | D.\nE \\ F.\nLast line."


@pytest.mark.parametrize(
    ("charset", "encoding", "words"),
    [
        ("UNICODE UTF-8", "utf-8", "Größe 胸水"),
        ("8859/1", "latin-1", "Größe"),
        ("ISO IR87", "iso2022_jp", "胸水なし"),
        ("KS X 1001", "euc_kr", "흉수 없음"),
        ("GB 18030-2000", "gb18030", "胸腔积液"),
        ("", "latin-1", "Größe"),
        ("", "utf-8", "Größe"),
    ],
)
def test_character_sets_survive(charset: str, encoding: str, words: str) -> None:
    data = message(obx(words), charset=charset, encoding=encoding)
    assert only(data).parts[0].text == words


@pytest.mark.parametrize(
    ("stated", "status"),
    [
        ("F", ReportStatus.FINAL),
        ("C", ReportStatus.CORRECTED),
        ("X", ReportStatus.CANCELLED),
        ("P", ReportStatus.PRELIMINARY),
        ("A", ReportStatus.PRELIMINARY),
    ],
)
def test_the_status_is_followed(stated: str, status: ReportStatus) -> None:
    assert only(message(obx("Text."), status=stated)).status is status


def test_numbers_and_documents_are_no_text() -> None:
    with pytest.raises(ReportError, match="no report"):
        read_message(message(obx("12", kind="NM"), obx("^PDF^Base64^AAAA", kind="ED")))


@pytest.mark.parametrize("kind", ["ADT^A01", "ORM^O01", ""])
def test_other_messages_are_not_ours(kind: str) -> None:
    with pytest.raises(NotOurMessage):
        read_message(message(obx("Text."), kind=kind))


def answered(data: bytes, fault: Exception | None = None) -> tuple[list[str], list[bytes]]:
    refused: list[bytes] = []

    def keep(reports: object) -> None:
        if fault is not None:
            raise fault

    reply = answer(data, keep, lambda message, _reason: refused.append(message), NOW)
    assert reply.startswith(b"MSH|")
    return reply.decode().split("\r")[1].split("|"), refused


def test_what_is_kept_is_acknowledged_under_its_own_id() -> None:
    assert answered(message(obx("Text."), control="M7")) == (["MSA", "AA", "M7", ""], [])


def test_what_is_not_ours_is_rejected() -> None:
    (_, code, control, _), refused = answered(message(obx("Text."), kind="ADT^A01", control="M8"))
    assert (code, control, refused) == ("AR", "M8", [])


def test_what_cannot_be_read_is_kept_aside_and_quoted_nowhere() -> None:
    data = message(obx("Secret."), charset="KLINGON", control="M9")
    (_, code, control, words), refused = answered(data)
    assert (code, control, refused) == ("AE", "M9", [data])
    assert "Secret" not in words
    assert "KLINGON" not in words


def test_a_store_that_is_away_makes_the_sender_try_again() -> None:
    told, refused = answered(message(obx("Text.")), StoreUnavailable("away"))
    assert (told[1], refused) == ("AE", [])


@given(st.binary(max_size=400))
def test_no_bytes_are_without_an_answer(noise: bytes) -> None:
    assert answered(noise)[0][1] in {"AE", "AR"}


@given(st.lists(st.text(max_size=30), max_size=12))
def test_no_fields_are_without_an_answer(fields: list[str]) -> None:
    line = MSH.format(kind="ORU^R01", control="M1", charset="") + "\rOBR|" + "|".join(fields)
    data = (line + "\rOBX|1|TX|" + "|".join(fields) + "\r").encode("utf-8", "replace")
    assert answered(data)[0][1] in {"AA", "AE", "AR"}
