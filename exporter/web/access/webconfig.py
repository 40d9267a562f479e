"""Parses the web configuration file of Prometheus' exporter-toolkit into values, or an error of one line.

    tls_server_config:                  # absent: plain HTTP
      cert_file: server.crt             # PEM: the server's certificate, then intermediate ones
      key_file: server.key              # PEM, not encrypted
      client_auth_type: NoClientCert    # RequestClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert
      client_ca_file: clients.crt       # PEM: who signs clients' certificates
      min_version: TLS12                # TLS12, TLS13
      max_version: TLS13
      cipher_suites: []                 # of TLS 1.2, by their IANA names, in order of preference; none: the defaults
      prefer_server_cipher_suites: true
      curve_preferences: []             # one of CurveP256, CurveP384, CurveP521, X25519; none: the defaults
    http_server_config:
      http2: true                       # accepted and ignored: only HTTP/1.1 is served, which every client can speak
      headers: {}                       # see HEADERS
    basic_auth_users:                   # absent: everybody is admitted
      alice: $2y$10$...                 # name: bcrypt hash

Paths are relative to this file's directory. Settings that the toolkit accepts and then ignores are errors here: a TLS
section without a certificate, a client CA without verification, verification without a client CA. Python's ssl module
cannot demand a certificate without verifying it (RequireAnyClientCert), and takes one curve only. TLS before 1.2 is not
supported. RequestClientCert equals NoClientCert: the certificate would not be used.
"""

import re
import reprlib
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from exporter import strict_yaml

CLIENT_AUTH_TYPES = {
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
CIPHER_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    # TLS 1.3 suites are always on, here as in Go; naming them has no effect.
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
}
"""IANA's names, used in the file -> OpenSSL's names."""
CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that may be set -> the values allowed; empty: any value."""
MAX_COST = 16
"""Highest bcrypt cost (a logarithm): with more, checking a password takes longer than a scraper waits."""

_REFUSED = {
    "cert": "not supported; put it in a file, and name that as cert_file",
    "key": "not supported; put it in a file, and name that as key_file",
    "client_ca": "not supported; put it in a file, and name that as client_ca_file",
    "client_allowed_sans": "not supported; have the CA of client_ca_file sign those clients only",
    "rate_limit": "not supported; --max-requests limits the scrapes in flight",
    "RequireAnyClientCert": "not supported, for it takes any certificate unverified",
}
"""The toolkit's keys and values that are refused here -> why."""


class WebConfigError(Exception):
    """An invalid file; its str is one line with file, key, value and what is allowed, without secrets."""


# A parser takes a value of the file, and returns it or raises ValueError("VALUE is not ALLOWED"), as in `values`.
def _choice(choices: Mapping[str, object]) -> PlainValidator:
    def parse(value: object) -> object:
        if isinstance(value, str) and value in choices:
            return choices[value]
        reason = f" ({_REFUSED[value]})" if isinstance(value, str) and value in _REFUSED else ""
        raise ValueError(f"{_shown(value)} is not {_one_of(choices)}{reason}")

    return PlainValidator(parse)


