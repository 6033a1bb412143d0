"""What is to be enhanced: found in one order, named apart, listed once."""

import json
import os
import threading
import time

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.inference import listing as module
from espnet2_bspmpnet.inference.listing import Listing, list_recordings


def touch(folder, *names):
    for name in names:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "wb").close()
    return folder


def entries(listing, shard=(1, 1)):
    return [entry for chunk in listing.chunks(shard) for entry in chunk]


def targets(listing):
    return [entry.target for entry in entries(listing) if entry.reason is None]


def reasons(listing):
    return {e.source: e.reason for e in entries(listing) if e.reason is not None}


def test_a_folders_tree_is_kept_and_only_media_are_taken_in_order(tmp_path):
    names = ("b.wav", "a.FLAC", "s/t/c.wav", "s/a.mp4", "readme.txt", "x.wav.md5")
    noisy = touch(tmp_path / "noisy", *names, ".hidden.wav", ".git/a.wav", "e/notes")
    listing = list_recordings([noisy], tmp_path / "out")
    assert targets(listing) == ["a.FLAC", "b.wav", "s/a.wav", "s/t/c.wav"]
    assert entries(listing)[3].source == str(noisy / "s/t/c.wav")


def test_files_folders_and_lists_may_be_mixed_and_repeated(tmp_path, monkeypatch):
    touch(tmp_path, "one.wav", "noisy/two.wav")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wav.scp").write_text("id-3\tnoisy/two.wav\ns1/id 4.wav \n")
    inputs = ["one.wav", "noisy", "wav.scp", "./one.wav", "noisy/"]
    listing = list_recordings(inputs, "out", ".flac")
    assert targets(listing) == ["one.flac", "two.flac", "id-3.flac", "s1/id.flac"]
    assert entries(listing)[3].source == str(tmp_path / "4.wav")


@pytest.mark.parametrize(
    "line, reason",
    [
        ("../x a.wav", "the id does not name a visible file below the output"),
        ("/tmp/x a.wav", "the id does not name a visible file below the output"),
        (".enhance/x a.wav", "the id does not name a visible file below the output"),
        ("a//x a.wav", "the id does not name a visible file below the output"),
        ("x sox a.wav -t wav - |", "a command, which is not run; name a file"),
        ("x", 'the line is not "<id> <path>"'),
    ],
)
def test_a_lines_id_stays_in_the_folder_and_its_command_is_not_run(
    tmp_path, line, reason
):
    (tmp_path / "wav.scp").write_text(f"{line}\ngood a.wav\n")
    listing = list_recordings([tmp_path / "wav.scp"], tmp_path / "out")
    assert targets(listing) == ["good.wav"]
    assert reasons(listing) == {f"{tmp_path}/wav.scp:1: {line}": reason}


def test_names_may_hold_anything(tmp_path):
    names = ["ü.wav", "a\nb.wav", "a\tb\\.wav", b"\xff\xfe.wav", " .wav", '"{}.wav']
    noisy = touch(tmp_path / "noisy", *names)
    found = {e.source for e in entries(list_recordings([noisy], tmp_path / "out"))}
    assert {os.path.basename(os.fsencode(s)) for s in found} == {
        os.fsencode(name) for name in names
    }
    assert all(os.path.exists(source) for source in found)


def test_the_second_of_two_outputs_with_one_name_is_a_failure(tmp_path):
    noisy = touch(tmp_path / "noisy", "a.flac", "a.wav", "b.wav")
    other = touch(tmp_path / "other", "b.wav")
    listing = list_recordings([noisy, other], tmp_path / "out", ".wav")
    assert targets(listing) == ["a.wav", "b.wav"]
    assert reasons(listing) == {
        f"{noisy}/a.wav": "its output a.wav would overwrite that of"
        f" {noisy}/a.flac; rename it",
        f"{other}/b.wav": "its output b.wav would overwrite that of"
        f" {noisy}/b.wav; rename it",
    }
    kept = list_recordings([noisy], tmp_path / "out")
    assert targets(kept) == ["a.flac", "a.wav", "b.wav"]


def test_links_are_followed_but_not_round_in_circles(tmp_path):
    noisy = touch(tmp_path / "noisy", "a.wav", "s/b.wav")
    elsewhere = touch(tmp_path / "elsewhere", "c.wav")
    (noisy / "link").symlink_to(elsewhere)
    (noisy / "s" / "up").symlink_to(noisy)
    (elsewhere / "back").symlink_to(noisy)
    (noisy / "self.wav").symlink_to("self.wav")
    listing = list_recordings([noisy], tmp_path / "out")
    assert targets(listing) == ["a.wav", "self.wav", "link/c.wav", "s/b.wav"]
    reason = "a link to a folder that it is in; left out"
    assert reasons(listing) == {
        f"{noisy}/link/back": reason,
        f"{noisy}/s/up": reason,
    }


