"""The number of the format, its errors, and what all parts need."""

import hashlib
import json
import struct

import blake3

NUMBER = 1


class Refused(Exception):
    """Says why bytes are not what they should be."""


def require(condition, reason):
    """Refuses what does not hold."""
    if not condition:
        raise Refused(reason)


def digest(data):
    """Returns the BLAKE3 hash."""
    return blake3.blake3(data).digest()


def keyed(key, data):
    """Returns the keyed BLAKE3 hash."""
    return blake3.blake3(data, key=key).digest()


def derive(context, material):
    """Returns BLAKE3 in key derivation mode; the context begins with the format's name."""
    context = f"bkpctl format {NUMBER} {context}"
    return blake3.blake3(material, derive_key_context=context).digest()


def unhex(text, length):
    """Returns the bytes of lowercase digits."""
    require(isinstance(text, str) and len(text) == 2 * length, "a hexadecimal field is too short")
    require(all(c in "0123456789abcdef" for c in text), "a hexadecimal field has other letters")
    return bytes.fromhex(text)


def cuts(hashed, bits):
    """Tells whether a hash cuts at so many bits."""
    return int.from_bytes(hashed[:8], "little") % (1 << bits) == 0


def parse_json(data):
    """Reads JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"no JSON: {error}") from error


def checked_line(data):
    """Reads a line that carries its own check."""
    before, after = b',"check":"', b'"}\n'
    size = len(before) + 32 + len(after)
    require(len(data) > size, "the line has no check")
    content, end = data[:-size], data[-size:]
    expected = before + digest(content)[:16].hex().encode() + after
    require(end == expected, "the check does not fit the line")
    return parse_json(content + b"}")


class Bytes:
    """Takes bytes from the front and refuses to run over the end."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, count):
        """Returns the next bytes."""
        require(count <= len(self.data) - self.at, "the bytes end too early")
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def number(self, size):
        """Returns a little endian number."""
        return int.from_bytes(self.take(size), "little")

    def rest(self):
        """Returns all that is left."""
        return self.take(len(self.data) - self.at)

    def __bool__(self):
        return self.at < len(self.data)


def gear_table():
    """Returns the table of the rolling hash."""
    return [
        struct.unpack(">Q", hashlib.md5(bytes([b]) * 64, usedforsecurity=False).digest()[:8])[0]
        for b in range(256)
    ]
