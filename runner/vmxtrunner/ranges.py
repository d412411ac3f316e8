"""Sets of case numbers as the protocol writes them: `0-4,9`."""
import re

_RANGES = re.compile(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*")


def text_of(numbers):
    """The shortest text for the rising list @numbers."""
    parts = []
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None:
            parts.append(_part(first, last))
        first = last = number
    if first is not None:
        parts.append(_part(first, last))
    return ",".join(parts)


def _part(first, last):
    return str(first) if first == last else f"{first}-{last}"


def parse(text, limit):
    """The set that @text names, or None where it is malformed or reaches @limit."""
    if not _RANGES.fullmatch(text):
        return None
    numbers = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        first, last = int(first), int(last or first)
        if last < first or last >= limit:
            return None
        numbers.update(range(first, last + 1))
    return numbers


def fitting(numbers, length, parts):
    """The longest beginning of @numbers of at most @length characters and @parts ranges."""

    def fits(count):
        text = text_of(numbers[:count])
        return len(text) <= length and text.count(",") < parts

    if fits(len(numbers)):
        return numbers
    low, high = 1, len(numbers)
    while low + 1 < high:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return numbers[:low]
