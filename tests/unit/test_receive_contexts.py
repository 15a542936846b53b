"""What may be sent."""

from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.presentation import build_context

from dicomnode.receive.contexts import TRANSFER_SYNTAXES, storage_sop_classes, supported_contexts


def test_every_storage_class_pynetdicom_knows_is_supported() -> None:
    known = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    assert known <= set(storage_sop_classes())


def test_retired_classes_that_old_archives_still_send_are_supported() -> None:
    retired_ultrasound_multi_frame = "1.2.840.10008.5.1.4.1.1.3"
    assert retired_ultrasound_multi_frame in storage_sop_classes()


def test_objects_that_belong_to_no_patient_are_not_taken() -> None:
    hanging_protocol, commitment = "1.2.840.10008.5.1.4.38.1", "1.2.840.10008.1.20.1"
    assert not {hanging_protocol, commitment} & set(storage_sop_classes())


def test_there_are_more_classes_than_one_association_may_offer() -> None:
    assert len(supported_contexts(())) > 128


def test_transfer_syntaxes_are_what_they_are_said_to_be_and_named_once() -> None:
    assert all(UID(uid).is_transfer_syntax for uid in TRANSFER_SYNTAXES)
    assert len(set(TRANSFER_SYNTAXES)) == len(TRANSFER_SYNTAXES)


def test_where_a_sender_leaves_the_choice_it_is_uncompressed() -> None:
    assert TRANSFER_SYNTAXES[0] == "1.2.840.10008.1.2.1"


def test_a_private_class_of_the_settings_is_supported_in_every_syntax() -> None:
    (context,) = [
        context
        for context in supported_contexts(("1.2.276.0.99.1",))
        if context.abstract_syntax == "1.2.276.0.99.1"
    ]
    assert [str(uid) for uid in context.transfer_syntax] == list(TRANSFER_SYNTAXES)


def test_the_context_of_another_room_replaces_ours() -> None:
    theirs = build_context("1.2.276.0.99.1", "1.2.840.10008.1.2")
    contexts = supported_contexts(("1.2.276.0.99.1",), [theirs])
    assert [c for c in contexts if c.abstract_syntax == "1.2.276.0.99.1"] == [theirs]
