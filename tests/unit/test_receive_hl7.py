"""ORU^R01 messages become reports, and every message gets the acknowledgement it deserves."""

import tracemalloc
from datetime import UTC, datetime
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.domain.errors import ReportError, StoreError, StoreUnavailable
from dicomnode.domain.incoming_reports import IncomingReport, ReportStatus
from dicomnode.receive.reports.hl7 import NotOurMessage, header_of, read_message
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


def obx(text: str, name: str = "19005-8^Impression^LN", kind: str = "TX", status: str = "F") -> str:
    return f"OBX|1|{kind}|{name}||{text}||||||{status}"


def only(data: bytes) -> IncomingReport:
    (report,) = read_message(data)
    return report


def test_a_message_says_who_when_and_what() -> None:
    report = only(message(obx("Small effusion."), obx("No nodule.", "18782-3^Findings^LN")))
    assert (report.source_id, report.accession_number) == ("RIS|HOSP|FI1", "ACC1")
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


ESCAPED = [
    ("one\\.br\\two", "one\ntwo"),
    ("one\\.sp\\two", "one\ntwo"),
    ("one\\.sp2\\two", "one\n\ntwo"),
    ("one\\.sp+1\\two", "one\ntwo"),
    ("one\\.in+4\\two\\.ti-2\\three", "onetwothree"),
    ("\\.fi\\one\\.nf\\\\.sk3\\two", "one   two"),
    ("\\H\\one\\N\\", "one"),
    ("5 \\S\\ 6 \\R\\ 7", "5 ^ 6 ~ 7"),
    ("one\\X0D0A\\two\\XC3A4\\", "one\ntwoä"),
    ("one\\Zabc\\two", "onetwo"),
    # What is no sequence stays as it was written.
    ("\\.spx\\ one", "\\.spx\\ one"),
    ("C:\\scans\\new \\T\\ old", "C:\\scans\\new & old"),
    ("\\X0\\ \\", "\\X0\\ \\"),
    ("\\.sp9999\\one", "\n" * 50 + "one"),
]


