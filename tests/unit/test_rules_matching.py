"""What a rule says of a study, condition by condition, and which series go in."""

import itertools
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.algorithm import InputSpec
from dicomnode.domain.matching import Priority, RuleVerdict
from dicomnode.domain.studies import SeriesFacts, StudySnapshot
from dicomnode.rules.choosing import in_order
from dicomnode.rules.explaining import explain
from dicomnode.rules.loading import default_rules, load_rules
from dicomnode.rules.matching import match, requirements_met
from dicomnode.rules.model import Preference, RuleSet
from dicomnode.rules.patterns import fault_of_pattern, found_in
from dicomnode.rules.trying import dry_run, series_snapshots
from dicomnode.testing.snapshots import series_facts as series
from dicomnode.testing.snapshots import study_snapshot as study

LUNG_CT = {
    "lung_ct": {
        "image": InputSpec(
            modalities=frozenset({"CT"}), dimensions=3, max_spacing_mm=6.0, min_slices=16
        )
    }
}
CT = 'Modality = "CT"'


AXIAL = ("1", "0", "0", "0", "1", "0")


def rules(lines: str = CT, *, head: str = "", tail: str = "") -> RuleSet:
    """One rule `a` for `lung_ct` with one input `image`."""
    text = f"[[rule]]\nname = 'a'\nalgorithm = 'lung_ct'\n{head}\n"
    return load_rules(f"{text}[rule.series.image]\n{lines}\n{tail}\n", file="test.toml")


def chosen(ruleset: RuleSet, snapshot: StudySnapshot) -> list[dict[str, str]]:
    (verdict,) = match(ruleset, snapshot)
    return [dict(one.inputs) for one in verdict.matches]


def only(ruleset: RuleSet, snapshot: StudySnapshot) -> RuleVerdict:
    (verdict,) = match(ruleset, snapshot)
    return verdict


@pytest.mark.parametrize(
    ("condition", "value", "held"),
    [
        ('Modality = "CT"', "CT", True),
        ('Modality = ["MR", "ct"]', "CT", True),
        ('Modality = "MR"', "CT", False),
        ('Modality.not = "CT"', "CT", False),
        ('StationName.not = "X"', "ABSENT", True),
        ('StationName = ["X", ""]', "ABSENT", True),
        ('StationName = ["X", ""]', "", True),
        ('StationName = ["X", ""]', "Y", False),
        ('StationName = "X"', " X ", True),
        ("StationName.present = true", "", False),
        ("StationName.present = false", "", True),
        ("StationName.present = true", "X", True),
        ('SeriesDescription.matches = "lung|chest"', "CT CHEST 3", True),
        ('SeriesDescription.matches = "(?-i)chest"', "CT CHEST 3", False),
        ('SeriesDescription.not_matches = "scout"', "Chest Scout", False),
        ('SeriesDescription.not_matches = "scout"', "ABSENT", True),
        ('SeriesDescription.matches = "lung"', "ABSENT", False),
        ("SliceThickness.at_most = 3", "3.0", True),
        ("SliceThickness.below = 3", "3", False),
        ("SliceThickness.at_least = 3", "3", True),
        ("SliceThickness.above = 3", "3.1", True),
        ("SliceThickness.between = [1, 3]", " 2.5 ", True),
        ("SliceThickness.between = [1, 3]", "3.01", False),
        ("SliceThickness.at_most = 3", "thin", False),
        ("SliceThickness.at_most = 3", "nan", False),
        ("SliceThickness.at_most = 3", "ABSENT", False),
        ("KVP = 120", "120.0", True),
        ("KVP = [100, 120]", "80", False),
        ("PatientAge.at_least = 18", "017Y", False),
        ("PatientAge.below = 1", "006M", True),
        ("PatientAge.below = 1", "052W", True),
        ("PatientAge.below = 1", "Y", False),
        ('PatientAge = "017Y"', "017Y", True),
        ("StudyDate.at_least = 20240101", "20240131", True),
        ('StudyDate = "20240131"', "20240131", True),
        ("StudyTime.at_least = 220000", "2215", True),
        ("StudyTime.at_least = 220000", "215959.9", False),
    ],
)
def test_a_condition_on_one_value(condition: str, value: str, held: bool) -> None:
    keyword = condition.replace(".", " ").split()[0]
    absent = (keyword,) if value == "ABSENT" else ()
    facts = series(values={keyword: value}, without=absent)

    verdict = only(rules(condition), study(facts))

    assert [one.held for one in verdict.conditions] == [held]
    assert bool(verdict.matches) is held


