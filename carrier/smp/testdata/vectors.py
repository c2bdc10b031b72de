#!/usr/bin/env python3
"""Makes vectors.json, with another implementation than ours (python3-cryptography).
docs/smp2020.md describes the formats. Keys and IVs are fixed; RSA keys, salts and
OAEP seeds are fresh at each run."""
import base64, hashlib, json, struct
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

b64 = lambda b: base64.b64encode(b).decode()
key = rsa.generate_private_key(65537, 2048)
spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
pkcs8 = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def block(k, base, counter, content):
    iv = struct.pack(">I", struct.unpack(">I", base[:4])[0] ^ counter) + base[4:]
    sealed = AESGCM(k).encrypt(iv, content.ljust(4080, b"#"), None)
    return sealed[-16:] + sealed[:-16]


snd, snd_iv, rcv, rcv_iv = bytes(range(32)), bytes(range(0xA0, 0xB0)), bytes(range(32, 64)), bytes(range(0xC0, 0xD0))
header = struct.pack(">IH", 4096, 0) + snd + snd_iv + rcv + rcv_iv
sid = b"0123456789abcdef"
signed = b64(sid).encode() + b"\nSEND 5\n\n#\r\n\x00\n"


def sign(salt):
    return key.sign(signed, padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt), hashes.SHA256())


send = b64(sign(32)).encode() + b"\n" + signed + b"\n"
msg = b"\n" + b64(sid).encode() + b"\nMSG 2020-10-15T12:00:00.123Z :two  spaces\n"
reserved = b"KEY " + b64(spki).encode()
inner, inner_iv, inner_key = reserved + b"\nhello\nBob\n", bytes(16), bytes([7]) * 32
sealed = AESGCM(inner_key).encrypt(inner_iv, inner, None)
json.dump({
    "private": b64(pkcs8),
    "hello": b64(struct.pack(">IHH", 4096, 0, len(spki)) + spki),
    "hash": base64.urlsafe_b64encode(hashlib.sha256(spki).digest()).decode().rstrip("="),
    "header": b64(key.public_key().encrypt(header, oaep)),
    "welcome": b64(block(rcv, rcv_iv, 0, b"v0.2.0 ")),
    "client": [b64(block(snd, snd_iv, 0, send + send)), b64(block(snd, snd_iv, 1, b"\n\nSUB\n"))],
    "client_last": b64(block(snd, snd_iv, 0xFFFFFFFF, b"\n\nSUB\n")),
    "server": [b64(block(rcv, rcv_iv, 1, msg))],
    "signed": b64(signed),
    "signatures": [b64(sign(n)) for n in (0, 20, 32, 222)],
    "out_of_band": " ".join([b64(spki), b64(sid), "relay.example:5224", b64(hashlib.sha256(spki).digest())]),
    "inner": b64(inner),
    "sealed": b64(key.public_key().encrypt(inner_key + inner_iv + sealed[-16:], oaep) + sealed[:-16]),
}, open("vectors.json", "w"), indent=1)