@pytest.mark.parametrize(("sent", "meant"), ESCAPED)
def test_escape_sequences_are_what_they_stand_for(
    sent: str, meant: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert only(message(obx(f"Chest. {sent} End."))).parts[0].text == f"Chest. {meant} End."
    assert caplog.records == []


def test_patients_of_one_message_are_kept_apart() -> None:
    lines = [
        MSH.format(kind="ORU^R01", control="M1", charset=""),
        "PID|1||P1^^^HOSP^MR||A^A||19500102|F",
        "PV1|1|I|WARD7",
        "OBR|1||F1|CT|||20240130|||||||||||A1|||||||F",
        obx("First."),
        "PID|2||X2^^^GOV^SS~P2^^^HOSP^MR||B^B||19600102|M",
        "ORC|RE||F2",
        "OBR|1|||MR|||20240131|||||||||||A2|||||||F",
        obx("Second."),
        "OBR|2||F3|MR|||20240131|||||||||||A3|||||||F",
        "ZDS|1.2.3^RIS^Application^DICOM",
        obx("Third."),
        "PID|3||P3",
        obx("Nobody ordered this."),
    ]
    reports = read_message("\r".join(lines).encode())
    about = [
        (
            each.patient_id,
            each.patient_sex,
            each.referring_unit,
            each.source_id.split("|")[2],
            each.accession_number,
            each.study_uid,
            each.parts[0].text,
        )
        for each in reports
    ]
    assert about == [
        ("P1", "F", "WARD7", "F1", "A1", "", "First."),
        ("P2", "M", "", "F2", "A2", "", "Second."),
        ("P2", "M", "", "F3", "A3", "1.2.3", "Third."),
    ]
    assert len({each.message_id for each in reports}) == 3


def test_orders_with_one_number_are_one_report() -> None:
    second = OBR.format(status="F").replace("OBR|1", "OBR|2")
    data = message(obx("Impression."), second, obx("Findings.", "&GDT"))
    assert [part.name for part in only(data).parts] == ["impression", "findings"]


@pytest.mark.parametrize("line_end", ["\r", "\n", "\r\n"])
def test_a_line_end_within_a_text_loses_nothing(line_end: str) -> None:
    data = message(obx(f"Heart normal.{line_end}NO{line_end}{line_end}effusion."), obx("Mass."))
    assert only(data).parts[0].text == "Heart normal.\nNO\n\neffusion.\nMass."


def test_segments_may_end_in_line_feeds() -> None:
    data = message(obx("One."), "NTE", obx("Two.")).replace(b"\r", b"\n")
    assert only(data).parts[0].text == "One.\nTwo."


def test_a_separator_in_a_text_that_is_not_escaped_is_not_taken_for_its_end() -> None:
    with pytest.raises(ReportError, match="not escaped"):
        read_message(message(obx("Nodule | 4 mm | new.")))


@pytest.mark.parametrize("withdrawn", ["D", "W", "X"])
def test_withdrawn_observations_are_no_text(withdrawn: str) -> None:
    report = only(message(obx("Wrong patient.", status=withdrawn), obx("Right.")))
    assert [part.text for part in report.parts] == ["Right."]
    gone = only(message(obx("Wrong patient.", status=withdrawn)))
    assert (gone.status, gone.parts) == (ReportStatus.CANCELLED, ())


@pytest.mark.parametrize(
    ("observation", "name"),
    [
        (obx("More.", "ADT^^L"), "addendum"),
        (obx("More.", "36643-5&ADT^Chest"), "addendum"),
        (obx("More.", "X1^Chest", status="A"), "addendum"),
        (obx("More.", "X1^Addendum"), "addendum"),
        (obx("More.", "36643-5&REC^Chest"), "recommendation"),
        (obx("More.", "36643-5^Chest 2 views"), "chest 2 views"),
        (obx("More.", ""), "report"),
    ],
)
def test_parts_are_named_by_code_suffix_or_text(observation: str, name: str) -> None:
    report = only(message(observation))
    assert [part.name for part in report.parts] == [name]
    assert report.is_addendum is (name == "addendum")
    assert not only(message(obx("Whole."), observation)).is_addendum


@pytest.mark.parametrize(
    ("order", "observations", "status"),
    [
        ("", "FF", ReportStatus.FINAL),
        ("", "FC", ReportStatus.CORRECTED),
        ("", "FA", ReportStatus.CORRECTED),
        ("", "FP", ReportStatus.PRELIMINARY),
        ("", "PC", ReportStatus.PRELIMINARY),
        ("", "FD", ReportStatus.FINAL),
        ("F", "FA", ReportStatus.CORRECTED),
        ("A", "FF", ReportStatus.PRELIMINARY),
        ("A", "FA", ReportStatus.CORRECTED),
        ("R", "FF", ReportStatus.PRELIMINARY),
    ],
)
def test_a_status_is_that_of_the_order_or_of_its_observations(
    order: str, observations: str, status: ReportStatus
) -> None:
    data = message(*(obx("Text.", status=each) for each in observations), status=order)
    assert only(data).status is status


def test_the_accession_number_stands_where_the_site_says() -> None:
    data = message(obx("Text."))
    assert read_message(data, ("OBR-2", "OBR-18"))[0].accession_number == "PL1"
    assert read_message(data, ("ZDS-1",))[0].accession_number == ""


@pytest.mark.parametrize("code", ["OBX|1|ST|113014^DICOM Study^DCM||1.2.3||||||F", "ZDS|1.2.3^A"])
def test_the_study_uid_may_be_an_observation_or_a_segment(code: str) -> None:
    report = only(message(code, obx("Text.")))
    assert (report.study_uid, len(report.parts)) == ("1.2.3", 1)


def test_other_separators_are_followed_and_answered_in() -> None:
    data = message(obx("A \\T\\ B \\F\\ C."), control="M5").translate(
        bytes.maketrans(b"|^~\\&", b"#!$%*")
    )
    assert only(data).parts[0].text == "A * B # C."
    reply = answer(data, lambda _reports: None, lambda _data, _why: None, NOW)
    assert reply.startswith(b"MSH#!$%*#DICOMNODE#")
    assert b"\rMSA#AA#M5#" in reply


def test_a_bug_met_by_a_message_is_answered_and_quotes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told, refused = answered(message(obx("Secret.")), KeyError("Secret."))
    assert (told[1], len(refused)) == ("AE", 1)
    assert "Secret" not in "".join((*told, *capsys.readouterr()))


def test_what_the_index_will_never_take_is_kept_aside() -> None:
    told, refused = answered(message(obx("Text.")), StoreError("no"))
    assert (told[1], len(refused)) == ("AE", 1)


@pytest.mark.parametrize("piece", ["|", "^", "~", "&", "\\", "\r", "\n", "\rOBX|", "\\.br\\", "x|"])
def test_megabytes_of_separators_cost_little(piece: str) -> None:
    """Kept aside or read, but never at many times the size of the message."""
    flood = piece * (500_000 // len(piece))
    data = message(obx("Start."), f"OBX|1|TX|a||{flood}")
    tracemalloc.start()
    told, _ = answered(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert told[1] in {"AA", "AE"}
    assert peak < 40 * len(data)


def _note(refused: list[tuple[bytes, str]], data: bytes, reason: str) -> None:
    refused.append((data, reason))


SECRET = "Sarcoidosis"
PIECES = ["|", "^", "~", "\\", "&", "\r", "\n", "OBX|1|TX|", "OBR|", "PID|", "\\.br", SECRET]
PIECE = st.one_of(st.sampled_from(PIECES), st.text(st.characters(codec="utf-8"), max_size=6))
NOISES = st.lists(PIECE, max_size=40).map("".join).map(str.encode)
NOISE = st.one_of(st.binary(max_size=400), NOISES)


@given(NOISE)
def test_any_bytes_get_an_answer_that_quotes_no_text(noise: bytes) -> None:
    within = message(obx(noise.decode("latin-1")), charset="8859/1", encoding="latin-1")
    for data in (noise, within):
        refused: list[tuple[bytes, str]] = []
        header = header_of(data)
        reply = answer(data, lambda _kept: None, partial(_note, refused), NOW)
        code = reply.decode("latin-1").split("\r")[1].split(header.separators[0])[1]
        assert code in {"AA", "AE", "AR"}
        assert SECRET not in "".join(why for _, why in refused)
        assert code != "AE" or refused[0][0] == data
