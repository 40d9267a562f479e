"""The web configuration file: one file per mistake in webconfigs/, whose first line says what is to be said of it."""

import ssl
from pathlib import Path

import bcrypt
import pytest

from exporter.web.access.access import Access
from exporter.web.access.webconfig import HEADERS, WebConfigError, read
from tests.support.certificates import Authority, encrypt_key

MISTAKES = sorted((Path(__file__).parent / "webconfigs").glob("*.yml"))
EXAMPLE = Path(__file__).parents[3] / "config" / "web-config.yml"
HASH = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key, "


@pytest.fixture(scope="session", name="certificates")
def _certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory of the files that the mistakes name."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = Authority(directory)
    authority.issue("server")
    authority.issue("other")
    encrypt_key(directory / "server.key", directory / "encrypted.key")
    return directory


def written(directory: Path, text: str) -> Path:
    file = directory / "web.yml"
    file.write_text(text)
    return file


def problem(file: Path) -> str:
    with pytest.raises(WebConfigError) as caught:
        Access(file)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("mistake", MISTAKES, ids=[file.stem for file in MISTAKES])
def test_a_mistake_is_named_in_one_line(certificates: Path, mistake: Path) -> None:
    file = certificates / mistake.name
    text = mistake.read_text()
    file.write_text(text)
    expected = text.splitlines()[0].removeprefix("# ")
    line = problem(file)
    assert line == expected.replace("FILE", str(file)).replace("DIR", str(certificates))
    assert "secret" not in line, "a log is no place for a password, whatever it is mistaken for"


def test_a_missing_file(tmp_path: Path) -> None:
    assert problem(tmp_path / "no.yml") == f"{tmp_path / 'no.yml'}: No such file or directory"
    assert problem(tmp_path) == f"{tmp_path}: Is a directory"


@pytest.mark.parametrize(
    "text",
    [b"\xff\xfe\x00", b"a: 2026-13-45", b"[" * 500, b"\x00", b"a: !secret b", b"? [a, b]\n: c"],
    ids=["no UTF-8", "no date", "deep", "NUL", "unknown tag", "a list as key"],
)
def test_odd_texts(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "web.yml"
    file.write_bytes(text)
    assert problem(file).startswith(f"{file}: not valid YAML")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n",
        "tls_server_config: {}\n",
    ],
)
def test_a_file_may_say_nothing(tmp_path: Path, text: str) -> None:
    config = read(written(tmp_path, text))
    assert config.tls_server_config is None
    assert (config.basic_auth_users, config.http_server_config.headers, config.files) == ({}, {}, ())


def test_files_are_relative_to_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, TLS + "client_auth_type: VerifyClientCertIfGiven, client_ca_file: /etc/ca.crt}")
    assert read(file).files == (tmp_path / "server.crt", tmp_path / "server.key", Path("/etc/ca.crt"))


def test_every_key_has_its_effect_on_the_context(certificates: Path) -> None:
    text = """{TLS}
        client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt,
        min_version: TLS12, max_version: TLS12, prefer_server_cipher_suites: false, curve_preferences: [CurveP384],
        cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]}}
    """
    access = Access(written(certificates, text.format(TLS=TLS).replace("}}", "}")))
    context = access._loaded.context
    assert context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2,) * 2
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"] == [
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ]
    assert len(context.get_ca_certs()) == 1


def test_the_defaults_are_the_toolkits(certificates: Path) -> None:
    context = Access(written(certificates, TLS + "}"))._loaded.context
    assert context
    assert context.verify_mode is ssl.CERT_NONE
    assert (context.minimum_version, context.maximum_version) == (
        ssl.TLSVersion.TLSv1_2,
        ssl.TLSVersion.TLSv1_3,
    )
    assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE


@pytest.mark.parametrize(
    ("client_auth_type", "mode"),
    [
        ("NoClientCert", ssl.CERT_NONE),
        ("RequestClientCert", ssl.CERT_NONE),
        ("VerifyClientCertIfGiven, client_ca_file: ca.crt", ssl.CERT_OPTIONAL),
        ("RequireAndVerifyClientCert, client_ca_file: ca.crt", ssl.CERT_REQUIRED),
    ],
)
def test_client_auth_types(certificates: Path, client_auth_type: str, mode: ssl.VerifyMode) -> None:
    context = Access(written(certificates, f"{TLS}client_auth_type: {client_auth_type}}}"))._loaded.context
    assert context
    assert context.verify_mode is mode


@pytest.mark.parametrize("curve", ["CurveP256", "CurveP384", "CurveP521", "X25519"])
def test_each_curve_is_known_to_openssl(certificates: Path, curve: str) -> None:
    assert Access(written(certificates, f"{TLS}curve_preferences: [{curve}]}}")).tls


def test_cipher_suites_of_tls_13_are_taken_beside_others_or_where_there_is_no_12(certificates: Path) -> None:
    mixed = "cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}"
    assert Access(written(certificates, TLS + mixed)).tls
    assert Access(
        written(certificates, TLS + "min_version: TLS13, cipher_suites: [TLS_AES_128_GCM_SHA256]}")
    ).tls


@pytest.mark.parametrize(
    "keys", ["cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", "curve_preferences: [X25519]"]
)
def test_an_openssl_without_an_algorithm(
    certificates: Path, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    def refuse(*_: object) -> None:
        raise ssl.SSLError("not here") if keys.startswith("cipher") else ValueError("not here")

    monkeypatch.setattr(ssl.SSLContext, "set_ciphers", refuse)
    monkeypatch.setattr(ssl.SSLContext, "set_ecdh_curve", refuse)
    assert "this OpenSSL has not the cipher_suites or curve_preferences: " in problem(
        written(certificates, TLS + keys + "}")
    )


@pytest.mark.parametrize("name", ["server.crt", "server.key", "ca.crt"])
def test_a_file_that_goes_while_it_is_looked_at(
    certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("exporter.web.access.tls._must_be_readable", lambda *_: None)
    for file in certificates.glob("*.[ck]*"):
        if file.name != name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    keys = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt}"
    assert name in problem(written(tmp_path, TLS + keys))


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_users(tmp_path: Path, prefix: str) -> None:
    password_hash = HASH.replace("$2b$", prefix)
    file = written(tmp_path, f"basic_auth_users:\n  alice: {password_hash}\n  böb: '{password_hash}'\n")
    assert read(file).basic_auth_users == {"alice": password_hash, "böb": password_hash}
    assert password_hash not in repr(read(file))


def test_headers(tmp_path: Path) -> None:
    headers = {name: values[0] if values else "some" for name, values in HEADERS.items()}
    text = "".join(f"    {name}: {value}\n" for name, value in headers.items())
    config = read(written(tmp_path, f"http_server_config:\n  http2: false\n  headers:\n{text}"))
    assert config.http_server_config.headers == headers
    zero = read(written(tmp_path, "http_server_config: {headers: {X-XSS-Protection: 0}}"))
    assert zero.http_server_config.headers == {"X-XSS-Protection": "0"}


def test_the_example_is_taken(certificates: Path) -> None:
    file = written(certificates, EXAMPLE.read_text())
    access = Access(file)
    assert access.tls
    assert access._loaded.users
