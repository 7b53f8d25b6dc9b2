"""The command line of the second reader."""

import argparse
import json
import os
import sys

import entries
from common import Refused
from keys import parse_code, parse_key_file
from repository import Repository


def arguments():
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Reads a repository of bkpctl.")
    parser.add_argument("repository")
    parser.add_argument("--key-file")
    parser.add_argument("--code-file")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("snapshots")
    verbs.add_parser("verify")
    verbs.add_parser("ls").add_argument("snapshot")
    cat = verbs.add_parser("cat")
    cat.add_argument("snapshot")
    cat.add_argument("path")
    restore = verbs.add_parser("restore")
    restore.add_argument("snapshot")
    restore.add_argument("target")
    return parser.parse_args()


def find_key(args, repository):
    """Returns the key: from its file, from a recovery code, or with BKPCTL_PASSPHRASE."""
    if args.key_file:
        with open(args.key_file, encoding="utf-8") as file:
            return parse_key_file(file.read())
    if args.code_file:
        with open(args.code_file, encoding="utf-8") as file:
            return parse_code(file.read())
    return repository.unlock(os.environb[b"BKPCTL_PASSPHRASE"])


def describe(entry):
    """Returns an entry as JSON; bytes that are no text are kept as escapes."""
    text = lambda data: None if data is None else data.decode("utf-8", "backslashreplace")
    return {
        "path": text(entry.path),
        "kind": entries.KINDS[entry.kind],
        "mode": f"{entry.mode:04o}",
        "owner": [entry.uid, entry.gid, text(entry.user), text(entry.group)],
        "mtime": entry.mtime,
        "xattrs": {text(name): value.hex() for name, value in entry.xattrs},
        "size": entry.size,
        "extents": entry.extents,
        "target": text(entry.target),
        "device": entry.device,
    }


def run(args):
    """Does what the verb says."""
    repository = Repository(args.repository)
    repository.use(find_key(args, repository))
    if args.verb == "snapshots":
        for snapshot in repository.snapshots():
            print(json.dumps({**snapshot.clear, "paths": snapshot.sealed["paths"]}))
    elif args.verb == "verify":
        snapshots, count = repository.verify()
        print(f"{snapshots} snapshots, {count} entries: everything fits")
    elif args.verb == "ls":
        for entry in repository.snapshot(args.snapshot).walk():
            print(json.dumps(describe(entry)))
    elif args.verb == "cat":
        snapshot, at = repository.snapshot(args.snapshot), 0
        entry = snapshot.find(os.fsencode(args.path))
        for offset, data in snapshot.pieces(entry):
            sys.stdout.buffer.write(bytes(offset - at) + data)
            at = offset + len(data)
        sys.stdout.buffer.write(bytes(entry.size - at))
    else:
        repository.snapshot(args.snapshot).restore(args.target)


if __name__ == "__main__":
    try:
        run(arguments())
    except (Refused, OSError, KeyError, TypeError) as error:
        sys.exit(f"refused: {error}")
