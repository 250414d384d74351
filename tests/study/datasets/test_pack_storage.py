"""Packs on shared folders and object stores, against a real S3 API served on loopback."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fake_store import BLOCK, S3Server, facts_of, make_pack, s3_server
from filelock import FileLock

from ssl_core.data import manifest as manifest_format
from ssl_core.data.object_pack import Pack
from ssl_core.errors import PackError, StorageError
from ssl_core.files import whole
from study.datasets import pack_storage, pack_transfer
from study.datasets.object_store import Store, parse_uri
from study.datasets.pack_storage import needed_files, open_data, push_pack

LEAN = frozenset[str]()


@pytest.fixture(scope="module")
def server():
    with s3_server() as served:
        yield served


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    return make_pack(tmp_path_factory.mktemp("local") / "pack")


@pytest.fixture
def cache(server: S3Server, tmp_path, monkeypatch) -> Path:
    """An empty cache and the served store's environment."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SPLATSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(manifest_format, "BLOCK_BYTES", BLOCK)
    return tmp_path / "cache"


@pytest.fixture
def uri(cache, local, request) -> str:
    """The pack, pushed to an address of its own."""
    address = f"s3://packs/{re.sub('[^a-z0-9]+', '-', request.node.name)}"
    push_pack(Pack.open(local), address)
    return address


def same_pack(a: Pack, b: Pack) -> bool:
    return a.digest == b.digest and all(
        (a.path / name).read_bytes() == (b.path / name).read_bytes() for name in ["manifest.json", *a.manifest.files]
    )


