"""Header values are put right, never guessed, and never shortened when they identify."""

import warnings
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.encode.patient import patient_and_study
from dicomnode.encode.texts import age, date, decimal_string, put, sex, text_of, time_of_day


@pytest.mark.parametrize(
    ("stated", "written"),
    [("081Y", "081Y"), ("81", "081Y"), ("81Y", "081Y"), ("6m", "006M"), ("old", ""), ("", "")],
)
def test_ages_are_brought_into_form(stated: str, written: str) -> None:
    assert age(stated) == written


@pytest.mark.parametrize(
    ("stated", "written"),
    [("19560307", "19560307"), ("1956.03.07", "19560307"), ("19561399", ""), ("unknown", "")],
)
def test_dates_are_brought_into_form_or_left_out(stated: str, written: str) -> None:
    assert date(stated) == written


@pytest.mark.parametrize(
    ("stated", "written"),
    [("12", "12"), ("120000.123456", "120000.123456"), ("12:30:00", "123000"), ("2561", "")],
)
def test_times_are_brought_into_form_or_left_out(stated: str, written: str) -> None:
    assert time_of_day(stated) == written


def test_a_sex_the_standard_does_not_know_is_left_out() -> None:
    assert [sex(value) for value in ("M", "F", "O", "X", "male")] == ["M", "F", "O", "", ""]


@given(st.floats(min_value=-1e300, max_value=1e300))
def test_decimal_strings_fit_and_stay_close(value: float) -> None:
    text = decimal_string(value)
    assert len(text) <= 16
    assert float(text) == pytest.approx(value, rel=1e-8)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1,5", ""])
def test_what_is_no_finite_number_is_no_decimal_string(value: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  three libraries word it
        decimal_string(value)


def as_sent(ds: Dataset) -> Dataset:
    """`ds` as it comes off the wire: raw bytes, nothing decoded."""
    buffer = BytesIO()
    ds.save_as(buffer, implicit_vr=True, little_endian=True)
    buffer.seek(0)
    return dcmread(buffer, force=True)


@pytest.mark.parametrize(
    ("sets", "name", "description"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "胸部CT"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "胸部CT"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "흉부 CT"),
        (["ISO_IR 100"], "Müller-Lüdenscheidt^Jérôme", "Thorax, schräg"),
        (["ISO_IR 101"], "Wałęsa^Łukasz", "Płuca"),
        (["ISO_IR 144"], "Люкceмбypг", "Грудь"),
        (["GB18030"], "Wang^XiaoDong=王^小东", "胸部"),
        (["GBK"], "Wang^XiaoDong=王^小东", "胸部"),
        (["ISO_IR 192"], "Wang^XiaoDong=王^小東", "غرفة"),
        ([], "Smith^Anne", "Chest"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_names_in_every_character_set_arrive_in_utf_8(
    sets: list[str], name: str, description: str
) -> None:
    ds = Dataset()
    ds.SpecificCharacterSet = sets
    ds.PatientName = ds.ReferringPhysicianName = name
    ds.StudyDescription = description
    ds.StudyInstanceUID = "1.2.3"
    sent = as_sent(ds)
    copied = as_sent(patient_and_study(sent))
    assert copied.SpecificCharacterSet == "ISO_IR 192"
    assert str(copied.PatientName) == str(copied.ReferringPhysicianName) == name
    # As pydicom reads the source, group by group: alphabetic, ideographic, phonetic.
    assert copied.PatientName.components == sent.PatientName.components
    assert copied.StudyDescription == description


@pytest.mark.parametrize(
    ("stated", "written"),
    [("ISO_IR 192", "M\ufffdller^Jos\ufffd"), ("ISO_IR 999", "Müller^José")],
)
def test_a_name_whose_bytes_belie_the_stated_character_set_is_kept_as_far_as_it_can_be_read(
    stated: str, written: str
) -> None:
    """Bytes that UTF-8 does not know are replaced; an unknown set is read as Latin-1."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName = "Müller^José"
    ds.StudyInstanceUID = "1.2.3"
    buffer = BytesIO()
    ds.save_as(buffer, implicit_vr=True, little_endian=True)
    false = BytesIO(buffer.getvalue().replace(b"ISO_IR 100", stated.encode()))
    with warnings.catch_warnings():
        # pydicom's, which quotes nothing of the value; the node keeps it silent.
        warnings.simplefilter("ignore")
        copied = as_sent(patient_and_study(dcmread(false, force=True)))
    assert copied.SpecificCharacterSet == "ISO_IR 192"
    assert str(copied.PatientName) == written


def test_what_a_source_lacks_is_written_empty() -> None:
    ds = Dataset()
    ds.StudyInstanceUID = "1.2.3"
    copied = patient_and_study(as_sent(ds))
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
        assert keyword in copied
        assert not copied[keyword].value
    assert "PatientAge" not in copied


def test_identifiers_longer_than_their_vr_are_kept_whole() -> None:
    ds = Dataset()
    put(ds, "StudyInstanceUID", "1.2.3")
    put(ds, "AccessionNumber", "A" * 30)
    put(ds, "PatientID", "P" * 80)
    copied = patient_and_study(as_sent(ds))
    assert text_of(copied, "AccessionNumber", ["ascii"]) == "A" * 30
    assert text_of(copied, "PatientID", ["ascii"]) == "P" * 80


def test_faulty_values_are_read_without_a_warning_that_would_repeat_them() -> None:
    ds = Dataset()
    put(ds, "StudyInstanceUID", "1.2.3")
    put(ds, "PatientAge", "81")
    put(ds, "PatientSex", "female")
    put(ds, "PatientBirthDate", "unknown")
    copied = patient_and_study(as_sent(ds))
    assert copied.PatientAge == "081Y"
    assert not copied.PatientSex
    assert not copied.PatientBirthDate


def test_codes_without_a_meaning_are_left_out() -> None:
    whole, broken = Dataset(), Dataset()
    whole.CodeValue, whole.CodingSchemeDesignator, whole.CodeMeaning = "1", "L", "Chest CT"
    broken.CodeValue = "2"
    ds = Dataset()
    ds.StudyInstanceUID = "1.2.3"
    ds.ProcedureCodeSequence = [whole, broken]
    copied = patient_and_study(as_sent(ds))
    assert [item.CodeMeaning for item in copied.ProcedureCodeSequence] == ["Chest CT"]
