"""The backups that the script before this project made, made the same way: pg_dump, openssl, gzip."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.server import Server

PASSPHRASE = "the old script's only passphrase é"


def dump(installation: Installation, server: Server, database: str, *options: str) -> bytes:
    """What ``pg_dump -Fc -Z9`` of the fixtures' installation writes."""
    argv = [installation.path("pg_dump"), *(options or ("-Fc", "-Z9"))]
    environment = {**os.environ, **server.environment(database)}
    return subprocess.run(argv, env=environment, check=True, capture_output=True).stdout


def encrypt(data: bytes, derivation: str = "pbkdf2", passphrase: str = PASSPHRASE) -> bytes:
    """As ``openssl enc -aes-256-cbc`` does; test_openssl.py holds this against files of the program itself."""
    salt = hashlib.sha256(data).digest()[:8]
    secret = passphrase.encode()
    if derivation == "pbkdf2":
        material = hashlib.pbkdf2_hmac("sha256", secret, salt, 10_000, 48)
    else:
        first = hashlib.new(derivation, secret + salt).digest()
        second = hashlib.new(derivation, first + secret + salt).digest()
        third = hashlib.new(derivation, second + secret + salt).digest()
        material = (first + second + third)[:48]
    padder = PKCS7(128).padder()
    padded = padder.update(data) + padder.finalize()
    encryptor = Cipher(algorithms.AES(material[:32]), modes.CBC(material[32:])).encryptor()
    return b"Salted__" + salt + encryptor.update(padded) + encryptor.finalize()


def wrap(data: bytes, layers: Sequence[str]) -> bytes:
    """The data inside layers, the innermost first: ``gzip``, or the name of a derivation."""
    for layer in layers:
        data = gzip.compress(data, 1) if layer == "gzip" else encrypt(data, layer)
    return data