@pytest.mark.parametrize(
    ("condition", "held"),
    [
        ('ImageType = "AXIAL"', True),
        ('ImageType = ["LOCALIZER", "AXIAL"]', True),
        ('ImageType.all_of = ["axial", "ORIGINAL"]', True),
        ('ImageType.all_of = ["AXIAL", "LOCALIZER"]', False),
        ('ImageType.not = ["LOCALIZER", "AXIAL"]', False),
        ('ImageType.matches = "^ax"', True),
        ("PixelSpacing.at_most = 0.5", True),
        ("PixelSpacing.between = [0.6, 0.65]", False),
        ('"BodyPartExamined or StudyDescription".matches = "chest"', True),
        ('"BodyPartExamined or StudyDescription".not_matches = "chest"', False),
        ('"BodyPartExamined or StudyDescription".present = false', False),
        ('"BodyPartExamined or StationName".present = false', True),
    ],
)
def test_several_values_and_several_attributes(condition: str, held: bool) -> None:
    facts = series(
        ImageType=("ORIGINAL", "PRIMARY", "AXIAL"),
        PixelSpacing=("0.5", "0.7"),
        StudyDescription="Chest",
    )

    assert bool(chosen(rules(condition), study(facts))) is held


@pytest.mark.parametrize(
    ("cosines", "orientation"),
    [
        (("1", "0", "0", "0", "1", "0"), "axial"),
        (("-1", "0", "0", "0", "-1", "0"), "axial"),
        (("1", "0", "0", "0", "0.94", "-0.34"), "axial"),
        (("1", "0", "0", "0", "0", "-1"), "coronal"),
        (("0", "1", "0", "0", "0", "-1"), "sagittal"),
        (("1", "0", "0", "0", "0.7071", "-0.7071"), "oblique"),
    ],
)
def test_orientation_is_that_of_the_slices(cosines: tuple[str, ...], orientation: str) -> None:
    facts = series(ImageOrientationPatient=cosines)

    assert chosen(rules(f'orientation = "{orientation}"'), study(facts))


@pytest.mark.parametrize(
    "cosines",
    [(), ("1", "0", "0"), ("0",) * 6, ("x",) * 6, ("1e308",) * 3 + ("-1e308",) * 3],
)
def test_an_odd_orientation_is_no_orientation(cosines: tuple[str, ...]) -> None:
    facts = series(ImageOrientationPatient=cosines)

    assert chosen(rules("orientation.present = false"), study(facts))


def test_slices_count_the_frames_of_multi_frame_images() -> None:
    enhanced = series(count=1, NumberOfFrames="300")

    assert chosen(rules("slices.at_least = 300"), study(enhanced))
    assert not chosen(rules("slices.above = 300"), study(enhanced))


@pytest.mark.parametrize(
    ("condition", "held"),
    [
        ('Modality = "PT"', True),
        ('Modality.not = "PT"', False),
        ('Modality.not = "MR"', True),
        ('calling_ae = "ct1"', True),
        ('calling_ae.not = "CT1"', False),
        ('calling_ae.matches = "^CT"', True),
        ('StudyDescription.matches = "chest"', True),
    ],
)
def test_a_study_condition_holds_if_any_series_has_it_a_negative_one_if_none(
    condition: str, held: bool
) -> None:
    snapshot = study(series("1.2.1", StudyDescription="Chest"), series("1.2.2", Modality="PT"))

    assert bool(chosen(rules(tail=f"[rule.study]\n{condition}"), snapshot)) is held


