"""A CSV file in, a CSV file out."""

import csv
import json
from pathlib import Path

import pytest

from dicomnode.domain.errors import ConfigError, ReportError
from dicomnode.reports import MinerSetup, label_csv
from dicomnode.reports.evaluation import FOURTEEN

WINDOWS = MinerSetup(graph=False)


def table(path: Path, *rows: str, header: str = "uid,findings,impression") -> Path:
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_output_has_the_columns_and_values_promised(tmp_path: Path) -> None:
    source = table(
        tmp_path / "in.csv", "1,No effusion.,Possible nodule.", "2,Cardiomegaly.,", "3,Clear.,"
    )
    done = label_csv(source, tmp_path / "out.csv", setup=WINDOWS)
    rows = read(tmp_path / "out.csv")
    assert tuple(rows[0]) == ("uid", *FOURTEEN, "normal")
    first = (rows[0]["effusion"], rows[0]["nodule"], rows[0]["mass"], rows[0]["normal"])
    assert first == ("0", "-1", "", "0")
    assert (rows[1]["cardiomegaly"], rows[1]["normal"]) == ("1", "0")
    assert rows[2]["normal"] == "1"
    assert (done.rows, done.flagged, done.flags) == (3, 0, None)
    assert not (tmp_path / "out.csv.flags.csv").exists()


def test_a_bad_row_is_kept_flagged_and_stops_nothing(tmp_path: Path) -> None:
    source = table(
        tmp_path / "in.csv",
        "1,No effusion.,",
        "2",
        "3,a,b,c,d",
        ",Effusion.,",
        "5,,",
        "6,\x00\x01,",
        "7,Effusion.,",
    )
    done = label_csv(source, tmp_path / "out.csv", setup=WINDOWS)
    assert [row["uid"] for row in read(tmp_path / "out.csv")] == ["1", "2", "3", "", "5", "6", "7"]
    assert done.flags is not None
    reasons = [(row["row"], row["reason"]) for row in read(done.flags)]
    assert ("2", "1 cells where the header has 3") in reasons
    assert ("3", "5 cells where the header has 3") in reasons
    assert ("4", "no id") in reasons
    assert ("5", "no text in a section that asserts anything") in reasons
    assert ("6", "control characters: binary rather than text") in reasons
    assert done.flagged == 5


def test_mentions_are_written_with_their_places(tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", "1,Clear.,No 5 mm nodule.")
    label_csv(source, tmp_path / "o.csv", setup=WINDOWS, mentions=tmp_path / "m.jsonl")
    (line,) = (tmp_path / "m.jsonl").read_text(encoding="utf-8").splitlines()
    record = json.loads(line)
    assert record["part"] == "impression"
    assert "No 5 mm nodule."[record["start"] : record["end"]] == record["text"] == "nodule"
    assert (record["assertion"], record["rule"]) == ("absent", "no")
    assert record["codes"]["UMLS"] == "C0034079"
    assert record["attributes"] == {"sizes_mm": [5.0]}


def test_labels_do_not_depend_on_whether_mentions_are_written(tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", "1,Possible nodule.,", "2,Effusion or edema.,", "3,,")
    label_csv(source, tmp_path / "a.csv", setup=WINDOWS)
    label_csv(source, tmp_path / "b.csv", setup=WINDOWS, mentions=tmp_path / "m.jsonl")
    assert read(tmp_path / "a.csv") == read(tmp_path / "b.csv")


def test_other_columns_can_be_named(tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", "A1,Effusion.", header="accession,report")
    label_csv(
        source,
        tmp_path / "out.csv",
        id_column="accession",
        text_columns=["report"],
        setup=WINDOWS,
    )
    assert read(tmp_path / "out.csv")[0]["effusion"] == "1"


def test_a_missing_column_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", "1,a,b", header="uid,finding,impression")
    with pytest.raises(ReportError, match="did you mean 'finding'"):
        label_csv(source, tmp_path / "out.csv", setup=WINDOWS)
    assert list(tmp_path.iterdir()) == [source]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot read"):
        label_csv(tmp_path / "none.csv", tmp_path / "out.csv", setup=WINDOWS)


def test_an_unknown_policy_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", "1,a,b")
    with pytest.raises(ConfigError, match="no policy"):
        label_csv(source, tmp_path / "out.csv", setup=MinerSetup(policy="x"))
    assert list(tmp_path.iterdir()) == [source]


def test_an_interrupted_run_leaves_the_old_output(tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", "1,a,b")
    output = tmp_path / "out.csv"
    output.write_text("old", encoding="utf-8")

    def stop(_rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label_csv(source, output, setup=WINDOWS, progress=stop)
    assert output.read_text(encoding="utf-8") == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", "out.csv"}


def test_flags_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    label_csv(table(tmp_path / "in.csv", "1,,"), output, setup=WINDOWS)
    assert output.with_name("out.csv.flags.csv").exists()
    label_csv(table(tmp_path / "in.csv", "1,Clear.,"), output, setup=WINDOWS)
    assert not output.with_name("out.csv.flags.csv").exists()


def test_progress_counts_rows(tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", *(f"{number},Clear.," for number in range(1201)))
    seen: list[int] = []
    label_csv(source, tmp_path / "out.csv", setup=WINDOWS, progress=seen.append)
    assert seen == [500, 1000, 1201]


def test_a_byte_order_mark_and_odd_bytes_are_survived(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(b"\xef\xbb\xbfuid,findings,impression\n1,Effusi\xf3n. Effusion.,\n")
    label_csv(source, tmp_path / "out.csv", setup=WINDOWS)
    assert read(tmp_path / "out.csv")[0]["effusion"] == "1"
