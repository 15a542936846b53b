"""A memory of a fixed size for what was worked out once."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """The values of the keys asked for last; beyond `size` the one not asked for longest goes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def known(self, keys: Iterable[Key]) -> dict[Key, Value]:
        """What is remembered of `keys`."""
        found: dict[Key, Value] = {}
        for key in keys:
            value = self._held.get(key)
            if value is not None:
                self._held.move_to_end(key)
                found[key] = value
        return found

    def keep(self, values: Mapping[Key, Value]) -> None:
        """Remember `values` too."""
        self._held.update(values)
        for _ in range(len(self._held) - self._size):
            self._held.popitem(last=False)
