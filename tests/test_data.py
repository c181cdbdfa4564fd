"""`model-build data fetch`: official sets by a real server that fails in every way."""

import hashlib
import io
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from edge_agent.clock import SimulatedClock
from edge_agent.errors import BuildError
from model_build import data, download, tasks
from model_build.cli import cli
from model_build.datasets import by_fold, read_manifest
from model_build.download import Told
from model_build.officialsets import SETS, OfficialSet
from tests.loopback import Files, served

BODY = bytes(range(256)) * 4000
MD5 = hashlib.md5(BODY).hexdigest()
PIECE = 1 << 16
"""The downloader writes so much at once; what is cut off within is lost."""


@pytest.fixture
def web() -> Iterator[Files]:
    with served() as files:
        yield files


def told(_what: str) -> Told:
    return lambda _done, _total: None


def _get(web: Files, path: Path, told: Told = lambda _done, _total: None) -> None:
    download.fetch(f"{web.url}/set", path, MD5, told, SimulatedClock())


def test_a_connection_that_is_cut_goes_on_where_it_stopped(web: Files, tmp_path: Path) -> None:
    web.content["/set"] = BODY
    web.cuts = [4 * PIECE + 99, 5 * PIECE]
    seen: list[tuple[int, int | None]] = []
    _get(web, tmp_path / "set", lambda done, total: seen.append((done, total)))
    assert (tmp_path / "set").read_bytes() == BODY
    assert web.ranges == [None, f"bytes={4 * PIECE}-", f"bytes={9 * PIECE}-"]
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_another_command_goes_on_where_the_last_one_gave_up(web: Files, tmp_path: Path) -> None:
    web.content["/set"] = BODY
    web.cuts = [8 * PIECE, *[0] * 4]
    with pytest.raises(BuildError, match=r"again and again; 0\.5 MB came and is kept"):
        _get(web, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    web.ranges.clear()
    _get(web, tmp_path / "set")
    assert web.ranges == [f"bytes={8 * PIECE}-"]
    assert (tmp_path / "set").read_bytes() == BODY


def test_a_server_that_knows_no_ranges_is_asked_for_the_whole(web: Files, tmp_path: Path) -> None:
    web.content["/set"] = BODY
    web.resumes, web.cuts = False, [300_000]
    _get(web, tmp_path / "set")
    assert (tmp_path / "set").read_bytes() == BODY


def test_a_server_that_tells_no_length_is_believed_and_then_checked(
    web: Files, tmp_path: Path
) -> None:
    """A cut cannot be seen there: the checksum sees it."""
    web.content["/set"] = BODY
    web.tells_length, web.cuts = False, [300_000]
    with pytest.raises(BuildError, match="another file than expected"):
        _get(web, tmp_path / "set")
    _get(web, tmp_path / "set")
    assert (tmp_path / "set").read_bytes() == BODY


def test_a_part_that_is_whole_already_is_taken(web: Files, tmp_path: Path) -> None:
    web.content["/set"] = BODY
    (tmp_path / "set.partial").write_bytes(BODY)
    _get(web, tmp_path / "set")
    assert (tmp_path / "set").read_bytes() == BODY


def test_a_part_that_is_longer_than_the_file_is_thrown_away(web: Files, tmp_path: Path) -> None:
    web.content["/set"] = BODY
    (tmp_path / "set.partial").write_bytes(BODY + b"more")
    _get(web, tmp_path / "set")
    assert (tmp_path / "set").read_bytes() == BODY


def test_a_wrong_file_is_refused_and_what_was_there_stays(web: Files, tmp_path: Path) -> None:
    web.content["/set"] = BODY[::-1]
    (tmp_path / "set").write_bytes(b"an older one")
    with pytest.raises(BuildError, match=f"MD5 is not {MD5}") as refused:
        _get(web, tmp_path / "set")
    assert "--from" in refused.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert (tmp_path / "set").read_bytes() == b"an older one"
    web.content["/set"] = BODY
    _get(web, tmp_path / "set")
    assert (tmp_path / "set").read_bytes() == BODY


def test_what_is_right_is_not_asked_for(web: Files, tmp_path: Path) -> None:
    (tmp_path / "set").write_bytes(BODY)
    _get(web, tmp_path / "set")
    assert web.ranges == []


def test_a_busy_server_is_asked_again_and_one_that_refuses_is_not(
    web: Files, tmp_path: Path
) -> None:
    web.content["/set"] = BODY
    web.refuses = [503, 429]
    _get(web, tmp_path / "set")
    assert len(web.ranges) == 3
    web.refuses = [403]
    with pytest.raises(BuildError, match="refused with 403 Forbidden"):
        _get(web, tmp_path / "other")
    assert len(web.ranges) == 4


def test_without_a_network_it_says_what_it_cannot_reach_and_what_to_do(tmp_path: Path) -> None:
    with served() as files:
        url = f"{files.url}/set"
    with pytest.raises(BuildError, match=r"^127\.0\.0\.1:\d+ cannot be reached") as refused:
        download.fetch(url, tmp_path / "set", MD5, told(""), SimulatedClock())
    assert "Connection refused" in refused.value.message
    assert url in refused.value.hint
    assert "--from" in refused.value.hint


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not run: mounting a tmpfs needs root ({done.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_too_small_is_told_before_anything_comes(
    web: Files, disk: Path, tmp_path: Path
) -> None:
    web.content["/set"] = 3 * BODY
    with pytest.raises(BuildError, match=r"3\.1 MB more are needed and 2\.1 MB are free"):
        _get(web, disk / "set")
    assert (disk / "set.partial").stat().st_size == 0


def test_a_disk_that_fills_up_keeps_what_came(web: Files, disk: Path) -> None:
    web.content["/set"] = BODY
    foreign = disk / "foreign"

    def fill(done: int, _total: int | None) -> None:
        if done > 400_000 and not foreign.exists():
            foreign.write_bytes(b"\xa5" * 1_500_000)

    with pytest.raises(BuildError, match=r"the disk is full: 0\.\d MB came and is kept"):
        _get(web, disk / "set", fill)
    kept = (disk / "set.partial").stat().st_size
    assert BODY.startswith((disk / "set.partial").read_bytes())
    foreign.unlink()
    web.ranges.clear()
    _get(web, disk / "set")
    assert web.ranges == [f"bytes={kept}-"]
    assert (disk / "set").read_bytes() == BODY


CLIPS = {
    "urbansound8k": {
        "UrbanSound8K/audio/fold1/11-3-0-0.wav": b"woof",
        "UrbanSound8K/audio/fold1/._11-3-0-0.wav": b"of macOS",
        "UrbanSound8K/audio/fold1/.DS_Store": b"of macOS",
        "UrbanSound8K/audio/fold2/12-1-0-0.wav": b"honk",
        "UrbanSound8K/audio/fold2/13-3-0-0.wav": b"wuff",
        "UrbanSound8K/audio/fold1/14-1-0-0.wav": b"toot",
        "UrbanSound8K/audio/../../../outside.wav": b"nowhere",
        "UrbanSound8K/FREESOUNDCREDITS.txt": b"by whom",
        "UrbanSound8K/metadata/UrbanSound8K.csv": (
            b"slice_file_name,fsID,start,end,salience,fold,classID,class\n"
            b"11-3-0-0.wav,11,0,1,1,1,3,dog_bark\n12-1-0-0.wav,12,0,1,1,2,1,car_horn\n"
            b"13-3-0-0.wav,13,0,1,1,2,3,dog_bark\n14-1-0-0.wav,14,0,1,1,1,1,car_horn\n"
        ),
    },
    "esc50": {
        "ESC-50-master/LICENSE": b"by whom",
        "ESC-50-master/meta/esc50.csv": (
            b"filename,fold,target,category,esc10,src_file,take\n"
            b"1-21-A-0.wav,1,0,dog,True,21,A\n2-22-B-3.wav,2,3,cow,False,22,B\n"
            b"1-23-A-3.wav,1,3,cow,False,23,A\n2-24-A-0.wav,2,0,dog,True,24,A\n"
        ),
        "ESC-50-master/audio/1-21-A-0.wav": b"woof",
        "ESC-50-master/audio/2-22-B-3.wav": b"moo",
        "ESC-50-master/audio/1-23-A-3.wav": b"mooh",
        "ESC-50-master/audio/2-24-A-0.wav": b"wuff",
    },
}


def _tar(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _zip(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ESC-50-master/audio/", b"")
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


PACKED: dict[str, Callable[[dict[str, bytes]], bytes]] = {"urbansound8k": _tar, "esc50": _zip}


def _official(name: str, archive: bytes, url: str) -> OfficialSet:
    """The set as it is laid out, with four clips in two folds."""
    return msgspec.structs.replace(
        SETS[name], clips=4, folds=2, url=url, md5=hashlib.md5(archive).hexdigest()
    )


def _fetch(
    name: str,
    official: OfficialSet,
    folder: Path,
    *,
    source: str | None = None,
    keep: bool = False,
) -> Path:
    return data.fetch(
        name, official, folder, source=source, keep=keep, told=told, clock=SimulatedClock()
    )


@pytest.mark.parametrize("name", SETS)
def test_a_set_lies_as_the_tasks_expect_it(
    name: str, web: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = PACKED[name](CLIPS[name])
    web.content["/set"] = archive
    official = _official(name, archive, f"{web.url}/set")
    folder = tmp_path / "data"
    with caplog.at_level("INFO"):
        manifest = _fetch(name, official, folder)
    assert manifest == folder / f"{name}.csv"
    read = tasks.read(tasks.TASKS[name], folder)
    assert len(read.clips) == 4
    assert read.skipped == ()
    assert len(by_fold(read.clips)) == 2
    assert all(clip.group.isdecimal() and clip.group in clip.path for clip in read.clips)
    own = {one.removeprefix(official.audio): content for one, content in CLIPS[name].items()}
    for clip in read.clips:
        assert (folder / clip.path).read_bytes() == own[clip.path.removeprefix(name)]
    # The licence and who must be named stay with the clips, and nothing else came or is left.
    assert (folder / name / Path(official.kept[0]).name).read_bytes() == b"by whom"
    assert len([path for path in (folder / name).rglob("*") if path.is_file()]) == 5
    assert not list(tmp_path.rglob("outside.wav"))
    assert sorted(path.name for path in folder.iterdir()) == [".downloads", name, manifest.name]
    assert not list((folder / ".downloads").iterdir())
    lines = caplog.messages
    licence = next(at for at, line in enumerate(lines) if "not for commercial use" in line)
    assert licence < next(at for at, line in enumerate(lines) if "downloading" in line)


def test_labels_are_those_of_the_task() -> None:
    """Names as the manifests at hand have them, which the street's taxonomy reads."""
    rows = CLIPS["urbansound8k"]["UrbanSound8K/metadata/UrbanSound8K.csv"].decode().splitlines()
    assert rows[0].split(",")[-1] == SETS["urbansound8k"].label
    assert SETS["urbansound8k"].path.format(fold=2, slice_file_name="a.wav") == "fold2/a.wav"


def test_a_set_that_is_there_is_left_alone(web: Files, tmp_path: Path) -> None:
    archive = _zip(CLIPS["esc50"])
    web.content["/set"] = archive
    official = _official("esc50", archive, f"{web.url}/set")
    _fetch("esc50", official, tmp_path, keep=True)
    assert (tmp_path / ".downloads" / official.archive).read_bytes() == archive
    web.ranges.clear()
    _fetch("esc50", official, tmp_path)
    assert web.ranges == []
    (tmp_path / "esc50" / "1-21-A-0.wav").unlink()
    with pytest.raises(BuildError, match=r"1 of its clips are missing, like esc50/1-21-A-0\.wav"):
        _fetch("esc50", official, tmp_path)


def test_another_copy_of_a_set_is_never_touched(tmp_path: Path) -> None:
    manifest = tmp_path / "esc50.csv"
    manifest.write_text("path,label\nesc50/a.opus,dog\n")
    with pytest.raises(BuildError, match="lists 1 clips, ESC-50 has 2000: another copy is here"):
        _fetch("esc50", SETS["esc50"], tmp_path)
    assert manifest.read_text() == "path,label\nesc50/a.opus,dog\n"
    manifest.unlink()
    (tmp_path / "esc50").mkdir()
    with pytest.raises(BuildError, match="without a manifest"):
        _fetch("esc50", SETS["esc50"], tmp_path)


def test_an_archive_that_somebody_brought_is_verified_unpacked_and_kept(tmp_path: Path) -> None:
    archive = _tar(CLIPS["urbansound8k"])
    official = _official("urbansound8k", archive, "http://nowhere.invalid/set")
    brought = tmp_path / "brought.tar.gz"
    brought.write_bytes(archive)
    manifest = _fetch("urbansound8k", official, tmp_path / "data", source=str(brought))
    assert len(read_manifest(manifest, tmp_path / "data").clips) == 4
    assert brought.read_bytes() == archive
    brought.write_bytes(archive[:-1])
    with pytest.raises(BuildError, match="is another file than expected"):
        _fetch("urbansound8k", official, tmp_path / "other", source=str(brought))
    with pytest.raises(BuildError, match="no such file, and no http"):
        _fetch("urbansound8k", official, tmp_path / "other", source="ftp://mirror/set")


def test_an_archive_that_lacks_a_clip_is_refused_whole(tmp_path: Path) -> None:
    lacking = dict(CLIPS["urbansound8k"])
    del lacking["UrbanSound8K/audio/fold2/12-1-0-0.wav"]
    archive = _tar(lacking)
    (tmp_path / "set.tar.gz").write_bytes(archive)
    official = _official("urbansound8k", archive, "")
    with pytest.raises(BuildError, match=r"fold2/12-1-0-0\.wav is not in it"):
        _fetch("urbansound8k", official, tmp_path, source=str(tmp_path / "set.tar.gz"))
    assert [path.name for path in tmp_path.iterdir()] == ["set.tar.gz"]


def test_a_disk_that_fills_up_in_unpacking_keeps_the_archive(web: Files, disk: Path) -> None:
    clips = CLIPS["esc50"] | {"ESC-50-master/audio/1-21-A-0.wav": bytes(1_500_000)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive_file:
        for one, content in clips.items():
            archive_file.writestr(one, content)
    archive = packed.getvalue()
    web.content["/set"] = archive
    official = _official("esc50", archive, f"{web.url}/set")
    (disk / "foreign").write_bytes(bytes(1 << 20))
    with pytest.raises(BuildError, match="cannot be unpacked; the archive is kept"):
        _fetch("esc50", official, disk)
    assert sorted(path.name for path in disk.iterdir()) == [".downloads", "foreign"]
    assert (disk / ".downloads" / official.archive).read_bytes() == archive
    (disk / "foreign").unlink()
    web.ranges.clear()
    assert len(read_manifest(_fetch("esc50", official, disk), disk).clips) == 4
    assert web.ranges == []


def test_the_command_says_in_two_lines_what_it_cannot_have(web: Files, tmp_path: Path) -> None:
    web.content["/esc50.zip"] = _zip(CLIPS["esc50"])
    command = ["data", "fetch", "esc50", "--data", str(tmp_path)]
    done = CliRunner().invoke(cli, [*command, "--from", f"{web.url}/esc50.zip"])
    assert isinstance(done.exception, BuildError)
    assert SETS["esc50"].md5 in done.exception.message
    assert not list(tmp_path.glob("*.csv"))
