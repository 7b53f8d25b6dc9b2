"""Checks the known answers in tests/vectors with the second reader."""

import json
import os
import sys

import blake3

import chunks
import entries
import keys
import packs
from common import NUMBER, Bytes, Refused, checked_line, digest, keyed, require


def same(what, found, known):
    """Refuses another answer than the known one."""
    require(found == known, f"{what}: {found!r} is not {known!r}")


def check_keys(known):
    """Derivations, ids, codes and texts."""
    for answer in known["keys"]:
        seed = bytes.fromhex(answer["seed"])
        key = keys.Key(seed)
        same("public", key.public.hex(), answer["public"])
        same("domain", key.domain.hex(), answer["domain"])
        same("proof", key.mac_proof(b"bkpctl").hex(), answer["proof_of_bkpctl"])
        same("key file", keys.parse_key_file(answer["key_file"]).seed, seed)
        same("code", keys.print_code(seed), answer["recovery_code"])
        typed = answer["recovery_code"].lower().replace("-", " ").replace("0", "o")
        same("typed code", keys.parse_code(typed).seed, seed)
        for writer in answer["writers"]:
            mine = key.writer(writer["label"])
            parts = [key.domain, key.public, mine.id_key, mine.mac_key, mine.label.encode()]
            whole = f"bkpwrit{NUMBER}".encode() + b"".join(parts)
            same("writer key", whole.hex(), writer["writer_key"])
            same("MAC", keyed(mine.mac_key, b"bkpctl").hex(), writer["mac_of_bkpctl"])
            for blob in writer["ids"]:
                plain = bytes.fromhex(blob["plain"])
                same("id", mine.id(blob["kind"], plain).hex(), blob["id"])


def check_sessions(known):
    """Sealing and opening of a session's key."""
    key = keys.Key(bytes.fromhex(known["seed"]))
    record = packs.session_record(Bytes(bytes.fromhex(known["record"])))
    session_key = bytes.fromhex(known["session_key"])
    same("session key", key.open_session(record), session_key)
    bound = key.domain + record["id"] + record["label"].encode()
    info = f"bkpctl format {NUMBER} session key".encode()
    material = bytes.fromhex(known["ephemeral_ikm"])
    sealed = keys.hpke_seal(material, key.public, info, bound, session_key)
    same("sealed session", sealed, (record["encapsulated"], record["sealed"]))


def check_packs(known):
    """Seals of both ciphers, a pack and its segment."""
    key = keys.Key(bytes.fromhex(known["seed"]))
    writer = key.writer(known["label"])
    data = bytes.fromhex(known["pack"])
    same("pack name", digest(data).hex(), known["pack_name"])
    pack = packs.Pack(data)
    sessions, labels = pack.sessions(key)
    same("labels", set(labels.values()), {known["label"]})
    same("blobs", len(pack.blobs), len(known["blobs"]))
    for (offset, blob), answer in zip(pack.blobs, known["blobs"]):
        plain = blob.plain(sessions, key.domain)
        same("plain", plain.hex(), answer["plain"])
        same("id", writer.id(blob.kind, plain).hex(), answer["id"])
        whole = bytes.fromhex(answer["blob"])
        same("place", data[offset : offset + len(whole)], whole)
        if blob.cipher:
            cipher = keys.CIPHERS[blob.cipher](bytes.fromhex(known["session_key"]))
            again = cipher.encrypt(keys.nonce(blob.counter), plain, blob.bound + key.domain)
            same("seal", again, blob.payload)
    [segment] = packs.read_segment(bytes.fromhex(known["segment"]))
    same("segment's pack", (segment["hash"].hex(), segment["size"]), (known["pack_name"], len(data)))
    real = {
        (blob.id, offset, 104 + len(blob.payload), blob.kind, blob.plain_len)
        for offset, blob in pack.blobs
    }
    same("segment's entries", segment["entries"], real)


def check_slots(known):
    """Passphrase slots."""
    for answer in known["slots"]:
        slot = answer["slot"].encode()
        same("slot's name", "keys/" + keys.slot_name(slot), answer["name"])
        key = keys.open_slot(slot, answer["passphrase"].encode())
        require(key is not None, "a passphrase opens no slot")
        same("slot's seed", key.seed.hex(), known["seed"])
        require(keys.open_slot(slot, b"wrong") is None, "a wrong passphrase opens a slot")


def check_chunks(known):
    """Cuts of described inputs."""
    for case in known["cases"]:
        if case.get("zeros"):
            data = bytes(case["length"])
        else:
            data = blake3.blake3(case["xof_of"].encode()).digest(length=case["length"])
        same("chunks", chunks.chunks(data), case["chunks"])


def check_lines(known):
    """Lines with a check, and the chain of receipts."""
    before = bytes(32)
    for line, manifest in zip(known["receipts"], known["manifests"]):
        receipt = checked_line(line.encode())
        same("manifest", receipt["manifest"], digest(bytes.fromhex(manifest)).hex())
        same("previous", receipt["previous"], before.hex())
        before = digest(line.encode())


def check_trees(known):
    """A run of entries, and that what is cut off or turned round is refused."""
    data = bytes.fromhex(known["run"])
    found = entries.read_run(data)
    same("entries", len(found), len(known["entries"]))
    for entry, answer in zip(found, known["entries"]):
        for name, value in answer.items():
            mine = getattr(entry, name)
            same(f"{answer['path']} {name}", plain_form(mine), value)
    try:
        entries.read_run(data[:-1])
    except Refused:
        return
    raise Refused("a run that is cut off was taken")


def plain_form(value):
    """Returns bytes as digits and tuples as lists."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [plain_form(part) for part in value]
    return value


def check_rfc_9180():
    """The first base mode test of this suite in RFC 9180, A.2.1."""
    material = bytes.fromhex("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b")
    recipient = bytes.fromhex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
    info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
    plain = bytes.fromhex("4265617574792069732074727574682c20747275746820626561757479")
    encapsulated, sealed = keys.hpke_seal(material, recipient, info, b"Count-0", plain)
    same(
        "RFC 9180 enc",
        encapsulated.hex(),
        "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
    )
    same(
        "RFC 9180 ct",
        sealed.hex(),
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
    )


def main(folder):
    """Checks every file of answers."""
    checks = {name[6:]: check for name, check in globals().items() if name.startswith("check_")}
    checks.pop("rfc_9180")()
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            checks.pop(name.removesuffix(".json"))(json.load(file))
    require(not checks, f"no answers for {sorted(checks)}")
    print("all known answers are given")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Refused as error:
        sys.exit(f"refused: {error}")
