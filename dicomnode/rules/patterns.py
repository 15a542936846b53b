"""Regular expressions that cannot run away.

Patterns run on the Rust engine that pydantic carries: time linear in the text, no look-around and
no back-references. The time also grows with the size of the pattern, counted repetitions written
out, so both are bounded; no pattern an admin writes and no value a peer sends holds up the node.
"""

import re
from functools import lru_cache
from math import prod
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

LONGEST_PATTERN = 250
"""Characters."""
MOST_REPEATS = 100
"""Product of all counts like `{2,8}` in a pattern; they may be nested, so they are multiplied."""
LONGEST_VALUE = 1024
"""Characters of a value that are looked at; headers keep no longer ones."""

_COUNT = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)\s*\}")


def fault_of_pattern(pattern: str) -> str | None:
    """Why `pattern` cannot be used, or None."""
    if len(pattern) > LONGEST_PATTERN:
        return f"the pattern is longer than {LONGEST_PATTERN} characters"
    counts = [max(int(one or 0) for one in count.groups()) for count in _COUNT.finditer(pattern)]
    if prod(max(1, count) for count in counts) > MOST_REPEATS:
        return f"the counts in {{}} multiply to more than {MOST_REPEATS}; use + or *"
    try:
        _compiled(pattern)
    except SchemaError as exc:
        last = str(exc).strip().splitlines()[-1].strip()
        return f"not a usable regular expression: {last.removeprefix('error: ')}"
    return None


def found_in(pattern: str, value: str) -> bool:
    """True if `pattern` occurs anywhere in `value`; capitals and small letters are the same."""
    try:
        _compiled(pattern).validate_python(value[:LONGEST_VALUE])
    except ValidationError:
        return False
    return True


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> TypeAdapter[str]:
    return TypeAdapter(Annotated[str, StringConstraints(pattern=f"(?i){pattern}")])
