"""Packs, the blobs in them, and index segments."""

import zstandard

from common import NUMBER, Bytes, Refused, digest, require
from keys import CIPHERS, aead_open, nonce

CHUNK, LEAF, NODE, SPANS, REFS, MANIFEST = range(1, 7)
HEADER = 104


class Blob:
    """One blob: what its header says, and its payload."""

    def __init__(self, data):
        header = Bytes(data.take(HEADER))
        self.bound = header.data[:72]
        require(header.take(4) == b"bkpb", "no blob")
        version, self.kind, self.cipher, self.compression = header.take(4)
        require(version == NUMBER and CHUNK <= self.kind <= MANIFEST, "an unknown blob")
        require(self.cipher in (0, 1, 2) and self.compression in (0, 1), "an unknown blob")
        self.id = header.take(32)
        self.plain_len, payload_len = header.number(4), header.number(4)
        self.session, self.counter, self.hash = header.take(16), header.number(8), header.take(32)
        tag = 16 if self.cipher else 0
        require(self.plain_len < 1 << 24, "a blob is too long")
        if self.compression:
            require(tag <= payload_len < self.plain_len + tag, "a blob's lengths do not fit")
        else:
            require(payload_len == self.plain_len + tag, "a blob's lengths do not fit")
        self.payload = data.take(payload_len)

    def check(self):
        """Checks what can be checked without a key."""
        require(digest(self.bound + self.payload) == self.hash, "a blob has changed")

    def plain(self, sessions, domain):
        """Returns the plain bytes; `sessions` maps session ids to their keys."""
        self.check()
        data = self.payload
        if self.cipher:
            require(self.session in sessions, "a blob's session is not in its pack")
            key = sessions[self.session]
            data = aead_open(
                CIPHERS[self.cipher], key, nonce(self.counter), data, self.bound + domain
            )
        else:
            require(self.kind == REFS and not self.compression, "a blob is not sealed")
        if self.compression:
            try:
                unpacked = zstandard.ZstdDecompressor().stream_reader(data).read(self.plain_len + 1)
            except zstandard.ZstdError as error:
                raise Refused(f"a blob does not decompress: {error}") from error
            data = unpacked
        require(len(data) == self.plain_len, "a blob has another length than announced")
        return data


class Pack:
    """A pack taken apart."""

    def __init__(self, data):
        self.size = len(data)
        data = Bytes(data)
        require(data.take(8) == f"bkppack{NUMBER}".encode(), "no pack")
        data.take(8)
        records, count = data.number(4), data.number(2)
        require(count <= 4096, "a pack has too many sessions")
        records = Bytes(data.take(records))
        self.records = [session_record(records) for _ in range(count)]
        require(not records, "a pack's session records are too long")
        self.blobs = []
        while data:
            offset = data.at
            self.blobs.append((offset, Blob(data)))

    def sessions(self, key):
        """Opens the keys of all sessions; returns them with the labels they belong to."""
        keys = {record["id"]: key.open_session(record) for record in self.records}
        labels = {record["id"]: record["label"] for record in self.records}
        return keys, labels


def session_record(data):
    """Reads one session record."""
    record = {"id": data.take(16), "encapsulated": data.take(32), "sealed": data.take(48)}
    try:
        record["label"] = data.take(data.number(1)).decode("ascii")
    except UnicodeDecodeError as error:
        raise Refused("a session's label is no text") from error
    return record


def read_segment(data):
    """Reads an index segment: packs with their entries."""
    data = Bytes(data)
    require(data.take(8) == f"bkpindx{NUMBER}".encode(), "no index segment")
    packs, entries = data.number(4), data.number(4)
    require(len(data.data) == 16 + 41 * packs + 48 * entries, "a segment's length does not fit")
    found = []
    for _ in range(packs):
        pack = {"hash": data.take(32), "size": data.number(8), "folder": data.number(1)}
        require(pack["folder"] in (1, 2), "a segment names no folder")
        pack["entries"] = set()
        found.append(pack)
    hashes = [pack["hash"] for pack in found]
    require(hashes == sorted(hashes), "a segment's packs are not in order")
    last = None
    for _ in range(entries):
        blob_id, position = data.take(32), data.number(4)
        offset, length, last_field = data.number(4), data.number(4), data.number(4)
        order = (blob_id, position, offset, length, last_field >> 24, last_field & 0xFFFFFF)
        require(last is None or last < order, "a segment's entries are not in order")
        require(position < packs and offset + length <= found[position]["size"], "a bad entry")
        found[position]["entries"].add((blob_id, offset, length) + order[4:])
        last = order
    return found
