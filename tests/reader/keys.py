"""Keys: derivations, texts, passphrase slots and sealed session keys."""

import hashlib
import hmac

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from common import NUMBER, Refused, checked_line, derive, keyed, require, unhex

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def hkdf_extract(salt, material):
    """HKDF-Extract with SHA-256."""
    return hmac.new(salt or bytes(32), material, hashlib.sha256).digest()


def hkdf_expand(key, info, length):
    """HKDF-Expand with SHA-256."""
    out, block = b"", b""
    for count in range(1, 256):
        if len(out) >= length:
            break
        block = hmac.new(key, block + info + bytes([count]), hashlib.sha256).digest()
        out += block
    return out[:length]


KEM = b"KEM" + (0x0020).to_bytes(2, "big")
SUITE = b"HPKE" + b"".join(n.to_bytes(2, "big") for n in (0x0020, 0x0001, 0x0003))


def labeled_extract(suite, salt, label, material):
    """LabeledExtract of RFC 9180."""
    return hkdf_extract(salt, b"HPKE-v1" + suite + label + material)


def labeled_expand(suite, key, label, info, length):
    """LabeledExpand of RFC 9180."""
    return hkdf_expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def derive_key_pair(material):
    """DeriveKeyPair of DHKEM(X25519, HKDF-SHA256): returns the private key and the public one."""
    secret = labeled_expand(KEM, labeled_extract(KEM, b"", b"dkp_prk", material), b"sk", b"", 32)
    private = X25519PrivateKey.from_private_bytes(secret)
    return private, private.public_key().public_bytes_raw()


def hpke_key(shared_with, private, encapsulated, recipient, info):
    """Returns key and nonce of a base mode context; both ends compute the same."""
    exchanged = private.exchange(X25519PublicKey.from_public_bytes(shared_with))
    prk = labeled_extract(KEM, b"", b"eae_prk", exchanged)
    secret = labeled_expand(KEM, prk, b"shared_secret", encapsulated + recipient, 32)
    psk_hash = labeled_extract(SUITE, b"", b"psk_id_hash", b"")
    info_hash = labeled_extract(SUITE, b"", b"info_hash", info)
    context = b"\0" + psk_hash + info_hash
    prk = labeled_extract(SUITE, secret, b"secret", b"")
    return (
        labeled_expand(SUITE, prk, b"key", context, 32),
        labeled_expand(SUITE, prk, b"base_nonce", context, 12),
    )


def hpke_open(private, recipient, encapsulated, info, bound, sealed):
    """Opens the one message of a base mode context."""
    key, nonce = hpke_key(encapsulated, private, encapsulated, recipient, info)
    return aead_open(ChaCha20Poly1305, key, nonce, sealed, bound)


def hpke_seal(material, recipient, info, bound, plain):
    """Seals one message with the ephemeral key that follows from `material`."""
    private, encapsulated = derive_key_pair(material)
    key, nonce = hpke_key(recipient, private, encapsulated, recipient, info)
    return encapsulated, ChaCha20Poly1305(key).encrypt(nonce, plain, bound)


def aead_open(cipher, key, nonce, sealed, bound):
    """Decrypts and checks."""
    try:
        return cipher(key).decrypt(nonce, sealed, bound)
    except (InvalidTag, ValueError) as error:
        raise Refused("a ciphertext was changed, or another key sealed it") from error


class Writer:
    """What names and authenticates one label's blobs and manifests."""

    def __init__(self, root, label):
        good = 0 < len(label) <= 64 and not label.startswith(".")
        good = good and all(c.isascii() and (c.isalnum() or c in "._-") for c in label)
        require(good, "no label of a writer")
        self.label = label
        self.id_key = derive("writer id key", root + label.encode())
        self.mac_key = derive("writer mac key", root + label.encode())

    def id(self, kind, plain):
        """Returns a blob's id."""
        return keyed(self.id_key, plain + bytes([kind]))


