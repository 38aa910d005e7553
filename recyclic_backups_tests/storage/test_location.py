"""A storage URL is read strictly: a backup that lands where nobody looks is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.errors import ConfigurationError, StorageMissing
from recyclic_backups.storage.local import LocalStore
from recyclic_backups.storage.location import StorageLocation, parse_storage_url
from recyclic_backups.storage.opening import open_store


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///var/backups", "/var/backups"),
        ("file:////var/backups/", "/var/backups"),
        ("file://./backups", "backups"),
        ("file://../backups", "../backups"),
        ("file://.", "."),
        ("FILE:///var/backups", "/var/backups"),
        (" file:///var/backups\n", "/var/backups"),
        ("file:///my%20disk/100%25/%C3%A9t%C3%A9", "/my disk/100%/été"),
        ("file:///mnt/a%3Fb%23c", "/mnt/a?b#c"),
        ("file://./été", "été"),
    ],
)
def test_a_file_url_names_a_directory(url: str, path: str) -> None:
    """The path that is written must be the path that is meant."""
    assert parse_storage_url(url) == StorageLocation("file", Path(path))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "the storage is empty"),
        ("  ", "the storage is empty"),
        ("/var/backups", "the storage is not a URL"),
        ("./backups", "the storage is not a URL"),
        ("file://", "names no directory"),
        ("file:/var/backups", "names no directory"),
        ("file:backups", "names no directory"),
        ("file:///", "top directory"),
        ("file://host/backups", "names a host"),
        ("file://backups", "names a host"),
        ("file://.backups", "names a host"),
        ("file://user:hunter2@host/x", "names a host"),
        ("file:///a?b", r"bare \? or #"),
        ("file:///a#b", r"bare \? or #"),
        ("file:///100%", "not an escape"),
        ("file:///a%00b", "control character"),
        ("file:///a\nb", "control character"),
        ("s3://key:hunter2@bucket/prefix", "file:// storages only, and s3:"),
        ("az://container", "file:// storages only, and az:"),
        ("gs://bucket", "file:// storages only, and gs:"),
        ("sftp://user:hunter2@host/path", "file:// storages only, and sftp:"),
        ("postgresql://user:hunter2@host/app", "file:// storages only, and postgresql:"),
        ("memory:", "file:// storages only, and memory:"),
    ],
)
def test_anything_else_is_a_wrong_setting(url: str, message: str) -> None:
    """A URL read with good will is a directory called "host", or a backup that lives in memory."""
    with pytest.raises(ConfigurationError, match=message) as refused:
        open_store(url)
    assert refused.value.exit_code == 10
    assert refused.value.hint
    assert "hunter2" not in f"{refused.value} {refused.value.hint}"


@given(st.text())
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    """A stack trace in the place of the wrong variable's name helps nobody."""
    for url in (text, f"file://{text}"):
        try:
            location = parse_storage_url(url)
        except ConfigurationError:
            continue
        assert location.scheme == "file"


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_the_address_of_a_store_parses_to_the_same_store(text: str) -> None:
    """The address that is shown is copied into settings and commands."""
    path = Path("/backups") / text.strip("/")
    store = LocalStore(path)
    assert parse_storage_url(store.url).path == store.root


def test_opening_makes_the_directory_only_if_asked(tmp_path: Path) -> None:
    """Reading must leave no trace, and writing must not need a preparation."""
    url = (tmp_path / "backups").as_uri()
    with pytest.raises(StorageMissing):
        open_store(url, create=False)
    store = open_store(parse_storage_url(url))
    assert isinstance(store, LocalStore)
    assert store.url == url
    assert open_store(url, create=False).url == url