@pytest.mark.parametrize(
    ("sender", "described", "held"),
    [("CT1", "Chest", True), ("CT1", "Abdomen", False), ("ER", "Chest", False)],
)
def test_every_condition_on_the_study_must_hold(sender: str, described: str, held: bool) -> None:
    conditions = '[rule.study]\ncalling_ae = "CT1"\nStudyDescription.matches = "chest"'
    snapshot = replace(study(series(StudyDescription=described)), calling_aes=frozenset({sender}))

    verdict = only(rules(head=conditions), snapshot)

    assert bool(verdict.matches) is held


def test_the_thinnest_is_chosen_and_a_silent_header_comes_last() -> None:
    thick = series("1.2.1", SliceThickness="5")
    thin = series("1.2.2", SliceThickness="1")
    silent = series("1.2.3", without=("SliceThickness",))

    assert chosen(rules(CT + '\nprefer = ["thinnest"]'), study(thick, thin, silent)) == [
        {"image": "1.2.2"}
    ]
    assert chosen(rules(CT + '\nprefer = ["thickest"]'), study(thick, thin, silent)) == [
        {"image": "1.2.1"}
    ]


@pytest.mark.parametrize(
    ("word", "better"),
    [
        (Preference.MOST_SLICES, series("1.2.9", count=200)),
        (Preference.FEWEST_SLICES, series("1.2.9", count=20)),
        (Preference.LARGEST_MATRIX, series("1.2.9", Rows="1024", Columns="1024")),
        (Preference.LATEST, series("1.2.9", SeriesNumber="10")),
        (Preference.EARLIEST, series("1.2.9", SeriesNumber="1")),
        (Preference.ORIGINAL, series("1.2.9", ImageType=("ORIGINAL", "PRIMARY"))),
        (Preference.AXIAL, series("1.2.9")),
    ],
)
def test_each_preference_puts_the_better_series_first(
    word: Preference, better: SeriesFacts
) -> None:
    plain = series(
        "1.2.5",
        Rows="512",
        Columns="512",
        SeriesNumber="9",
        ImageType=("DERIVED",),
        ImageOrientationPatient=() if word is Preference.AXIAL else ("1", *"00010"),
    )

    assert in_order([plain, better], [word])[0] == better
    assert in_order([better, plain], [word])[0] == better