class Key:
    """A reading key: everything follows from its seed."""

    def __init__(self, seed):
        require(len(seed) == 32, "a seed has 32 bytes")
        self.seed = seed
        self.private, self.public = derive_key_pair(derive("recipient private key", seed))
        self.root = derive("root secret", seed)
        self.domain = derive("key domain id", self.public + derive("root check", self.root))

    def writer(self, label):
        """Returns the keys of a label."""
        return Writer(self.root, label)

    def mac_proof(self, data):
        """Returns the code of a proof."""
        return keyed(derive("proof mac key", self.root), data)

    def open_session(self, record):
        """Opens the key in a session record."""
        bound = self.domain + record["id"] + record["label"].encode()
        info = f"bkpctl format {NUMBER} session key".encode()
        return hpke_open(
            self.private, self.public, record["encapsulated"], info, bound, record["sealed"]
        )


def text_check(seed):
    """Returns what key files and recovery codes carry to find typing mistakes."""
    return derive("key text check", seed)


def parse_key_file(text):
    """Reads a key file."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    require(len(lines) >= 4 and lines[0] == f"bkpctl-reading-key {NUMBER}", "no key file")
    fields = dict(line.split(" ", 1) for line in lines[1:4] if " " in line)
    key = Key(unhex(fields.get("key"), 32))
    require(fields.get("check") == text_check(key.seed)[:4].hex(), "the check does not fit")
    require(fields.get("domain") == key.domain.hex(), "the domain does not fit")
    return key


def parse_code(text):
    """Reads a recovery code."""
    letters = "".join(text.split()).replace("-", "").upper().translate(str.maketrans("OIL", "011"))
    require(len(letters) == 56 and all(c in DIGITS for c in letters), "no recovery code")
    number = 0
    for letter in letters:
        number = number * 32 + DIGITS.index(letter)
    data = number.to_bytes(35, "big")
    require(text_check(data[:32])[:3] == data[32:], "a letter of the code was misread")
    return Key(data[:32])


def print_code(seed):
    """Returns a recovery code."""
    number = int.from_bytes(seed + text_check(seed)[:3], "big")
    letters = "".join(DIGITS[number >> 5 * place & 31] for place in reversed(range(56)))
    return "-".join(letters[at : at + 7] for at in range(0, 56, 7))


def open_slot(data, passphrase):
    """Opens a passphrase slot; a wrong passphrase gives nothing."""
    slot = checked_line(data)
    expected = {"format", "kind", "domain", "argon2id", "salt", "commitment", "sealed"}
    require(isinstance(slot, dict) and set(slot) == expected, "no key slot")
    require((slot["format"], slot["kind"]) == (NUMBER, "passphrase"), "another kind of slot")
    cost = slot["argon2id"]
    require(isinstance(cost, dict) and set(cost) == {"memory_kib", "passes"}, "no key slot")
    memory, passes = cost["memory_kib"], cost["passes"]
    require(isinstance(memory, int) and 19456 <= memory <= 2097152, "the slot's memory is not allowed")
    require(isinstance(passes, int) and 1 <= passes <= 16, "the slot's passes are not allowed")
    domain = unhex(slot["domain"], 32)
    derived = hash_secret_raw(
        passphrase, unhex(slot["salt"], 16), passes, memory, 1, 64, Type.ID, version=0x13
    )
    if not hmac.compare_digest(derived[32:], unhex(slot["commitment"], 32)):
        return None
    seed = aead_open(ChaCha20Poly1305, derived[:32], bytes(12), unhex(slot["sealed"], 48), domain)
    key = Key(seed)
    require(key.domain == domain, "the slot holds a key of another domain")
    return key


CIPHERS = {1: ChaCha20Poly1305, 2: AESGCM}


def nonce(counter):
    """Returns the nonce of a counter."""
    return bytes(4) + counter.to_bytes(8, "little")


def slot_name(data):
    """Returns the name that a slot's file has."""
    return "passphrase-" + checked_line(data)["salt"][:16]
