"""Regular expressions that cannot run away.

Patterns run on the Rust engine that pydantic carries: time linear in the text, no look-around and
no back-references, a bound on the compiled size. So no pattern an admin writes and no value a peer
sends can hold up the node.
"""

from functools import lru_cache
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

LONGEST_PATTERN = 500
"""Characters."""
LONGEST_VALUE = 1024
"""Characters of a value that are looked at."""


def fault_of_pattern(pattern: str) -> str | None:
    """Why `pattern` cannot be used, or None."""
    if len(pattern) > LONGEST_PATTERN:
        return f"the pattern is longer than {LONGEST_PATTERN} characters"
    try:
        _compiled(pattern)
    except SchemaError as exc:
        last = str(exc).strip().splitlines()[-1]
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
