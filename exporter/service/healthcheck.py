"""`smg-exporter healthcheck`: ask the exporter on this machine whether it serves."""

from pathlib import Path

from exporter.addresses import local_host
from exporter.errors import SettingsError
from exporter.options.healthcheck import HealthcheckOptions
from exporter.paths import HEALTHY
from exporter.printable import printable
from exporter.service.asking import Answer, CertificateWantedError, NoAnswerError, ask


def healthcheck(options: HealthcheckOptions) -> int:
    """Print the result in one line; exit code 0 if an exporter serves, else 1.

    Without `--user`, an exporter that demands a password or a client certificate counts as serving. With `--user`,
    only an answer of 200 does; the password is sent to an exporter that asks for it.
    """
    user = (options.user, password(options.password_file)) if options.user and options.password_file else None
    try:
        answer = ask(local_host(options.listen_host), options.metrics_port, HEALTHY[0], user)
    except CertificateWantedError as error:
        serves, found = user is None, str(error)
    except NoAnswerError as error:
        serves, found = False, str(error)
    else:
        serves = answer.is_ours and (answer.status == 200 or (answer.status == 401 and user is None))  # noqa: PLR2004 - HTTP's own numbers
        found = _told(answer)
    print(f"{found}: {'it serves' if serves else 'not healthy'}")
    return 0 if serves else 1


def _told(answer: Answer) -> str:
    if not answer.is_ours:
        return f"{answer.url}: answered by {printable(answer.server) or 'an unknown server'}, not by smg-exporter"
    text = printable(answer.body.decode("utf-8", "replace").strip())
    return f"{answer.url}: {answer.status}, {text}"


def password(file: Path) -> str:
    """Return the password that a file holds; SettingsError if it cannot be read."""
    try:
        return file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
        raise SettingsError(f"--password-file: {str(file)!r} is not readable: {reason}") from None
