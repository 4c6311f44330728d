"""Objects as paths, over fsspec's memory; S3 itself is in tests/jobs/test_object_storage.py."""

import time

import fsspec
import pytest

from unskew.common import UserError, any_path, is_url, replacing, storage


@pytest.fixture
def store():
    """Empty before and after."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    yield memory
    memory.store.clear()


def write(url, content):
    with replacing(any_path(url), "wb") as file:
        file.write(content)


def test_a_path_names_what_pathlibs_would():
    path = any_path("s3://bucket/year=2025/part.jsonl.gz")
    assert (path.name, path.suffix, str(path.parent)) == ("part.jsonl.gz", ".gz", "s3://bucket/year=2025")
    assert path.parts == ("bucket", "year=2025", "part.jsonl.gz")
    assert list(map(str, path.parents)) == ["s3://bucket/year=2025", "s3://bucket"]
    assert str(path.with_name("x") / "y") == "s3://bucket/year=2025/x/y"
    assert any_path("s3://bucket/a/") == any_path("s3://bucket/a")
    assert not is_url("C:/rows.jsonl")
    assert not is_url("/rows/s3://x")


def test_objects_are_written_listed_read_and_deleted(store):
    for name in ("a/1.jsonl", "a/2.jsonl", "a/x=1/3.jsonl", "ab.jsonl"):
        write(f"memory://b/{name}", name.encode())
    folder = any_path("memory://b/a")
    assert [path.name for path in folder.iterdir()] == ["1.jsonl", "2.jsonl", "x=1"]
    assert [path.name for path in folder.glob("*.jsonl")] == ["1.jsonl", "2.jsonl"]
    assert [path.name for path in folder.files()] == ["1.jsonl", "2.jsonl", "3.jsonl"]
    found = [path.name for path in any_path("memory://b/**/*.jsonl").expand()]
    assert found == ["1.jsonl", "2.jsonl", "3.jsonl", "ab.jsonl"]
    assert (folder.is_dir(), folder.is_file(), (folder / "1.jsonl").is_file()) == (True, False, True)
    assert (folder / "1.jsonl").read_bytes() == b"a/1.jsonl"
    (folder / "1.jsonl").unlink()
    (folder / "1.jsonl").unlink(missing_ok=True)
    assert not (folder / "1.jsonl").exists()
    assert list(any_path("memory://b/none").iterdir()) == []
    for look in (lambda path: path.open(), lambda path: path.stat(), lambda path: path.unlink()):
        with pytest.raises(FileNotFoundError):
            look(any_path("memory://b/none"))


def test_a_large_object_is_read_in_ranges_and_sought_in(store):
    content = bytes(range(256)) * 2**17
    write("memory://b/large", content)
    with any_path("memory://b/large").open() as file:
        assert file.seek(-10, 2) == len(content) - 10
        assert file.read() == content[-10:]
        file.seek(7)
        assert file.read(20) == content[7:27]
    assert any_path("memory://b/large").read_bytes() == content


def test_nothing_is_written_where_the_block_fails(store):
    def write_half():
        with replacing(any_path("memory://b/x")) as file:
            file.write("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert not any_path("memory://b/x").exists()


def test_a_new_object_replaces_none_but_its_equal(store):
    write("memory://b/x", b"mine")
    with replacing(any_path("memory://b/x"), "wb", new=True) as file:
        file.write(b"mine")  # as where an answer is lost and the request made again
    with (
        pytest.raises(UserError, match="memory://b/x was written by another process"),
        replacing(any_path("memory://b/x"), "wb", new=True) as file,
    ):
        file.write(b"other")
    assert any_path("memory://b/x").read_bytes() == b"mine"


def test_a_rewritten_object_has_another_number(store):
    write("memory://b/x", b"one")
    before = any_path("memory://b/x").stat()
    assert any_path("memory://b/x").stat() == before
    write("memory://b/x", b"two")
    assert any_path("memory://b/x").stat() != before


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAKEY:hidden-secret@bucket/a.jsonl",
        "s3://bucket/a.jsonl?X-Amz-Signature=hidden-secret",
        "https://user:hidden-secret@host/a.jsonl",
        "ftp://user:hidden-secret@host/a.jsonl",
    ],
)
def test_an_url_with_credentials_is_refused_and_not_repeated(url):
    with pytest.raises(UserError) as refused:
        any_path(url)
    assert "hidden-secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["s3://", "s3:///", "https://host/a.jsonl", "file:///a.jsonl", "x1://a"])
def test_an_url_of_no_known_store_is_refused(url):
    with pytest.raises(UserError, match="give s3://"):
        any_path(url)


def test_what_a_client_quotes_of_secrets_is_not_repeated(store, monkeypatch):
    monkeypatch.setenv("FSSPEC_S3_SECRET", "hidden-secret")

    class TalkativeError(Exception):
        pass

    def fail(*_, **__):
        raise TalkativeError("GET https://host/a?sig=hidden-sig with hidden-secret failed")

    monkeypatch.setattr(type(store), "info", fail)
    with pytest.raises(UserError, match=r"cannot read memory://b/x: TalkativeError: GET https://host/a") as refused:
        any_path("memory://b/x").stat()
    assert "hidden" not in str(refused.value)
    assert refused.value.__suppress_context__  # a trace would print the client's own error


def test_a_store_that_does_not_answer_is_given_up(store, monkeypatch):
    monkeypatch.setattr(storage, "ANSWERED_WITHIN", 0.05)
    monkeypatch.setattr(type(store), "info", lambda *_, **__: time.sleep(5))
    with pytest.raises(UserError, match="the store does not answer"):
        any_path("memory://b/x").exists()


def test_a_store_whose_package_is_missing_names_it(monkeypatch):
    def missing(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(UserError, match=r'`pip install "unskew\[s3\]"`'):
        any_path("s3://bucket/x").exists()