def run(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """A process on its own with small blocks; `code` finds `open_data` and its arguments in `argv`."""
    head = (
        f"import os, signal, sys; sys.path[:0] = {[str(Path(__file__).parents[3])]!r}\n"
        f"from ssl_core.data import manifest as manifest_format; manifest_format.BLOCK_BYTES = {BLOCK}\n"
        "from study.datasets.pack_storage import open_data\nargv = sys.argv[1:]\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip


def test_a_path_is_mapped_in_place(local) -> None:
    assert open_data(local).path == local
    assert open_data(str(local), LEAN).sh_rest is not None  # nothing is gained by leaving it out here


def test_pushed_and_opened_it_is_the_same(uri, local, cache, server) -> None:
    opened = open_data(uri)
    assert same_pack(opened, Pack.open(local))
    assert opened.path == cache / "packs" / opened.digest
    assert not list(opened.path.glob("*.partial"))
    asked = len(server.requests)
    open_data(uri, digest=opened.digest)  # the digest is known and it is here: the network is not asked
    assert len(server.requests) == asked


def test_a_shared_folder_as_file_uri(cache, local, tmp_path) -> None:
    address = f"file://{tmp_path}/shared/a b/pack"
    assert push_pack(Pack.open(local), address).bytes > 0
    assert same_pack(open_data(address), Pack.open(local))
    assert not [file for file in (tmp_path / "shared/a b/pack").iterdir() if "partial" in file.name]
    assert same_pack(open_data(tmp_path / "shared/a b/pack"), Pack.open(local))  # the same files: a pack in place


def test_what_nobody_needs_stays_behind(uri, server) -> None:
    lean = open_data(uri, LEAN)
    assert lean.sh_rest is None
    assert "sh_rest" not in lean.manifest.groups
    assert server.gets(f"{uri.removeprefix('s3:/')}/sh_rest.npy") == 0
    before = server.gets("gaussians.npy")
    whole = open_data(uri, frozenset({"sh_rest.npy"}))
    assert whole.sh_rest is not None
    assert "sh_rest" in whole.manifest.groups
    assert whole.path == lean.path
    assert server.gets("gaussians.npy") == before
    assert open_data(uri, LEAN).sh_rest is not None


def test_feature_groups_say_which_files_are_needed() -> None:
    assert needed_files('{"points": {"features": ["xyz", "sh_dc"]}}') == LEAN
    assert needed_files('{"points": {"features": ["xyz", "sh_rest"]}}') == {"sh_rest.npy"}
    assert needed_files('{"space": {"points.features": [["reference_color"]]}}') == {"sh_rest.npy"}


def test_two_processes_fetch_once(uri, server, local) -> None:
    code = "pack = open_data(argv[0]); print(float(pack.gaussians.sum()), pack.digest)"
    both = [run(code, uri) for _ in range(2)]
    texts = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    expected = Pack.open(local)
    assert {text[0].split()[1] for text in texts} == {expected.digest}
    for name, facts in expected.manifest.files.items():
        assert server.gets(f"{uri.removeprefix('s3:/')}/{name}") == len(facts.blocks), name


@pytest.mark.parametrize("blocks", [1, 9])
def test_killed_in_the_middle_it_goes_on(uri, server, local, cache, blocks) -> None:
    code = (
        "from study.datasets.object_store import Store\n"
        "kept, left = Store.read_block, [int(argv[1])]\n"
        "def counted(self, name, offset, length):\n"
        "    if name.endswith('.npy'):\n"
        "        if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        left[0] -= 1\n"
        "    return kept(self, name, offset, length)\n"
        "Store.read_block, Store.readers = counted, 1\n"
        "open_data(argv[0])"
    )
    killed = run(code, uri, str(blocks))
    killed.communicate(timeout=60)
    assert killed.returncode == -9
    (folder,) = [path for path in (cache / "packs").iterdir() if path.is_dir()]
    assert not (folder / "manifest.json").exists()  # nobody takes it for a pack
    with pytest.raises(PackError, match="half-written"):
        Pack.open(folder)
    before = len(server.requests)
    assert same_pack(open_data(uri), Pack.open(local))
    facts = Pack.open(local).manifest.files
    again = sum(line.startswith("GET") and line.endswith(".npy") for line in server.requests[before:])
    # one reader: every block that arrived before the kill is used
    assert again == sum(len(each.blocks) for each in facts.values()) - blocks


def test_damaged_bytes_on_disk_are_fetched_again(uri, local, cache) -> None:
    folder = cache / "packs" / Pack.open(local).digest
    folder.mkdir(parents=True)
    (folder / "gaussians.npy").write_bytes(b"cut")
    (folder / "views.npy.partial").write_bytes(b"\0" * 10**6)  # longer than the file, and all wrong
    assert same_pack(open_data(uri), Pack.open(local))


def test_others_wait_and_say_so(uri, cache, monkeypatch) -> None:
    monkeypatch.setattr(whole, "_WAIT_BEFORE_SAYING", 0.05)
    digest = open_data(uri, LEAN).digest
    said: list[str] = []
    told = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        told.set()

    held = FileLock(cache / "packs" / f"{digest}.lock")
    with held:
        waiting = threading.Thread(target=open_data, args=(uri,), kwargs={"say": say})
        waiting.start()
        assert told.wait(20)
    waiting.join(20)
    assert "waiting" in said[0]
    assert open_data(uri).sh_rest is not None


def replace(uri: str, name: str, content: bytes) -> None:
    store = Store(parse_uri(uri))
    with store.writing(name) as out:
        out.write(content)


def test_changed_bytes_are_refused_with_file_and_block(uri, local, cache) -> None:
    content = bytearray((local / "gaussians.npy").read_bytes())
    content[BLOCK + 5] ^= 1
    replace(uri, "gaussians.npy", bytes(content))
    with pytest.raises(PackError, match=r"gaussians\.npy: block 1 .*wrong digest, twice.*--force"):
        open_data(uri)
    push_pack(Pack.open(local), uri, force=True)
    assert same_pack(open_data(uri), Pack.open(local))


def test_a_file_of_another_length_or_missing_is_refused(uri) -> None:
    replace(uri, "orders.npy", b"short")
    with pytest.raises(PackError, match=r"orders\.npy: has 5 bytes, [\d,]+ bytes expected"):
        open_data(uri)
    Store(parse_uri(uri)).remove("orders.npy")
    with pytest.raises(PackError, match=r"orders\.npy: is not there"):
        open_data(uri)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[: len(t) // 2], "is damaged"),
        (lambda t: t.replace('"orders.npy"', '"../orders.npy"'), "names a file '../orders.npy' that no pack has"),
        (lambda t: t.replace('"seed": 0', '"seed": 1'), "not that of its content"),
        (lambda t: re.sub(r'"pack_digest": "\w+"', '"pack_digest": "../../x"', t), "not that of its content"),
        (lambda t: re.sub(r'"blocks": \[[^]]*\]', '"blocks": []', t), "0 block digests for"),
        (lambda t: t.replace('"bytes": ', '"bytes": -'), "block digests for"),
        (lambda t: t.replace('"schema_version": 3', '"schema_version": 9'), "pack schema 9"),
    ],
)
def test_a_bad_manifest_is_refused(uri, local, cache, change, message) -> None:
    text = (local / "manifest.json").read_text()
    assert change(text) != text
    replace(uri, "manifest.json", change(text).encode())
    with pytest.raises(PackError, match=re.escape(message)) as raised:
        open_data(uri)
    assert uri in str(raised.value)
    assert not (cache / "packs").exists()  # nothing was written


def test_a_manifest_of_impossible_length_is_refused(uri, monkeypatch) -> None:
    monkeypatch.setattr(pack_storage, "MANIFEST_BYTES", 100)
    with pytest.raises(StorageError, match="bytes long, more than the 100"):
        open_data(uri)


def test_another_digest_than_expected_is_refused(uri) -> None:
    with pytest.raises(PackError, match=r"was expected: it changed"):
        open_data(uri, digest="0" * 16)


def test_push_again_sends_what_is_missing(uri, local, server) -> None:
    pack = Pack.open(local)
    assert push_pack(pack, uri).sent == ()
    Store(parse_uri(uri)).remove("views.npy.facts.json")  # as if the push had died in it
    Store(parse_uri(uri)).remove("manifest.json")
    with pytest.raises(PackError, match="its push did not end"):
        open_data(uri)
    assert push_pack(pack, uri).sent == ("views.npy",)
    assert same_pack(open_data(uri), pack)


def test_another_pack_is_replaced_only_by_force(uri, tmp_path) -> None:
    other = Pack.open(make_pack(tmp_path / "other", seed=1))
    with pytest.raises(PackError, match=r"holds another pack .*--force"):
        push_pack(other, uri)
    push_pack(other, uri, force=True)
    assert open_data(uri).digest == other.digest


def test_a_damaged_pack_is_not_pushed(cache, tmp_path) -> None:
    folder = make_pack(tmp_path / "damaged")
    content = bytearray((folder / "sh_rest.npy").read_bytes())
    content[-1] ^= 1
    (folder / "sh_rest.npy").write_bytes(bytes(content))
    with pytest.raises(PackError, match=r"sh_rest\.npy: block \d+ is damaged"):
        push_pack(Pack.open(folder), "s3://packs/damaged")
    with pytest.raises(PackError, match="no manifest"):
        open_data("s3://packs/damaged")


def test_packs_without_block_digests_are_refused(cache, tmp_path) -> None:
    folder = make_pack(tmp_path / "old", block=2**30)
    with pytest.raises(PackError, match=r"1 block digests for .* need"):
        push_pack(Pack.open(folder), "s3://packs/old")


def test_a_file_larger_than_the_store_takes(cache, local, monkeypatch) -> None:
    monkeypatch.setattr(Store, "largest_file", property(lambda self: 1000))
    with pytest.raises(StorageError, match="aws s3 cp"):
        push_pack(Pack.open(local), "s3://packs/large")


def test_a_full_disk_is_said_before(uri, monkeypatch) -> None:
    monkeypatch.setattr(pack_transfer.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10**6})())
    with pytest.raises(StorageError, match=r"needs 0\.00 GB in .*0\.00 GB free.*SPLATSWEEP_CACHE"):
        open_data(uri)


