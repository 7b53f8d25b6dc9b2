"""Runs of entries, leaves, nodes, spans and references."""

from dataclasses import dataclass, field

from common import Bytes, require

DIR, FILE, SYMLINK, HARDLINK, CHAR, BLOCK, FIFO = range(7)
KINDS = ["directory", "file", "symlink", "hardlink", "char", "block", "fifo"]


@dataclass
class Entry:
    """One path of a tree with all that is known of it."""

    path: bytes
    kind: int
    mode: int = 0
    uid: int = 0
    gid: int = 0
    user: bytes | None = None
    group: bytes | None = None
    mtime: tuple = (0, 0)
    ctime: tuple = (0, 0)
    inode: int = 0
    links: int = 0
    xattrs: list = field(default_factory=list)
    size: int = 0
    extents: list = field(default_factory=list)
    spans: list = field(default_factory=list)
    target: bytes = b""
    device: tuple = (0, 0)

    def owner(self):
        """Returns what *same owner* repeats."""
        return (self.uid, self.gid, self.user, self.group)


def order(path):
    """Returns what paths are sorted by."""
    return path.split(b"/") if path else []


def check_path(path):
    """Refuses what is no path below a root."""
    require(len(path) <= 65535, "a path is too long")
    for part in order(path):
        require(0 < len(part) <= 4095 and b"\0" not in part, "a path has a bad component")
        require(part not in (b".", b".."), "a path has a dot component")


class Run(Bytes):
    """Reads the fields of a run."""

    def varint(self, limit=1 << 64):
        """Reads a number below the limit."""
        number = 0
        for shift in range(0, 70, 7):
            byte = self.number(1)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                require(byte or not shift, "a number is longer than needed")
                require(number < min(limit, 1 << 64), "a number is too large")
                return number
        require(False, "a number is too long")

    def zigzag(self):
        """Reads a signed number."""
        number = self.varint()
        return (number >> 1) ^ -(number & 1)

    def bytes(self):
        """Reads bytes with their length."""
        return self.take(self.varint())

    def name(self):
        """Reads an owner's name, if there is one."""
        length = self.varint()
        return self.take(length - 1) if length else None

    def time(self):
        """Reads a time."""
        return (self.zigzag(), self.varint(10**9))


def read_run(data):
    """Reads the entries of a run."""
    run, entries, before, span = Run(data), [], None, None
    while run:
        entry, span = read_entry(run, before, span)
        require(before is None or order(before.path) < order(entry.path), "paths out of order")
        entries.append(entry)
        before = entry
    return entries


def read_entry(run, before, span):
    """Reads one entry; `span` is the last span so far."""
    previous = before.path if before else b""
    shared, rest = run.varint(), run.bytes()
    require(shared <= len(previous), "a path shares more than there is")
    require(not rest or previous[shared : shared + 1] != rest[:1], "a path shares too little")
    entry = Entry(previous[:shared] + rest, 0)
    check_path(entry.path)
    head = run.number(1)
    entry.kind, same_owner = head & 15, head & 16
    has_xattrs, dense = head & 32, head & 64
    require(entry.kind <= FIFO and head < 128, "an unknown kind")
    require(not dense or entry.kind == FILE, "only files are dense")
    entry.mode = run.varint(0o10000)
    if same_owner:
        require(before is not None, "the first entry repeats no owner")
        entry.uid, entry.gid, entry.user, entry.group = before.owner()
    else:
        entry.uid, entry.gid = run.varint(2**32 - 1), run.varint(2**32 - 1)
        entry.user, entry.group = run.name(), run.name()
        require(before is None or before.owner() != entry.owner(), "an owner is repeated")
    entry.mtime, entry.ctime = run.time(), run.time()
    entry.inode = ((before.inode if before else 0) + run.zigzag()) % 2**64
    entry.links = run.varint()
    if has_xattrs:
        entry.xattrs = [(run.bytes(), run.bytes()) for _ in range(run.varint())]
        names = [name for name, _ in entry.xattrs]
        require(names and names == sorted(set(names)), "attributes are not in order")
        require(all(name and b"\0" not in name for name in names), "an attribute has a bad name")
    if entry.kind == FILE:
        span = read_file(run, entry, dense, span)
    elif entry.kind == SYMLINK:
        entry.target = run.bytes()
        good = 0 < len(entry.target) <= 65535 and b"\0" not in entry.target
        require(good, "a link has a bad target")
    elif entry.kind == HARDLINK:
        entry.target = run.bytes()
        check_path(entry.target)
        require(entry.target and order(entry.target) < order(entry.path), "a link to a later path")
    elif entry.kind in (CHAR, BLOCK):
        entry.device = (run.varint(2**32), run.varint(2**32))
    return entry, span


def read_file(run, entry, dense, span):
    """Reads what only files have; returns the last span so far."""
    entry.size = run.varint()
    whole = [(0, entry.size)] if entry.size else []
    if dense:
        entry.extents = whole
    else:
        end = 0
        for number in range(run.varint()):
            gap, length = run.varint(), run.varint()
            require(length and (gap or not number), "an extent is empty or touches the last")
            entry.extents.append((end + gap, length))
            end += gap + length
        require(end <= entry.size and entry.extents != whole, "extents do not fit the file")
    for _ in range(run.varint()):
        form = run.number(1)
        require(form <= 3, "an unknown span")
        if form < 2:
            chunk = run.take(32)
            offset = 0 if form else run.varint(2**32)
            good = (span is None or span[0] != chunk) and (form or offset)
        else:
            require(span is not None, "a span continues nothing")
            chunk, ended = span[0], span[1] + span[2]
            offset = run.varint(2**32) if form == 2 else ended
            good = form == 3 or offset != ended
        length = run.varint(2**32)
        require(good and length and offset + length < 2**32, "a bad span")
        span = (chunk, offset, length)
        entry.spans.append(span)
    return span


def read_leaf(data):
    """Reads a leaf: its entries, and the ids of blobs of spans for some positions."""
    data, listed = Bytes(data), []
    for _ in range(data.number(4)):
        position, count = data.number(4), data.number(4)
        listed.append((position, [data.take(32) for _ in range(count)]))
    entries = read_run(data.rest())
    require(all(position < len(entries) for position, _ in listed), "a leaf lists no entry of its own")
    return entries, listed


def read_spans(data):
    """Reads a blob of spans."""
    data, spans = Bytes(data), []
    while data:
        span = (data.take(32), data.number(4), data.number(4))
        require(span[2] and span[1] + span[2] < 2**32, "a bad span")
        spans.append(span)
    require(len(spans) <= 4096, "too many spans")
    return spans


def read_node(data):
    """Reads a node: its level and its children with their first paths."""
    data, children = Bytes(data), []
    level = data.number(1)
    require(level > 0, "a node has no level")
    while data:
        child, path = data.take(32), data.take(data.number(4))
        check_path(path)
        require(not children or order(children[-1][1]) < order(path), "children out of order")
        children.append((child, path))
    return level, children


def read_refs(data):
    """Reads references: their level and ids."""
    data, ids = Bytes(data), []
    level = data.number(1)
    while data:
        ids.append(data.take(32))
    return level, ids
