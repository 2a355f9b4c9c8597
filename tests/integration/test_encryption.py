"""Client-side encryption: its own traffic is told once, and nothing shows what was encrypted."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import pymongo
import pytest
from bson.codec_options import CodecOptions
from pymongo.encryption import Algorithm, ClientEncryption
from pymongo.encryption_options import AutoEncryptionOpts
from pymongo.monitoring import CommandListener
from versions import needs_async

from otel_mongo_apm import MongoInstrumentor, event_listeners
from otel_mongo_apm._setup.client import ours_among

pytest.importorskip("pymongocrypt")
pytestmark = pytest.mark.usefixtures("shop")

SECRET = "alice-whom-nobody-shall-see"
VAULT = "shop.keys"
LOCAL_KEY = {"local": {"key": b"k" * 96}}
RANDOM = Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Random
DETERMINISTIC = Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Deterministic


class Audit(CommandListener):
    """The commands that PyMongo sends, by name and collection, as somebody else counts them."""

    def __init__(self):
        self.sent = Counter()

    def started(self, event):
        collection = event.command.get(event.command_name)
        if isinstance(collection, str):  # Others are the driver's, or of no collection.
            self.sent[f"{event.command_name} {collection}"] += 1

    def succeeded(self, event):
        pass

    failed = succeeded


@pytest.fixture
def audit():
    return Audit()


@pytest.fixture(params=["instrument", "event_listeners"])
def listeners(request, telemetry, audit):
    """What clients are made with; raw text, as it shows the most."""
    settings = {**telemetry.providers, "query_text": "raw", "error_messages": True}
    if request.param == "instrument":
        MongoInstrumentor().instrument(**settings)
        return lambda: [audit]
    return lambda: [audit, *event_listeners(**settings)]


def schema(key):
    """What is encrypted of the people in the shop."""
    name = {"encrypt": {"bsonType": "string", "algorithm": DETERMINISTIC, "keyId": [key]}}
    return {"shop.people": {"bsonType": "object", "properties": {"name": name}}}


@contextmanager
def explicit(client):
    with ClientEncryption(LOCAL_KEY, VAULT, client, CodecOptions()) as encryption:
        yield encryption


def told(telemetry):
    """The commands that have spans, by name and collection, without the driver's own."""
    return Counter(span.name for span in telemetry.commands)


def all_that_is_told(telemetry):
    """Every text in every span and in every measurement."""
    spans = [
        (span.name, span.attributes, span.status.description, span.events)
        for span in telemetry.spans
    ]
    return repr(spans) + repr(
        [point for points in telemetry.metrics().values() for point in points]
    )


def test_explicit(mongodb_uri, telemetry, listeners, audit):
    """Values that the application encrypts are in no span, and each command has one."""
    with (
        pymongo.MongoClient(mongodb_uri, event_listeners=listeners()) as client,
        explicit(client) as encryption,
    ):
        key = encryption.create_data_key("local", key_alt_names=["people"])
        secret = encryption.encrypt(SECRET, DETERMINISTIC, key)
        client.shop.people.insert_one({"name": secret})
        found = client.shop.people.find_one({"name": secret})
        assert encryption.decrypt(found["name"]) == SECRET
        assert encryption.encrypt(SECRET, RANDOM, key_alt_name="people") != secret

    assert told(telemetry) == audit.sent
    assert audit.sent["insert keys"] == 1
    assert audit.sent["find keys"] >= 1
    assert SECRET not in all_that_is_told(telemetry)
    assert "people" in all_that_is_told(telemetry)


def encrypted(uri):
    """Write down a secret and its key; return the key."""
    with pymongo.MongoClient(uri) as client, explicit(client) as encryption:
        key = encryption.create_data_key("local")
        client.shop.people.insert_one({"name": encryption.encrypt(SECRET, DETERMINISTIC, key)})
    return key


@pytest.fixture
def options(mongodb_uri, listeners):
    """Automatic encryption by a schema, without mongocryptd, which would analyze queries."""
    key = encrypted(mongodb_uri)
    return AutoEncryptionOpts(LOCAL_KEY, VAULT, schema_map=schema(key), bypass_query_analysis=True)


def test_automatic(mongodb_uri, telemetry, listeners, audit, options):
    """Values that PyMongo decrypts are in no span, and the keys that it reads are told of once."""
    with pymongo.MongoClient(
        mongodb_uri, auto_encryption_opts=options, event_listeners=listeners()
    ) as client:
        audit.sent.clear()
        telemetry.forget()
        people = list(client.shop.people.find())
        assert [each["name"] for each in people] == [SECRET]

        assert audit.sent["find keys"] == 1
        assert told(telemetry) == audit.sent
        assert SECRET not in all_that_is_told(telemetry)
        reader = client._encrypter._internal_client
        assert reader is not client
        assert not set(ours_among(reader.options.event_listeners)) & set(
            ours_among(client.options.event_listeners)
        )


@needs_async
async def test_async(mongodb_uri, telemetry, listeners, audit, options):
    """So with an AsyncMongoClient."""
    async with pymongo.AsyncMongoClient(
        mongodb_uri, auto_encryption_opts=options, event_listeners=listeners()
    ) as client:
        audit.sent.clear()
        telemetry.forget()
        found = await client.shop.people.find_one()
        assert found["name"] == SECRET

        assert audit.sent["find keys"] == 1
        assert told(telemetry) == audit.sent
        assert SECRET not in all_that_is_told(telemetry)


def test_mongodbs_convention(mongodb_uri, telemetry, audit):
    """By MongoDB's own convention reading a key is part of the operation that needs it."""
    options = AutoEncryptionOpts(
        LOCAL_KEY, VAULT, schema_map=schema(encrypted(mongodb_uri)), bypass_query_analysis=True
    )
    MongoInstrumentor().instrument(
        **telemetry.providers, span_convention="mongodb", query_text="raw", events="none"
    )
    with pymongo.MongoClient(
        mongodb_uri, auto_encryption_opts=options, event_listeners=[audit]
    ) as client:
        audit.sent.clear()
        telemetry.forget()
        assert client.shop.people.find_one()["name"] == SECRET

    names = Counter(span.name for span in telemetry.spans)
    assert names["find shop.people"] == names["find shop.keys"] == 1
    assert names["find"] == audit.sent.total() == 2
    assert SECRET not in all_that_is_told(telemetry)
