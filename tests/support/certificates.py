"""Certificates of an authority made for a test, as files."""

import ssl
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)


class Authority:
    """Issues certificates into a directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._authority = trustme.CA()
        self.file = directory / f"{name}.crt"
        self._authority.cert_pem.write_to_path(self.file)

    def issue(self, name: str) -> None:
        """Write `name`.crt and `name`.key, for a server on the loopback interface or a client."""
        certificate = self._authority.issue_cert("localhost", "127.0.0.1")
        (self._directory / f"{name}.crt").write_bytes(
            b"".join(part.bytes() for part in certificate.cert_chain_pems)
        )
        certificate.private_key_pem.write_to_path(self._directory / f"{name}.key")

    def client(self, name: str = "") -> ssl.SSLContext:
        """Return a client's context that trusts the authority, and shows the certificate `name`."""
        context = ssl.create_default_context(cafile=self.file)
        if name:
            context.load_cert_chain(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        return context


def encrypt_key(key: Path, encrypted: Path) -> None:
    """Write a private key as one that needs a password."""
    private_key = load_pem_private_key(key.read_bytes(), None)
    encrypted.write_bytes(
        private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
