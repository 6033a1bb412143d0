"""Large files: resumed, verified, never spliced, and errors that say what to do."""

import hashlib
import os
import re
import shutil
import threading
from types import SimpleNamespace

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files import download
from espnet2_bspmpnet.files.download import RemoteFile, fetch, verify
from tests.file_server import serving

CONTENT = bytes(range(256)) * 400
NAME = "set.zip"


@pytest.fixture
def server(monkeypatch):
    """A server that has one file; no pauses between attempts."""
    from huggingface_hub import close_session, constants

    monkeypatch.setattr(download, "_PAUSES", (0.01, 0.01))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # so is it written
    monkeypatch.setenv("NO_PROXY", "*")
    close_session()  # so that the next one sees that there is no proxy
    with serving({NAME: CONTENT}) as started:
        yield started
    close_session()


def described(server, **known):
    return RemoteFile(server.address(NAME), NAME, **known)


def known(content=CONTENT):
    md5 = hashlib.md5(content).hexdigest()
    return {"size": len(content), "checksum": f"md5:{md5}"}


def broken_off(server, folder, after=60_000):
    """Begin a download of which ``after`` bytes arrive; return the file with them."""
    server.troubles = [after, "404"]
    with pytest.raises(UserError, match="what has arrived is kept"):
        fetch(described(server), folder)
    (part,) = folder.glob("*.part")
    assert part.stat().st_size == after
    server.requests.clear()
    return part


@pytest.mark.parametrize("facts", [{}, known()], ids=["unknown", "known"])
def test_a_file_arrives_and_is_not_fetched_again(server, tmp_path, facts):
    remote = described(server, **facts)
    path = fetch(remote, tmp_path / "new")
    assert path == tmp_path / "new" / NAME
    assert path.read_bytes() == CONTENT
    assert list(path.parent.glob("*.part")) == []
    assert fetch(remote, tmp_path / "new") == path
    assert server.requests == [(NAME, 0)]


def test_progress_is_shown_by_the_files_name(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TQDM_POSITION", "-1")  # also where there is no terminal
    server.files["9/content"], server.etags["9/content"] = CONTENT, ""
    fetch(RemoteFile(server.address("9/content"), NAME), tmp_path)
    assert re.search(f"{NAME}: 100%.*102k/102k", capsys.readouterr().err)


def test_what_was_broken_off_is_resumed_in_the_next_run(server, tmp_path):
    broken_off(server, tmp_path)
    assert not (tmp_path / NAME).exists()
    assert fetch(described(server), tmp_path).read_bytes() == CONTENT
    assert server.requests == [(NAME, 60_000)]


def test_a_file_that_changed_meanwhile_is_fetched_from_scratch(server, tmp_path):
    broken_off(server, tmp_path)
    changed = CONTENT[::-1]
    server.files[NAME], server.etags[NAME] = changed, '"v2"'
    assert fetch(described(server), tmp_path).read_bytes() == changed
    assert list(tmp_path.glob("*.part")) == []


def test_a_file_that_changes_between_two_attempts_is_not_spliced(
    server, tmp_path, monkeypatch
):
    changed = CONTENT[::-1]
    server.troubles = [60_000]

    def change(_):
        server.files[NAME], server.etags[NAME] = changed, '"v2"'

    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", change)
    assert fetch(described(server), tmp_path).read_bytes() == changed
    assert server.requests == [(NAME, 0), (NAME, 0)]


def test_a_server_that_knows_no_ranges_sends_all_again(server, tmp_path):
    broken_off(server, tmp_path)
    server.knows_ranges = False
    assert fetch(described(server), tmp_path).read_bytes() == CONTENT


def test_a_server_that_states_no_length_sends_all_again(server, tmp_path):
    server.knows_ranges = server.states_length = False
    server.etags[NAME] = ""
    server.troubles = ["404"]
    with pytest.raises(UserError):
        fetch(described(server), tmp_path)
    assert fetch(described(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("troubles", [[60_000], ["503"], ["429", 700, "502"]])
def test_trouble_that_passes_does_not_end_the_download(server, tmp_path, troubles):
    server.troubles = troubles
    assert fetch(described(server), tmp_path).read_bytes() == CONTENT


def test_trouble_that_stays_ends_it_with_the_way_by_hand(server, tmp_path):
    server.troubles = ["503"] * 9
    said = f"answers 503 .*put it at {tmp_path / NAME} and run again"
    with pytest.raises(UserError, match=said):
        fetch(described(server), tmp_path)
    assert len(server.requests) == 1 + len(download._PAUSES)


def test_a_file_that_is_not_there_is_named_at_once(server, tmp_path):
    missing = RemoteFile(server.address("gone.zip"), NAME)
    with pytest.raises(UserError, match=r"gone\.zip: the server answers 404 Not Found"):
        fetch(missing, tmp_path)


def test_without_network_the_message_has_the_way_by_hand(server, tmp_path):
    closed = RemoteFile("http://127.0.0.1:9/set.zip", NAME)
    with pytest.raises(UserError, match="no connection .*check the network.*put it at"):
        fetch(closed, tmp_path)


@pytest.mark.parametrize("url", ["htp://127.0.0.1/x", "127.0.0.1/x", "http://[1/x"])
def test_an_address_that_is_none_is_named(server, tmp_path, url):
    with pytest.raises(UserError, match=f"cannot download {re.escape(url)}: "):
        fetch(RemoteFile(url, NAME), tmp_path)


def test_a_web_page_in_place_of_the_file_is_refused(server, tmp_path):
    server.content_type = "text/html;charset=utf-8"
    with pytest.raises(UserError, match="is a web page, not the file set.zip"):
        fetch(described(server), tmp_path)
    assert server.requests == []


def test_another_size_than_known_is_seen_before_the_download(server, tmp_path):
    with pytest.raises(UserError, match="has 102400 bytes in place of 99"):
        fetch(described(server, size=99), tmp_path)
    assert server.requests == []


def test_a_wrong_checksum_removes_what_arrived(server, tmp_path):
    other = known(CONTENT[::-1])
    with pytest.raises(UserError, match="arrived damaged and was removed: its md5 is"):
        fetch(described(server, **other), tmp_path)
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_what_another_program_has_begun_is_resumed_and_verified(server, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT[:50_000])
    remote = described(server, **known())
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    assert server.requests == [(NAME, 50_000)]


def test_a_file_that_is_there_is_verified(server, tmp_path):
    path, remote = tmp_path / NAME, described(server, **known())
    path.write_bytes(CONTENT)
    verify(path, remote)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match="set.zip: has 102399 bytes in place of 102400"):
        verify(path, remote)
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(UserError, match="damaged or another file: its md5 is"):
        fetch(remote, tmp_path)
    assert path.exists()


def test_processes_that_want_the_same_file_wait_for_one_download(server, tmp_path):
    threads = [
        threading.Thread(target=fetch, args=(described(server), tmp_path))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.requests == [(NAME, 0)]


def test_too_little_space_is_seen_before_the_download(server, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="needs 0 MB in .* are free; free some space"):
        fetch(described(server), tmp_path)
    assert server.requests == []


def test_a_disk_that_fills_up_meanwhile_is_named(server, tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    part = broken_off(server, tmp_path)
    part.unlink()
    part.symlink_to("/dev/full")
    with pytest.raises(UserError, match="the disk is full; free some space"):
        fetch(described(server), tmp_path)


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, not a folder"):
        fetch(described(server), tmp_path / "file")
