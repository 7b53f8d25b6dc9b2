"""A repository in a folder: opened, listed, walked, restored, verified."""

import os
import re
import stat
from datetime import datetime, timedelta, timezone

import entries
from common import NUMBER, Refused, checked_line, digest, keyed, parse_json, require, unhex
from keys import open_slot, slot_name
from packs import CHUNK, LEAF, MANIFEST, NODE, REFS, SPANS, Pack, read_segment

HEX = re.compile(r"[0-9a-f]{64}")


class Repository:
    """A repository in a folder; blobs are found by reading all packs, without the index."""

    def __init__(self, folder):
        self.folder = folder
        data = self.read("bkpctl.json")
        number = parse_json(data).get("format")
        require(number == NUMBER, f"the repository has format {number}, this program knows {NUMBER}")
        self.marker = checked_line(data)
        features = self.marker["features"]
        unknown = [name for name, need in features.items() if need not in ("write", "collect")]
        require(not unknown, f"features that this program does not know: {unknown}")
        self.domain = unhex(self.marker["domain"], 32)
        self.key = None
        self.blobs = {}
        self.opened = {}

    def read(self, name):
        """Returns a file's bytes; those that are named by their hash must fit it."""
        with open(os.path.join(self.folder, name), "rb") as file:
            data = file.read()
        base = os.path.basename(name)
        if name.startswith("recovery/"):
            base = base.partition("-")[2].partition(".")[0]
        if HEX.fullmatch(base):
            require(digest(data).hex() == base, f"{name}: its bytes do not hash to its name")
        return data

    def list(self, folder):
        """Returns the names of all files below a folder."""
        found = []
        for at, _, names in os.walk(os.path.join(self.folder, folder)):
            found += [os.path.relpath(os.path.join(at, name), self.folder) for name in names]
        return sorted(name for name in found if os.path.basename(name) != "lock")

    def unlock(self, passphrase):
        """Tries a passphrase on every slot."""
        for name in self.list("keys"):
            data = self.read(name)
            require(os.path.basename(name) == slot_name(data), f"{name}: another slot's name")
            key = open_slot(data, passphrase)
            if key:
                return key
        raise Refused("the passphrase opens no slot")

    def use(self, key):
        """Opens the repository with a key and finds every blob."""
        require(key.domain == self.domain, "the key is of another domain")
        require(self.marker["recipient"] == key.public.hex(), "the marker has another recipient")
        self.key = key
        for name in self.list("packs") + self.list("meta"):
            pack = Pack(self.read(name))
            is_data = name.startswith("packs/")
            for _, blob in pack.blobs:
                require((blob.kind == CHUNK) == is_data and blob.kind != MANIFEST, f"{name}: kinds")
                self.blobs.setdefault((blob.kind, blob.id), (name, pack, blob))

    def get(self, writer, kind, blob_id):
        """Returns the plain bytes of a blob, checked against its keyed id."""
        require((kind, blob_id) in self.blobs, f"blob {blob_id.hex()[:16]} is in no pack")
        name, pack, blob = self.blobs[kind, blob_id]
        if name not in self.opened:
            self.opened[name] = pack.sessions(self.key)
        keys, _ = self.opened[name]
        plain = blob.plain(keys, self.domain)
        require(writer.id(kind, plain) == blob_id, "a blob is not what its id says")
        return plain

    def snapshots(self):
        """Opens every manifest."""
        return [Snapshot(self, name) for name in self.list("snapshots")]

    def snapshot(self, wanted):
        """Finds a snapshot by the beginning of its id, or the newest."""
        found = self.snapshots()
        if wanted != "latest":
            found = [snapshot for snapshot in found if snapshot.clear["id"].startswith(wanted)]
        require(found, f"no snapshot {wanted}")
        return max(found, key=lambda snapshot: snapshot.clear["started"])

    def check_index(self):
        """Compares every segment with the packs it is about."""
        for name in self.list("index"):
            for pack in read_segment(self.read(name)):
                folder = {1: "packs", 2: "meta"}[pack["folder"]]
                file = f"{folder}/{pack['hash'].hex()[:2]}/{pack['hash'].hex()}"
                if not os.path.exists(os.path.join(self.folder, file)):
                    continue
                found = Pack(self.read(file))
                real = {
                    (blob.id, offset, 104 + len(blob.payload), blob.kind, blob.plain_len)
                    for offset, blob in found.blobs
                }
                require(found.size == pack["size"] and real == pack["entries"], f"{name}: {file}")

    def check_receipts(self):
        """Checks that the receipts of each chain follow one another."""
        last = {}
        for name in self.list("receipts"):
            data = self.read(name)
            receipt = checked_line(data)
            members = {"format", "chain", "number", "snapshot", "manifest", "received", "previous"}
            require(set(receipt) == members and receipt["format"] == NUMBER, f"{name}: no receipt")
            number, before = last.get(receipt["chain"], (0, bytes(32)))
            require(name == f"receipts/{receipt['chain']}/{receipt['number']:012}", f"{name}: name")
            require(receipt["number"] == number + 1, f"{name}: a receipt is missing")
            require(receipt["previous"] == before.hex(), f"{name}: it does not follow")
            last[receipt["chain"]] = (receipt["number"], digest(data))
            if os.path.exists(os.path.join(self.folder, receipt["snapshot"])):
                manifest = digest(self.read(receipt["snapshot"])).hex()
                require(manifest == receipt["manifest"], f"{name}: another manifest")

    def verify(self):
        """Reads and checks everything; returns how many snapshots and entries there are."""
        self.check_index()
        self.check_receipts()
        for name in self.list("recovery"):
            self.read(name)
        for name in self.list("keys"):
            require(os.path.basename(name) == slot_name(self.read(name)), f"{name}: another slot")
        count = 0
        snapshots = self.snapshots()
        for snapshot in snapshots:
            needed = snapshot.references()
            for entry in snapshot.walk():
                count += 1
                for _ in snapshot.pieces(entry):
                    pass
            require(needed == snapshot.seen, "the references are not what the tree needs")
        return len(snapshots), count


