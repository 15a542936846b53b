"""Names of parts by the codes that senders give them, as the headings of the lexicon know them."""

# LOINC code, HL7 suffix (HL7 2.5 figure 7-1; in lower case) -> name of a part.
PART_NAMES = {
    "19005-8": "impression",
    "imp": "impression",
    "18782-3": "findings",
    "59776-5": "findings",
    "gdt": "findings",
    "mdt": "findings",
    "18785-6": "indication",
    "11329-0": "history",
    "18834-2": "comparison",
    "cms": "comparison",
    "cmr": "comparison",
    "18783-1": "recommendation",
    "rec": "recommendation",
    "55111-9": "technique",
    "cnp": "technique",
    "med": "technique",
    "tcm": "technique",
    "55107-7": "addendum",
    "adt": "addendum",
}