def test_a_cache_that_cannot_be_written(uri, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPLATSWEEP_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="SPLATSWEEP_CACHE"):
        open_data(uri)


def test_other_stores_go_through_fsspec(cache, local, monkeypatch) -> None:
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(fsspec, "filesystem", lambda name: MemoryFileSystem())
    push_pack(Pack.open(local), "gs://bucket/pack")
    assert same_pack(open_data("gs://bucket/pack"), Pack.open(local))


PSS = """
import numpy as np
pack = open_data(argv[0])
parts = (pack.gaussians, pack.sh_rest, pack.orders)
total = sum(int(np.asarray(part).view(np.uint8).sum(dtype=np.int64)) for part in parts)
total += int(pack.views[np.arange(len(pack.views))].sum(dtype=np.int64))
print("read", total, flush=True)
sys.stdin.readline()
pss, inside = 0, False
for line in open("/proc/self/smaps"):
    if line[0] in "0123456789abcdef":
        inside = str(pack.path) in line
    elif inside and line.startswith("Pss:"):
        pss += int(line.split()[1]) * 1024
print(pss, flush=True)
sys.stdin.readline()
"""


TRIAL_OPENS = (
    "from study.run.trial_opener import _mapped; "
    "open_data = lambda uri: _mapped(uri, frozenset({'sh_rest.npy'}), argv[1])"
)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's smaps")
@pytest.mark.parametrize("opens", ["", pytest.param(TRIAL_OPENS, marks=pytest.mark.slow)], ids=["process", "trial"])
def test_two_processes_hold_one_copy(cache, tmp_path, opens) -> None:
    folder = make_pack(tmp_path / "large", rows=60_000)
    address = f"file://{tmp_path}/shared"
    push_pack(Pack.open(folder), address)
    size = sum(facts.bytes for facts in Pack.open(folder).manifest.files.values())
    both = [run(f"{opens}\n{PSS}", address, Pack.open(folder).digest) for _ in range(2)]
    try:
        totals = {process.stdout.readline() for process in both}
        assert len(totals) == 1, totals
        held = []
        for process in both:
            process.stdin.write("\n")
            process.stdin.flush()
            held.append(int(process.stdout.readline()))
    finally:
        for process in both:
            process.kill()
            process.communicate()
    assert sum(held) == pytest.approx(size, rel=0.05)
    assert max(held) < 0.6 * size