def compact(nanoseconds):
    """Returns a time as it stands in names."""
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=nanoseconds // 10**6)
    return moment.strftime("%Y%m%dT%H%M%S.") + f"{moment.microsecond // 1000:03}Z"


class Snapshot:
    """One snapshot, its manifest checked."""

    def __init__(self, repository, name):
        self.repository = repository
        data = repository.read(name)
        line, _, rest = data.partition(b"\n")
        mac, _, rest = rest.partition(b"\n")
        require(len(line) <= 4096 and len(mac) == 64, f"{name}: no manifest")
        self.clear = clear = parse_json(line)
        require(clear["format"] == NUMBER, f"{name}: another format")
        self.writer = repository.key.writer(clear["writer"])
        code = keyed(self.writer.mac_key, line + b"\n" + rest)
        require(mac == code.hex().encode(), f"{name}: it was changed")
        expected = f"snapshots/{clear['source']}/{compact(clear['started'])}-{clear['id'][:8]}"
        require(name == expected, f"{name}: its name does not fit")
        pack = Pack(rest)
        require(len(pack.records) == 1 and len(pack.blobs) == 1, f"{name}: no sealed part")
        blob = pack.blobs[0][1]
        keys, labels = pack.sessions(repository.key)
        plain = blob.plain(keys, repository.domain)
        good = blob.kind == MANIFEST and labels[blob.session] == clear["writer"]
        require(good and self.writer.id(MANIFEST, plain) == blob.id, f"{name}: another writer")
        self.sealed = parse_json(plain)
        require(self.sealed["clear"] == digest(line).hex(), f"{name}: parts of two manifests")
        self.seen = set()

    def get(self, kind, blob_id):
        """Returns a blob's plain bytes and remembers that it was needed."""
        self.seen.add(blob_id)
        return self.repository.get(self.writer, kind, blob_id)

    def references(self):
        """Returns all ids that the references name."""
        found, waiting = set(), [(unhex(self.clear["refs"], 32), None)]
        while waiting:
            blob_id, expected = waiting.pop()
            level, ids = entries.read_refs(self.repository.get(self.writer, REFS, blob_id))
            require(expected is None or level == expected, "references of another level")
            if level:
                waiting += [(child, level - 1) for child in ids]
            else:
                found.update(ids)
        return found

    def walk(self):
        """Returns the entries in order, those with many spans completed."""
        last = None
        for entry in self.below(unhex(self.sealed["tree"], 32), None):
            require(last is None or entries.order(last) < entries.order(entry.path), "out of order")
            last = entry.path
            yield entry

    def below(self, blob_id, expected):
        level, children = entries.read_node(self.get(NODE, blob_id))
        require(expected is None or level == expected, "a node of another level")
        for child, first in children:
            if level > 1:
                yield from self.below(child, level - 1)
                continue
            found, listed = entries.read_leaf(self.get(LEAF, child))
            require(found and found[0].path == first, "a leaf begins elsewhere")
            for position, ids in listed:
                for spans in ids:
                    found[position].spans += entries.read_spans(self.get(SPANS, spans))
            yield from found

    def find(self, path):
        """Returns the entry of a path, a hard link resolved."""
        for entry in self.walk():
            if entry.path == path:
                return self.find(entry.target) if entry.kind == entries.HARDLINK else entry
        raise Refused(f"the snapshot has no {path!r}")

    def pieces(self, entry):
        """Returns a file's data as offsets and bytes."""
        data = (piece for span in entry.spans for piece in [self.piece(span)])
        total = sum(length for _, length in entry.extents)
        require(sum(span[2] for span in entry.spans) == total, "spans do not fill the extents")
        piece = b""
        for offset, left in entry.extents:
            while left:
                piece = piece or next(data)
                now, piece = piece[:left], piece[left:]
                yield offset, now
                offset, left = offset + len(now), left - len(now)

    def piece(self, span):
        chunk, offset, length = span
        plain = self.get(CHUNK, chunk)
        require(offset + length <= len(plain), "a span lies outside its chunk")
        return plain[offset : offset + length]

    def restore(self, target):
        """Writes all entries below a folder that does not exist."""
        os.mkdir(target)
        target, folders = os.fsencode(target), []
        for entry in self.walk():
            path = os.path.join(target, entry.path) if entry.path else target
            if entry.kind == entries.DIR:
                if entry.path:
                    os.mkdir(path)
                folders.append((path, entry))
                continue
            self.place(entry, path, target)
        for path, entry in reversed(folders):
            dress(path, entry)

    def place(self, entry, path, target):
        """Makes what is no folder."""
        if entry.kind == entries.HARDLINK:
            os.link(os.path.join(target, entry.target), path, follow_symlinks=False)
            return
        if entry.kind == entries.FILE:
            with open(path, "xb") as file:
                for offset, data in self.pieces(entry):
                    file.seek(offset)
                    file.write(data)
                file.truncate(entry.size)
        elif entry.kind == entries.SYMLINK:
            os.symlink(entry.target, path)
        elif entry.kind == entries.FIFO:
            os.mkfifo(path)
        else:
            kind = stat.S_IFCHR if entry.kind == entries.CHAR else stat.S_IFBLK
            os.mknod(path, kind, os.makedev(*entry.device))
        dress(path, entry)


def dress(path, entry):
    """Sets owner, attributes, mode and time, as far as the user may."""
    if os.geteuid() == 0:
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    for name, value in entry.xattrs:
        if os.geteuid() == 0 or name.startswith(b"user."):
            os.setxattr(path, name, value, follow_symlinks=False)
    if entry.kind != entries.SYMLINK:
        os.chmod(path, entry.mode)
    nanoseconds = entry.mtime[0] * 10**9 + entry.mtime[1]
    os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)
