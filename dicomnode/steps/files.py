"""How a process that runs models comes by images and hands back results."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from dicomnode.domain.errors import StudyError
from dicomnode.domain.files import ImageFile


class Files(Protocol):
    """`SharedFiles` for who sees the node's data folder, `files.fetched.FetchedFiles` otherwise."""

    def at_hand(self, images: Sequence[ImageFile]) -> AbstractContextManager[object]:
        """Images that lie at their paths as long as the block lasts, as the index has them.

        Raises:
            FilesUnavailable: they cannot be had at the moment.
            StudyError: they never will be.
        """
        ...

    def hand_back(self, results: Path, still_mine: Callable[[], None]) -> None:
        """Have the node see a job's folder; `still_mine` is asked before the last file is there.

        Raises:
            FilesUnavailable: it cannot be reached.
            TakenOver: another process has the job by now.
        """
        ...

    def bring_back(self, results: Path) -> None:
        """Have a job's folder here that another process may have handed back."""
        ...

    def keep_current(self, folder: Path) -> None:
        """Have the small files of a folder as the node has them now."""
        ...

    def let_go(self, results: Path) -> None:
        """A job's folder is in the index; a copy of it is not needed any more."""
        ...


class SharedFiles:
    """The data folder of the node itself, or one that all machines see."""

    def at_hand(self, images: Sequence[ImageFile]) -> AbstractContextManager[object]:
        """They are there, or were removed."""
        if not all(image.path.exists() for image in images):
            raise StudyError(
                "its images are no longer on this node; send the study again, then rerun"
            )
        return nullcontext()

    def hand_back(self, results: Path, still_mine: Callable[[], None]) -> None:
        """They are where they belong."""

    def bring_back(self, results: Path) -> None:
        """They are where they belong."""

    def keep_current(self, folder: Path) -> None:
        """It is the node's own."""

    def let_go(self, results: Path) -> None:
        """It is the only one."""