def test_trials_open_by_address(cache, tiny_pack, tmp_path, tiny_config, monkeypatch) -> None:
    """Plain values travel; a trial without SH leaves sh_rest behind, one with it brings it."""
    from ssl_core.recipes.recipe_source import RecipeSource
    from study.run.trial_opener import SentRecipe, TrialOpener

    monkeypatch.setattr(manifest_format, "BLOCK_BYTES", 64 * 2**20)
    folder = with_blocks(tiny_pack, tmp_path / "whole")
    address = f"file://{tmp_path}/shared/tiny"
    push_pack(Pack.open(folder), address)
    source, digest = RecipeSource(name="cross_modal"), Pack.open(folder).digest
    opener = TrialOpener(
        {"": SentRecipe(source, tiny_config.to_json())}, "", address, digest, str(tmp_path / "derived")
    )
    opener.check({})
    (cached,) = [path for path in (cache / "packs").iterdir() if path.is_dir()]
    assert not (cached / "sh_rest.npy").exists()
    opener.check({"points.features": ["xyz", "sh_rest"]})
    assert (cached / "sh_rest.npy").exists()


def with_blocks(pack: Pack, folder: Path) -> Path:
    """A copy of a pack whose manifest has block digests, as pack files written by the pack command do."""
    import shutil

    shutil.copytree(pack.path, folder)
    files = {name: facts_of(folder / name, 64 * 2**20) for name in pack.manifest.files}
    manifest = pack.manifest.model_copy(update={"files": files}).sealed()
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1))
    return folder


def test_the_commands_push_and_fetch(cache, local, monkeypatch) -> None:
    from typer.testing import CliRunner

    from study.commands.cli import app

    def call(*words: str) -> str:
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "MB sent" in call("push", str(local), "s3://packs/by-command")
    assert "4 files were there" in call("push", str(local), "s3://packs/by-command")
    folder = call("fetch", "s3://packs/by-command").strip().replace("\n", "")
    assert same_pack(Pack.open(folder), Pack.open(local))