@given(
    st.permutations(
        [series(f"1.2.{n}", count=n // 3, SliceThickness=str(n % 2)) for n in range(1, 8)]
    ),
    st.lists(st.sampled_from(Preference), max_size=3),
)
def test_the_order_never_depends_on_the_order_of_arrival(
    arrived: list[SeriesFacts], prefer: list[Preference]
) -> None:
    assert in_order(arrived, prefer) == in_order(sorted(arrived, key=str), prefer)


def test_each_runs_once_for_every_fitting_series() -> None:
    snapshot = study(series("1.2.1"), series("1.2.2"), series("1.2.3", Modality="PT"))

    assert chosen(rules(CT + '\ntake = "each"'), snapshot) == [
        {"image": "1.2.1"},
        {"image": "1.2.2"},
    ]


TWO = """
[rule.series.second]
SeriesDescription = "flair"
"""


def test_no_series_is_used_twice_and_a_choosy_input_is_not_robbed() -> None:
    both = series("1.2.1", SeriesDescription="flair")
    other = series("1.2.2", count=10)

    assert chosen(rules(tail=TWO), study(both, other)) == [{"image": "1.2.2", "second": "1.2.1"}]
    verdict = only(rules(tail=TWO), study(both))
    assert not verdict.matches
    assert "each needs its own" in verdict.reason


def test_inputs_come_in_the_order_of_the_algorithm_whatever_that_of_the_file() -> None:
    any_ct = InputSpec(modalities=frozenset({"CT"}), dimensions=3)
    needs = {"lung_ct": {"second": any_ct, "image": any_ct}}
    snapshot = study(series("1.2.1", SeriesDescription="flair"), series("1.2.2"))

    (verdict,) = match(rules(tail=TWO), snapshot, needs=needs)

    assert list(verdict.matches[0].inputs) == ["second", "image"]


def test_the_most_urgent_raise_that_holds_decides() -> None:
    tail = """
[[rule.raise]]
to = "high"
calling_ae = "ER_CT"
[[rule.raise]]
to = "stat"
calling_ae = "ER_CT"
StudyDescription.matches = "trauma"
"""
    ruleset = rules(tail=tail)

    def priority(description: str, calling_ae: str) -> Priority:
        facts = series(StudyDescription=description)
        return only(ruleset, study(facts, calling_ae=calling_ae)).matches[0].priority

    assert priority("Trauma", "ER_CT") is Priority.STAT
    assert priority("Chest", "ER_CT") is Priority.HIGH
    assert priority("Trauma", "CT1") is Priority.ROUTINE


def test_a_raise_never_makes_a_rule_less_urgent() -> None:
    raises = "".join(f"[[rule.raise]]\nto = '{to}'\n{CT}\n" for to in ("stat", "high"))

    (found,) = only(rules(tail=raises), study(series())).matches

    assert found.priority is Priority.STAT


def test_a_disabled_rule_never_matches_but_says_that_it_would() -> None:
    verdict = only(rules(head="enabled = false"), study(series()))

    assert verdict.matches == ()
    assert verdict.reason.startswith("is disabled; it would match: image = series 1.2.1")


def test_a_series_rule_waits_for_its_series_and_sees_that_series_alone() -> None:
    ruleset = rules(head='scope = "series"', tail='[rule.study]\nModality.not = "PT"')
    both = (series("1.2.1"), series("1.2.2", Modality="PT"))

    assert chosen(ruleset, study(*both, closed_series="1.2.1")) == [{"image": "1.2.1"}]
    assert not chosen(ruleset, study(*both, closed_series="1.2.2"))
    assert only(ruleset, study(*both)).reason == "is tried when one series closes"
    whole = rules()
    assert only(whole, study(*both, closed_series="1.2.1")).reason == (
        "is tried when the whole study closes"
    )


def test_what_the_algorithm_needs_is_checked_and_explained() -> None:
    snapshot = study(series(count=10, SliceThickness="8"))

    (verdict,) = match(rules(), snapshot, needs=LUNG_CT)

    assert not verdict.matches
    assert "needs at least 16 slices" in verdict.reason
    assert "needs at most 6 mm between slices" in verdict.reason
    (fitting,) = match(rules(), study(series()), needs=LUNG_CT)
    assert len(fitting.matches) == 1


@pytest.mark.parametrize(
    ("position", "orientation", "view"),
    [
        (("PA",), (), "frontal"),
        (("ap",), ("A", "F"), "frontal"),
        (("LL",), ("L", "F"), "lateral"),
        (("LLD",), (), "other"),
        (("LL", "PA"), (), "frontal"),
        (("LL", "PA"), (), "lateral"),
        ((), ("L", "F"), "frontal"),
        (("",), ("R", "FP"), "frontal"),
        ((), ("P", "F"), "lateral"),
        ((), ("H", "L"), "frontal"),
        ((), ("F", "A"), "lateral"),
        ((), ("F", "H"), ""),
        ((), ("X", "L"), ""),
        ((), (), ""),
    ],
)
def test_the_view_of_a_radiograph_is_told_from_its_position_or_orientation(
    position: tuple[str, ...], orientation: tuple[str, ...], view: str
) -> None:
    facts = series(ViewPosition=position, PatientOrientation=orientation)

    assert chosen(rules(f'view = "{view}"'), study(facts))
    assert not chosen(rules(f'view.not = "{view}"'), study(facts))


def test_a_2d_algorithm_takes_a_series_of_two_radiographs() -> None:
    needs = {"lung_ct": {"image": InputSpec(modalities=frozenset({"DX"}), dimensions=2)}}
    two = series(count=2, Modality="DX")

    assert match(rules('Modality = "DX"'), study(two), needs=needs)[0].matches


def test_a_rule_that_names_another_input_than_the_algorithm_has_does_not_match() -> None:
    needs = {"lung_ct": {"ct": LUNG_CT["lung_ct"]["image"]}}

    (verdict,) = match(rules(), study(series()), needs=needs)

    assert not verdict.matches
    assert "algorithm lung_ct needs series for ct" in verdict.reason


def test_the_reason_names_the_nearest_miss_and_no_value_of_the_header() -> None:
    secret = series("1.2.1", PatientName="Doe^Jane", SliceThickness="5")
    far = series("1.2.2", PatientName="Doe^Jane", Modality="MR", SliceThickness="5")
    ruleset = rules(CT + '\nSliceThickness.at_most = 3\nPatientName.not = ""')

    verdict = only(ruleset, study(far, secret))

    assert verdict.reason == (
        "does not match: no series fits image; nearest is 1.2.1, which fails "
        "image: SliceThickness.at_most = 3"
    )
    assert "Doe^Jane" in explain([verdict])


def test_an_explanation_shows_every_condition_with_what_was_found() -> None:
    ruleset = rules(
        CT + "\nSliceThickness.at_most = 3", tail='[rule.study]\ncalling_ae = ["CT1", "CT2"]'
    )

    assert explain([only(ruleset, study(series(SliceThickness="5")))]) == (
        "a: does not match: no series fits image; nearest is 1.2.1, which fails "
        "image: SliceThickness.at_most = 3\n"
        "  study\n"
        '    yes  calling_ae = ["CT1", "CT2"]   [CT1]\n'
        "  series 1.2.1\n"
        '    yes  image: Modality = "CT"   [CT]\n'
        "    NO   image: SliceThickness.at_most = 3   [5]"
    )


def test_there_is_one_verdict_for_each_rule_in_the_order_of_the_file() -> None:
    text = "".join(
        f"[[rule]]\nname = '{name}'\nalgorithm = 'x'\n[rule.series.image]\n{CT}\n"
        for name in ("c", "a", "b")
    )

    verdicts = match(load_rules(text, file="r.toml"), study())

    assert [one.rule_name for one in verdicts] == ["c", "a", "b"]
    assert all("the study has none" in one.reason for one in verdicts)


def test_requirements_are_met_when_every_begun_rule_has_its_series() -> None:
    ruleset = rules(tail=TWO)
    first, second = series("1.2.1"), series("1.2.2", SeriesDescription="flair")
    aes = frozenset({"CT1"})

    assert requirements_met(ruleset, [first], calling_aes=aes) is False
    assert requirements_met(ruleset, [first, second], calling_aes=aes) is True
    assert requirements_met(ruleset, [series(Modality="US")], calling_aes=aes) is False
    assert requirements_met(ruleset, [], calling_aes=aes) is False


def test_requirements_wait_for_a_begun_rule_though_another_has_all_its_series() -> None:
    alone = "[[rule]]\nname = 'b'\nalgorithm = 'lung_ct'\n[rule.series.image]\n" + CT
    ruleset = rules(tail=f"{TWO}\n{alone}")
    first, second = series("1.2.1"), series("1.2.2", SeriesDescription="flair")

    assert requirements_met(ruleset, [first], calling_aes=frozenset()) is False
    assert requirements_met(ruleset, [first, second], calling_aes=frozenset()) is True


def test_a_rule_for_another_modality_does_not_hold_a_study_up() -> None:
    ruleset = load_rules(default_rules(), file="default.toml")
    chest = series(BodyPartExamined="CHEST")

    assert requirements_met(ruleset, [chest], calling_aes=frozenset()) is True


def test_requirements_are_unknown_where_no_enabled_rule_of_the_scope_exists() -> None:
    aes = frozenset({"CT1"})

    assert requirements_met(rules(head="enabled = false"), [series()], calling_aes=aes) is None
    assert requirements_met(rules(head='scope = "series"'), [series()], calling_aes=aes) is None


def test_requirements_count_slices_that_the_algorithm_needs() -> None:
    aes = frozenset({"CT1"})

    few = requirements_met(rules(), [series(count=3)], calling_aes=aes, needs=LUNG_CT)
    many = requirements_met(rules(), [series(count=30)], calling_aes=aes, needs=LUNG_CT)
    assert (few, many) == (False, True)


def test_a_dry_run_lists_what_would_have_changed_and_nothing_else() -> None:
    old = rules(CT)
    new = rules(CT + "\nSliceThickness.at_most = 3")
    same = rules(CT + " # a remark")
    thin, thick = study(series()), replace(study(series(SliceThickness="5")), revision=2)

    tried = dry_run(old, new, [thin, thick])

    assert (tried.snapshots, tried.matched_before, tried.matched_after) == (2, 2, 1)
    (change,) = tried.changes
    assert (change.revision, change.rule_name, len(change.before), change.after) == (2, "a", 1, ())
    assert dry_run(old, same, [thin, thick]).changes == ()


def test_a_study_can_be_explained_as_if_each_series_had_closed() -> None:
    snapshot = study(series("1.2.1"), series("1.2.2"))
    ruleset = rules(head='scope = "series"')

    tried = [chosen(ruleset, one) for one in series_snapshots(snapshot)]

    assert tried == [[{"image": "1.2.1"}], [{"image": "1.2.2"}]]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*)*x", "((a{1,10}){1,5}){1,2}b"])
def test_no_accepted_pattern_runs_away(pattern: str) -> None:
    assert fault_of_pattern(pattern) is None
    assert not found_in(pattern, "a" * 1000 + "!")


FRONTAL: Mapping[str, str | tuple[str, ...]] = {
    "Modality": "DX",
    "BodyPartExamined": "CHEST",
    "ViewPosition": "PA",
    "PatientOrientation": ("L", "F"),
    "SeriesDescription": "Chest PA/LAT",
}


@pytest.mark.parametrize(
    ("changed", "runs"),
    [
        ({}, True),
        ({"Modality": "CR"}, True),
        ({"ViewPosition": ""}, True),
        ({"BodyPartExamined": ""}, True),
        ({"BodyPartExamined": "HAND", "SeriesDescription": "Hand"}, False),
        ({"ViewPosition": "LL"}, False),
        ({"ViewPosition": "", "PatientOrientation": ("A", "F")}, False),
        ({"ViewPosition": "", "SeriesDescription": "Chest lateral"}, False),
        ({"ViewPosition": "", "SeriesDescription": "LAT CHEST"}, False),
    ],
)
def test_the_shipped_rule_takes_frontal_chest_radiographs_only(
    changed: Mapping[str, str | tuple[str, ...]], runs: bool
) -> None:
    shipped = load_rules(default_rules(), file="default.toml")
    radiograph = series(count=1, values={**FRONTAL, **changed})

    verdicts = match(shipped, study(radiograph))

    taken = {one.rule_name: bool(one.matches) for one in verdicts}
    assert taken == {
        "heart and lungs on frontal chest radiographs": runs,
        "diseases on frontal chest radiographs": runs,
        "lungs on chest CT": False,
        "organs and tissues on CT of the abdomen": False,
    }


def test_the_shipped_rule_takes_the_thinnest_original_axial_chest_ct() -> None:
    original = ("ORIGINAL", "PRIMARY", "AXIAL")
    localizer = ("ORIGINAL", "PRIMARY", "LOCALIZER")
    sagittal = ("0", "1", "0", "0", "0", "-1")

    def chest(
        uid: str,
        count: int,
        thickness: str,
        kind: tuple[str, ...] = original,
        cosines: tuple[str, ...] = AXIAL,
    ) -> SeriesFacts:
        return series(
            uid,
            count=count,
            BodyPartExamined="CHEST",
            SliceThickness=thickness,
            ImageType=kind,
            ImageOrientationPatient=cosines,
        )

    facts = [
        chest("1.2.1", 300, "1", kind=localizer),
        chest("1.2.2", 60, "5"),
        chest("1.2.3", 250, "1.25"),
        chest("1.2.4", 250, "1", kind=("DERIVED",)),
        chest("1.2.5", 400, "1", cosines=sagittal),
        chest("1.2.6", 9, "1"),
    ]
    shipped = load_rules(default_rules(), file="default.toml")

    for order in itertools.islice(itertools.permutations(facts), 0, 720, 60):
        *_, verdict = match(shipped, study(*order), needs=LUNG_CT)
        assert [dict(one.inputs) for one in verdict.matches] == [{"image": "1.2.3"}]
