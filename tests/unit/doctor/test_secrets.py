"""Secrets in URIs: they are never shown, however wrong the URI is."""

from __future__ import annotations

import io
import sys
import time

import pytest

from otel_mongo_apm._doctor.cli import main
from otel_mongo_apm._doctor.secrets import Secrets, without_credentials

PARTS = ("adalovelace", "s3cr3t", "W0rd")

URIS = [
    "mongodb://adalovelace:s3cr3tW0rd@127.0.0.1:1/",
    "mongodb://adalovelace%40:%73%33cr3t%2FW0rd@127.0.0.1:1/?authSource=admin",
    # Not escaped: PyMongo takes what is before the / for a server, or complains.
    "mongodb://adalovelace:1234/s3cr3tW0rd@127.0.0.1:1/",
    "mongodb://adalovelace:s3cr3t@W0rd/@127.0.0.1:1/",
    "mongodb://adalovelace:s3cr3t/W0rd@127.0.0.1:1/",
    "mongodb://adalovelace:s3cr3t?W0rd@127.0.0.1:1/",
    "mongodb://adalovelace:s3cr3t@W0rd@127.0.0.1:1/",
    "mongodb://adalovelace:s3cr3t:W0rd@127.0.0.1:1/",
    "mongodb://adalovelace:s3cr3t%W0rd@127.0.0.1:1/",
    "mongodb://adalovelace:s3cr3t'\"\\W0rdé@127.0.0.1:port/",
    "mongodb://:s3cr3tW0rd@127.0.0.1:1/",
    "mongodb://adalovelace:s3cr3tW0rd@",
    "mongodb://adalovelace:s3cr3tW0rd@127.0.0.1:99999/",
    "mongodb://adalovelace:s3cr3tW0rd@127.0.0.1:1,127.0.0.1:2:3/",
    "mongodb://adalovelace:s3cr3tW0rd@127.0.0.1:1/?authMechanism=s3cr3tW0rd",
    # Other schemes, or none.
    "mongo://adalovelace:s3cr3tW0rd@127.0.0.1:1/",
    "mongodb:/adalovelace:s3cr3tW0rd@127.0.0.1:1/",
    "adalovelace:s3cr3tW0rd@127.0.0.1:1",
    "mongodb+srv://adalovelace:s3cr3tW0rd@127.0.0.1/",
    "mongodb+srv://adalovelace:s3cr3tW0rd@local:1/",
    # Options that are secret, and options that are mistyped.
    "mongodb://127.0.0.1:1/?tlsCertificateKeyFile=/none&tlsCertificateKeyFilePassword=s3cr3tW0rd",
    "mongodb://127.0.0.1:1/?tlsCertificateKeyFilePasword=s3cr3tW0rd",
    "mongodb://127.0.0.1:1/?authMechanismProperties=AWS_SESSION_TOKEN:s3cr3tW0rd",
    "mongodb://127.0.0.1:1/?authMechanismProperties=s3cr3tW0rd",
    "mongodb://127.0.0.1:1/?proxyPassword=s3cr3tW0rd&proxyHost=none",
]


def shown(capsys):
    printed = capsys.readouterr()
    return [part for part in PARTS if part in printed.out + printed.err], printed


@pytest.mark.parametrize("uri", URIS)
def test_uris(capsys, caplog, uri):
    """Neither the user nor the password, nor a part of it, is printed or logged."""
    assert main(["--timeout", "0.2", uri]) == 1

    parts, printed = shown(capsys)
    assert parts == []
    assert not any(part in caplog.text for part in PARTS)
    assert "The ping failed. " in printed.out or "The URI was not used. " in printed.out
    assert printed.err == ""


def test_json(capsys):
    """As JSON there are no more secrets than in the text."""
    main(["--timeout", "0.2", "--json", URIS[0]])

    assert shown(capsys)[0] == []


def test_standard_input(capsys, monkeypatch):
    """A URI may come from the standard input, where no list of processes shows it."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{URIS[0]}\n"))

    assert main(["--timeout", "0.2", "-"]) == 1
    parts, printed = shown(capsys)
    assert parts == []
    assert "127.0.0.1:1 " in printed.out


@pytest.mark.parametrize("arguments", [[URIS[0], URIS[0]], ["--uri", URIS[0], "x"]])
def test_wrong_arguments(capsys, arguments):
    """Arguments that are not understood are not repeated, as one of them may be a URI."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert shown(capsys)[0] == []


def test_a_wrong_argument_with_a_secret_option(capsys):
    """Neither is a URI without a user repeated, as one of its options may be a secret."""
    with pytest.raises(SystemExit):
        main(["x", "mongodb://db.example/?tlsCertificateKeyFilePassword=W0rd"])

    assert "W0rd" not in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["QUERY_TEXT", "METRICS"])
def test_a_uri_in_a_variable(capsys, monkeypatch, variable):
    """A URI that ended up in the wrong place has its credentials hidden there, too."""
    monkeypatch.setenv(f"OTEL_PYTHON_MONGO_APM_{variable}", URIS[0])

    assert main([]) == 1
    parts, printed = shown(capsys)
    assert parts == []
    assert f"{variable}='mongodb://***@127.0.0.1:1/'" in printed.out


def test_what_else_is_said():
    """A message without a secret in it is shown as it is."""
    assert Secrets(URIS[0]).withheld("connection refused") == "connection refused"
    assert Secrets("mongodb://127.0.0.1/").withheld("any") == "any"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a mongodb://u:p@h/ b mongodb+srv://u:p@h", "a mongodb://***@h/ b mongodb+srv://***@h"),
        ("'mongodb://u:p@w@h'", "'mongodb://***@h'"),
        ("mongodb://u:mongodb://p@h", "mongodb://***@h"),
        ("mongodb:/u:p@h", "mongodb:/***@h"),
        ("a@mongodb://h", "a@mongodb://h"),
        ("mongodb://h\n@", "mongodb://h\n@"),
    ],
)
def test_text_with_uris(text, expected):
    """Credentials are left out of each URI in a text, and of nothing else."""
    assert without_credentials(text) == expected


@pytest.mark.parametrize("word", ["mongodb://", "mongodb:/", "mongodb+srv://", "u@", "/"])
def test_text_without_an_end(word):
    """A variable with 200,000 characters of URIs takes a moment: its time grows with its length."""
    text = word * 20_000
    began = time.perf_counter()
    without_credentials(text)

    assert time.perf_counter() - began < 1.0  # One scheme after the other took half a minute.
