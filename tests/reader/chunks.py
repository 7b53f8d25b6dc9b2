"""Where streams are cut."""

from common import gear_table

MINIMUM, AVERAGE, MAXIMUM = 524288, 1048576, 4194304
EARLY, LATE = 0x0000D91767537000, 0x0000D91707537000
GEAR = gear_table()


def cut(rest):
    """Returns the length of the first chunk of these bytes."""
    rest = rest[:MAXIMUM]
    length = len(rest)
    if length <= MINIMUM:
        return length
    hashed = 0
    early = 2 * (min(AVERAGE, length) // 2)
    for start, end, mask in ((MINIMUM, early, EARLY), (early, 2 * (length // 2), LATE)):
        for at in range(start, end):
            hashed = (2 * hashed + GEAR[rest[at]]) & 0xFFFFFFFFFFFFFFFF
            if not hashed & mask:
                return at
    return length


def chunks(data):
    """Returns the lengths of all chunks of a stream."""
    lengths, start = [], 0
    while start < len(data):
        lengths.append(cut(data[start : start + MAXIMUM]))
        start += lengths[-1]
    return lengths
