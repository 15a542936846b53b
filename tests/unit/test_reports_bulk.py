"""Reports out of files: every row is a report or says why it is none."""

from pathlib import Path

import pytest

from dicomnode.domain.errors import ReportError
from dicomnode.domain.incoming_reports import IncomingReport, ReportStatus
from dicomnode.reports.bulk import BadRow, Layout, read_bulk


def layout(**changed: object) -> Layout:
    return Layout(collection="c", **changed)  # type: ignore[arg-type]


def write(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


def test_a_table_says_who_and_when_beside_its_text(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        "r.csv",
        "uid,findings,impression,acc,study_date,status,issued_at\n"
        "7,No effusion.,Normal.,A1,2024-01-31,corrected,2024-01-31T10:00:00+01:00\n",
    )
    (row,) = read_bulk(source, layout(renamed={"accession_number": "acc"}))
    assert isinstance(row, IncomingReport)
    assert (row.source_id, row.accession_number, row.study_date) == ("c/7", "A1", "20240131")
    assert row.status is ReportStatus.CORRECTED
    assert row.issued_at is not None
    assert row.issued_at.utcoffset() is not None
    assert [(part.name, part.text) for part in row.parts] == [
        ("findings", "No effusion."),
        ("impression", "Normal."),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",a,b", "no id"),
        ("1,a", "2 cells where the header has 3"),
        ("1,a,b,c", "4 cells where the header has 3"),
    ],
)
def test_a_row_that_is_no_report_says_why_and_stops_nothing(
    tmp_path: Path, line: str, reason: str
) -> None:
    source = write(tmp_path, "r.csv", f"uid,findings,impression\n{line}\n2,x,y\n")
    bad, good = read_bulk(source, layout())
    assert bad == BadRow(number=1, reason=reason)
    assert isinstance(good, IncomingReport)


def test_json_lines_may_lack_a_text_and_may_be_broken(tmp_path: Path) -> None:
    lines = ['{"uid": 1, "findings": "Clear."}', "{", "[]", '{"uid": 2}', ""]
    source = write(tmp_path, "r.jsonl", "\n".join(lines))
    good, *bad = read_bulk(source, layout())
    assert isinstance(good, IncomingReport)
    assert [part.name for part in good.parts] == ["findings"]
    assert [row.reason for row in bad if isinstance(row, BadRow)] == [
        "not JSON",
        "not a JSON object",
        "none of findings, impression",
    ]


def test_a_folder_of_texts_is_named_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, "a.txt", "Clear.")
    write(tmp_path / "sub", "b.txt", "Effusion.")
    rows = list(read_bulk(tmp_path, layout()))
    assert [row.source_id for row in rows if isinstance(row, IncomingReport)] == [
        "c/a.txt",
        "c/sub/b.txt",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "shift_jis", "utf-8-sig"])
def test_texts_in_other_encodings_are_read_as_said(tmp_path: Path, encoding: str) -> None:
    words = "胸水なし" if encoding == "shift_jis" else "Kein Erguß"
    source = write(tmp_path, "r.csv", f"uid,findings,impression\n1,{words},\n", encoding)
    said = "utf-8" if encoding == "utf-8-sig" else encoding
    (row,) = read_bulk(source, layout(encoding=said))
    assert isinstance(row, IncomingReport)
    assert row.parts[0].text == words


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"encoding": "utf-8"}, "--encoding"),
        ({"encoding": "nonsense"}, "no encoding"),
        ({"encoding": "latin-1", "id_column": "uids"}, "did you mean 'uid'"),
        ({"encoding": "latin-1", "id_column": "report"}, "'report' .--id-column names another.*3"),
        ({"encoding": "latin-1", "text_columns": ("said",)}, "--text-columns names another"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_to_do(
    tmp_path: Path, changed: dict[str, object], words: str
) -> None:
    source = write(tmp_path, "r.csv", "uid,findings,impression\n1,Erguß,\n", "latin-1")
    with pytest.raises(ReportError, match=words):
        list(read_bulk(source, layout(**changed)))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024-01-31", "20240131"),
        ("2024-01-31T09:30:00", "20240131"),
        ("20240131093000", "20240131"),
        ("202401311", "202401311"),
        ("31/01/2024", "31/01/2024"),
        ("", ""),
    ],
)
def test_only_what_is_a_date_is_made_one(tmp_path: Path, written: str, read: str) -> None:
    source = tmp_path / "reports.csv"
    source.write_text(f"uid,findings,impression,study_date,patient_sex\n1,A.,B.,{written},Male\n")
    (row,) = read_bulk(source, Layout(collection="c"))
    assert isinstance(row, IncomingReport)
    assert (row.study_date, row.patient_sex) == (read, "M")
