"""Makes the server's TLS context from a web configuration."""

import ssl
from pathlib import Path

from exporter.web.access.webconfig import TLSServerConfig, WebConfigError

_SECTION = "tls_server_config"


def make_context(config: TLSServerConfig) -> ssl.SSLContext:
    """Return a context; reads the files that `config` names. WebConfigError, with key and file, if one is invalid."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = config.min_version
    context.maximum_version = config.max_version
    _set_algorithms(context, config)
    _load_certificate(context, config.cert_file, config.key_file)
    if config.client_ca_file:
        _load_client_ca(context, config.client_ca_file)
    context.verify_mode = config.client_auth_type
    return context


def _set_algorithms(context: ssl.SSLContext, config: TLSServerConfig) -> None:
    if not config.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        if ciphers := [cipher for cipher in config.cipher_suites if cipher]:
            context.set_ciphers(":".join(ciphers))
        for curve in config.curve_preferences:
            context.set_ecdh_curve(curve)
    except (ssl.SSLError, ValueError) as error:  # disabled in this build, or by the system's policy
        raise WebConfigError(
            f"{_SECTION}: this OpenSSL has not the cipher_suites or curve_preferences: {error}"
        ) from None


def _load_certificate(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    _must_be_readable("cert_file", cert)
    _must_be_readable("key_file", key)
    try:
        # With a password, even an empty one, OpenSSL does not prompt for it on the terminal.
        context.load_cert_chain(cert, key, password="")
    except OSError as error:  # usually an ssl.SSLError, else a file was removed meanwhile
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            raise _error("key_file", key, f"is not the key of cert_file, {str(cert)!r}") from None
        if _is_certificate(cert):
            raise _error("key_file", key, "is not a PEM private key without a password") from None
        raise _error("cert_file", cert, "is not a PEM certificate that OpenSSL takes") from None


def _load_client_ca(context: ssl.SSLContext, file: Path) -> None:
    _must_be_readable("client_ca_file", file)
    try:
        context.load_verify_locations(file)
    except OSError:
        raise _error("client_ca_file", file, "holds no PEM certificate") from None


def _is_certificate(file: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
    except OSError:
        return False
    return True


def _must_be_readable(key: str, file: Path) -> None:
    try:
        file.read_bytes()
    except OSError as error:
        raise WebConfigError(f"{_SECTION}.{key}: {str(file)!r} is not readable: {error.strerror}") from None


def _error(key: str, file: Path, fault: str) -> WebConfigError:
    return WebConfigError(f"{_SECTION}.{key}: {str(file)!r} {fault}")