def _file(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not re.fullmatch("[^\0]+", value):
        raise ValueError(f"{_shown(value)} is not the name of a file")
    return cast("Path", info.context) / value


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is not true or false")  # noqa: TRY004 - pydantic lets a TypeError through
    return value


def _headers(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} is not a mapping of headers")  # noqa: TRY004 - as above
    for name, text in value.items():
        if name not in HEADERS:
            raise ValueError(f"{_shown(name)} is not {_one_of(HEADERS)}")
        if HEADERS[name] and text not in HEADERS[name]:
            raise ValueError(f"{name}: {_shown(text)} is not {_one_of(HEADERS[name])}")
        if type(text) not in {str, int} or not str(text).isprintable():
            raise ValueError(f"{name}: {_shown(text)} is not a text of one line")
    return {name: str(text) for name, text in value.items()}


def _user(value: object) -> str:
    if not isinstance(value, str) or not value or ":" in value:
        raise ValueError(f"{_shown(value)} is not a name: a text without a colon")
    return value


def _password_hash(value: object) -> str:
    match = re.fullmatch(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", str(value))
    if match and 4 <= int(match[1]) <= MAX_COST:  # noqa: PLR2004 - bcrypt's lowest cost
        return match[0]
    raise ValueError(
        f"the value, which is not shown, is not a bcrypt hash of a cost from 4 to {MAX_COST}: "
        "$2y$10$ and 53 characters; htpasswd -nBC 10 NAME prints one"
    )


File = Annotated[Path, PlainValidator(_file)]
Switch = Annotated[bool, PlainValidator(_switch)]
Version = Annotated[ssl.TLSVersion, _choice(VERSIONS)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {
            name: value for name, value in values.items() if value is not None or name not in cls.model_fields
        }


class TLSServerConfig(_Section):
    """The section `tls_server_config`, in the terms of Python's ssl and OpenSSL."""

    cert_file: File
    key_file: File
    client_auth_type: Annotated[ssl.VerifyMode, _choice(CLIENT_AUTH_TYPES)] = ssl.CERT_NONE
    client_ca_file: File | None = None
    min_version: Version = ssl.TLSVersion.TLSv1_2
    max_version: Version = ssl.TLSVersion.TLSv1_3
    cipher_suites: list[Annotated[str, _choice(CIPHER_SUITES)]] = []
    prefer_server_cipher_suites: Switch = True
    curve_preferences: list[Annotated[str, _choice(CURVES)]] = []

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        verifies = self.client_auth_type is not ssl.CERT_NONE
        if verifies and not self.client_ca_file:
            raise ValueError("client_ca_file: required, for client_auth_type says to verify")
        if self.client_ca_file and not verifies:
            raise ValueError(
                "client_ca_file: without effect unless client_auth_type is "
                "VerifyClientCertIfGiven or RequireAndVerifyClientCert"
            )
        if self.min_version > self.max_version:
            raise ValueError("min_version: 'TLS13' is above max_version, 'TLS12'")
        if self.cipher_suites and not any(self.cipher_suites) and self.min_version < ssl.TLSVersion.TLSv1_3:
            raise ValueError(
                "cipher_suites: none of them is of TLS 1.2; leave them out, or say min_version: TLS13"
            )
        if len(self.curve_preferences) > 1:
            raise ValueError(
                f"curve_preferences: {len(self.curve_preferences)} curves; Python can be held to one"
            )
        return self


class HTTPServerConfig(_Section):
    """The section `http_server_config`."""

    http2: Switch = True
    headers: Annotated[dict[str, str], PlainValidator(_headers)] = {}


class WebConfig(_Section):
    """The whole file."""

    tls_server_config: TLSServerConfig | None = None
    http_server_config: HTTPServerConfig = HTTPServerConfig()
    basic_auth_users: dict[
        Annotated[str, PlainValidator(_user)], Annotated[str, PlainValidator(_password_hash)]
    ] = Field(default={}, repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that this configuration names."""
        tls = self.tls_server_config
        return (
            tuple(file for file in (tls.cert_file, tls.key_file, tls.client_ca_file) if file) if tls else ()
        )


_SECTIONS: dict[str, type[_Section]] = {
    "tls_server_config": TLSServerConfig,
    "http_server_config": HTTPServerConfig,
}


def read(path: Path) -> WebConfig:
    """Parse a file; WebConfigError if it is invalid. The files that it names are not read."""
    try:
        return _parse(path.read_bytes(), path.parent)
    except OSError as error:
        raise WebConfigError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        problems = "; ".join(map(_problem, error.errors()))
        raise WebConfigError(f"{path}: {problems}") from None
    except UnicodeDecodeError:  # its message quotes the file, secrets included
        raise WebConfigError(f"{path}: not valid YAML in UTF-8") from None
    except strict_yaml.InvalidYAMLError as error:
        raise WebConfigError(f"{path}: not valid YAML: {error}") from None


def _parse(text: bytes, directory: Path) -> WebConfig:
    values = strict_yaml.load(text.decode())
    if isinstance(values, dict) and values.get("tls_server_config") == {}:
        del values["tls_server_config"]
    return WebConfig.model_validate({} if values is None else values, context=directory)


def _problem(detail: ErrorDetails) -> str:
    """Return the error in one value, after its key: `tls_server_config.min_version: ...`."""
    *parents, name = detail["loc"] or ("",)
    match detail["type"]:
        case "extra_forbidden" | "invalid_key":
            section = _SECTIONS.get(str(parents[0]) if parents else "", WebConfig)
            reason = _REFUSED.get(str(name)) or f"no such key; there are {', '.join(section.model_fields)}"
        case "missing":
            reason = "required"
        case "list_type":
            reason = f"{_shown(detail['input'])} is not a list"
        case "model_type":
            reason = f"{_shown(detail['input'])} is not a mapping"
        case "dict_type":  # the users: their hashes must not be logged
            reason = "not a mapping of names to bcrypt hashes"
        case _:
            reason = detail["msg"].removeprefix("Value error, ")
    key = ".".join(str(part) for part in detail["loc"] if part != "[key]")
    return f"{key}: {reason}" if key else reason


def _one_of(choices: Mapping[str, object] | tuple[str, ...]) -> str:
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last


def _shown(value: object) -> str:
    return reprlib.repr(value)