def test_outputs_within_the_input_are_not_enhanced_again(tmp_path):
    noisy = touch(tmp_path / "noisy", "a.wav", "out/a.wav")
    assert targets(list_recordings([noisy], noisy / "out")) == ["a.wav"]


@pytest.mark.parametrize(
    "given, out, said",
    [
        (["noisy"], "noisy", "noisy: recordings cannot be enhanced in place; choose"),
        (["noisy/a.wav"], "noisy", "noisy/a.wav: is a recording, which an output"),
        (["noisy/noisy", "noisy/a.wav"], "noisy", "a.wav: is a recording, which an"),
        (["wav.scp"], "noisy", "noisy/a.wav: is a recording, which an output would"),
        (["nowhere"], "out", "nowhere: no such file or folder; correct its path"),
        (["empty"], "out", r"empty: no recordings there; their names end with \.3gp,"),
    ],
)
def test_what_would_overwrite_recordings_or_finds_none_is_refused(
    tmp_path, given, out, said
):
    noisy = touch(tmp_path / "noisy", "a.wav", "noisy/a.wav")
    (tmp_path / "wav.scp").write_text(f"a {noisy}/noisy/../a.wav\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=said):
        list_recordings([tmp_path / name for name in given], tmp_path / out)
    assert not (tmp_path / out / ".enhance/listing.jsonl").exists()


def test_a_folder_is_listed_once_until_it_changes(tmp_path, monkeypatch, caplog):
    noisy = touch(tmp_path / "noisy", "a.wav", "s/b.wav")
    looked = []
    scandir = os.scandir
    monkeypatch.setattr(module.os, "scandir", lambda p: looked.append(p) or scandir(p))

    def again(*inputs, **options):
        looked.clear()
        listing = list_recordings(inputs or [noisy], tmp_path / "out", **options)
        return len(looked), len(entries(listing))

    assert again() == (2, 2)
    assert again() == again(shard=(2, 3)) == (0, 2)
    assert again(suffix=".wav") == (2, 2)
    assert again(noisy / "s", suffix=".wav") == (1, 1)
    assert again() == (2, 2)
    touch(noisy, "s/c.wav")
    assert again(shard=(1, 3)) == (0, 2)
    assert f"{noisy}/s has changed since the recordings were listed" in caplog.text
    assert again() == (2, 3)


def test_a_changed_list_of_files_is_read_again(tmp_path):
    scp = tmp_path / "wav.scp"
    for count in (1, 2):
        scp.write_text("".join(f"u{n} a.wav\n" for n in range(count)))
        assert len(entries(list_recordings([scp], tmp_path / "out"))) == count


def test_shards_that_start_together_share_one_listing(tmp_path, monkeypatch):
    noisy = touch(tmp_path / "noisy", "a.wav")
    looked = []
    scandir = os.scandir

    def slow(path):
        looked.append(path)
        time.sleep(0.2)
        return scandir(path)

    monkeypatch.setattr(module.os, "scandir", slow)
    jobs = [
        threading.Thread(
            target=list_recordings, args=([noisy], tmp_path / "out", None, (k, 3))
        )
        for k in (1, 2, 3)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert looked == [str(noisy)]


def test_a_listing_that_was_broken_off_is_not_taken_for_a_whole_one(
    tmp_path, monkeypatch
):
    noisy = touch(tmp_path / "noisy", "a.wav", "b.wav")
    finder = module._Finder._named
    monkeypatch.setattr(module._Finder, "_named", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list_recordings([noisy], tmp_path / "out")
    monkeypatch.setattr(module._Finder, "_named", finder)
    assert targets(list_recordings([noisy], tmp_path / "out")) == ["a.wav", "b.wav"]


@pytest.mark.parametrize("total", [1, 2, 15, 16, 17, 33, 100, 1024, 5000])
@pytest.mark.parametrize("shards", [1, 3, 40])
def test_shards_part_the_chunks_which_depend_on_the_total_alone(
    tmp_path, total, shards
):
    path = tmp_path / "listing.jsonl"
    lines = ({"source": f"{n}", "target": f"{n}"} for n in range(total))
    path.write_text("\n".join(["{}", *map(json.dumps, lines), '{"read": "x"}']))
    listing = Listing(path, total)
    assert 1 <= listing.chunk_size <= 64
    whole = [[e.source for e in chunk] for chunk in listing.chunks((1, 1))]
    assert sum(whole, []) == [str(n) for n in range(total)]
    parts = []
    for k in range(1, shards + 1):
        found = list(listing.chunks((k, shards)))
        assert len(found) == len(listing.numbers((k, shards)))
        assert sum(map(len, found)) == listing.count((k, shards))
        parts += [[e.source for e in chunk] for chunk in found]
    assert sorted(parts) == sorted(whole)
