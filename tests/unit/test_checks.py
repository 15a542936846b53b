"""What `dicomnode check` finds out before the first image does."""

from dicomnode.checks import check_settings
from dicomnode.settings import Settings


def test_a_data_folder_that_cannot_be_written_is_a_fault() -> None:
    # Nobody, root neither, makes files in this one.
    settings = Settings.model_validate(
        {"data_dir": "/proc/dicomnode", "receive": {"reserve_mb": 0, "port": 1}}
    )
    (disk,) = (one for one in check_settings(settings) if one.what == "disk")
    assert not disk.is_good
    assert "/proc cannot be written" in disk.words
