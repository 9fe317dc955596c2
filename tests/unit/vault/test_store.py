"""The vault: sealed content, lineage, promotion by verdict only, and no state in between."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from holdfast.core.errors import EnvironmentFault, IntegrityError, RefusedError, UsageError
from holdfast.core.journal import Journal
from holdfast.core.records import Outcome
from holdfast.vault.manifest import describe
from holdfast.vault.store import Vault, default_root


def _flip(path, position=-1):
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))
    path.chmod(0o444)


def test_add_seals_a_copy_read_only(vault, model):
    folder = model()
    ref = vault.add(folder, "m", note="hello")
    assert ref.model_digest == describe(folder).model_digest
    sealed = vault.path(ref.model_digest)
    assert sealed.stat().st_mode & 0o777 == 0o555
    assert {p.name: p.stat().st_mode & 0o777 for p in sealed.iterdir()} == {
        "config.json": 0o444, "model.safetensors": 0o444, "tokenizer.json": 0o444,
    }  # fmt: skip
    assert vault.verify("m") == []
    assert [(e.ref.name, e.note) for e in Vault(vault.root).list()] == [("m", "hello")]
    assert [p.name for p in (vault.root / "models").iterdir()] == [ref.model_digest]


def test_adding_again_changes_nothing_and_a_taken_name_is_refused(vault, model):
    ref = vault.add(model("one"), "m")
    assert vault.add(model("two"), "other-name") == ref  # the same content
    assert len(vault.list()) == 1
    with pytest.raises(UsageError, match="belongs to another model"):
        vault.add(model("three", 3.0), "m")
    folder = model("four", 4.0)
    for name in ("", "../m", "a/b", ".hidden", "a b", "x" * 101):
        with pytest.raises(UsageError, match="cannot be the name"):
            vault.add(folder, name)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_one_flipped_bit_is_found_and_named(vault, model, file):
    digest = vault.add(model(), "m").model_digest
    _flip(vault.path(digest) / file)
    assert [str(f) for f in vault.verify("m")] == [f"{file}: changed"]


def test_missing_unknown_writable_and_linked_files_are_found(vault, model, tmp_path):
    sealed = vault.path(vault.add(model(), "m").model_digest)
    sealed.chmod(0o755)
    (sealed / "config.json").rename(tmp_path / "config.json")
    (sealed / "pytorch_model.bin").write_bytes(b"")
    (sealed / "model.safetensors").chmod(0o644)
    (sealed / "tokenizer.json").unlink()
    (sealed / "tokenizer.json").symlink_to(tmp_path / "config.json")
    assert [str(f) for f in vault.verify("m")] == [
        ".: writable", "pytorch_model.bin: unknown", "config.json: missing",
        "model.safetensors: writable", "tokenizer.json: no plain file",
    ]  # fmt: skip


def test_a_damaged_seal_is_replaced_by_adding_the_model_again(vault, model):
    digest = vault.add(model("one"), "m").model_digest
    _flip(vault.path(digest) / "config.json")
    vault.add(model("two"), "m")
    assert vault.verify("m") == []


def test_a_snapshot_is_a_writable_copy_that_leaves_the_seal_alone(vault, model, tmp_path):
    digest = vault.add(model(), "m").model_digest
    copy = vault.snapshot(digest, tmp_path / "work/copy")
    assert describe(copy).model_digest == digest
    assert vault.snapshot(digest, copy) == copy  # interrupted runs come back
    (copy / "config.json").write_text("{}")
    assert vault.verify("m") == []
    with pytest.raises(UsageError, match="exists already"):
        vault.snapshot(digest, copy)
    _flip(vault.path(digest) / "model.safetensors")
    with pytest.raises(IntegrityError, match=r"model\.safetensors: changed"):
        vault.snapshot(digest, tmp_path / "other")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sources", "vault", "work"]


def test_lineage_from_base_to_adapter_to_merged(vault, model, adapter):
    base = vault.add(model("base"), "base").model_digest
    lora = vault.add(adapter(), "lora", kind="adapter", parents=["base"])
    assert lora.lineage == (base,)
    merged = vault.add(model("merged", 1.0), "merged", kind="merged", parents=["lora"])
    assert merged.lineage == (lora.model_digest, base)
    assert [vault.verify(e.ref.model_digest) for e in vault.list()] == [[], [], []]
    with pytest.raises(UsageError, match="is not in the vault"):
        vault.add(adapter("b", 1.0), "b", kind="adapter", parents=["absent"])
    with pytest.raises(UsageError, match="one parent"):
        vault.add(adapter("c", 1.0), "c", kind="adapter")
    with pytest.raises(UsageError, match="one parent"):
        vault.add(adapter("d", 1.0), "d", kind="adapter", parents=["lora"])
    with pytest.raises(UsageError, match="has no parents"):
        vault.add(model("e", 2.0), "e", parents=["base"])
    with pytest.raises(UsageError, match="needs a parent"):
        vault.add(model("f", 2.0), "f", kind="merged")


def test_get_knows_names_digests_prefixes_and_refs(vault, model, verdict):
    base = vault.add(model("base"), "base").model_digest
    tuned = vault.add(model("tuned", 1.0), "tuned").model_digest
    vault.promote("production", tuned, verdict(base, tuned))
    for wanted in ("tuned", tuned, tuned[:8], "production"):
        assert vault.get(wanted).ref.model_digest == tuned
    for wanted in (tuned[:7], "", "none", "%"):
        with pytest.raises(UsageError, match="is not in the vault"):
            vault.get(wanted)


def test_promote_and_rollback(vault, model, verdict):
    base, a, b = (vault.add(model(n, i), n).model_digest for i, n in enumerate(["base", "a", "b"]))
    vault.promote("production", a, verdict(base, a))
    vault.promote("production", a, verdict(base, a))  # again: nothing happens
    vault.promote("production", b, verdict(base, b))
    assert vault.refs() == {"production": b}
    assert vault.rollback("production").ref.model_digest == a
    assert Vault(vault.root).refs() == {"production": a}
    with pytest.raises(UsageError, match="no earlier model"):
        vault.rollback("production")
    with pytest.raises(UsageError, match="no earlier model"):
        vault.rollback("staging")
    moves = vault.history("production")
    assert [(m.digest, m.previous) for m in moves] == [(a, ""), (b, a), (a, b)]
    events = [e.event for e in Journal(vault.root / "journal.jsonl").entries()]
    assert events == ["model.added"] * 3 + ["ref.promoted"] * 2 + ["ref.rolled_back"]
    assert (vault.root / "verdicts" / f"{moves[0].verdict}.json").is_file()


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.INVALID])
def test_only_a_pass_for_exactly_this_model_promotes(vault, model, verdict, outcome):
    base, a = (vault.add(model(n, i), n).model_digest for i, n in enumerate(["base", "a"]))
    for wrong, words in (
        (verdict(base, a, outcome), outcome.value.upper()),
        (verdict(base, "0" * 64), "another model"),
        (verdict(base, a[:12]), "another model"),
        (verdict("0" * 64, a), "unknown base"),
        (verdict(a, a), "unknown base"),
    ):
        with pytest.raises(RefusedError, match=words):
            vault.promote("production", a, wrong)
    assert vault.refs() == {}


def test_what_does_not_match_its_seal_is_not_promoted(vault, model, adapter, verdict):
    base = vault.add(model(), "base").model_digest
    lora = vault.add(adapter(), "lora", kind="adapter", parents=["base"]).model_digest
    _flip(vault.path(base) / "model.safetensors")
    with pytest.raises(IntegrityError, match=r"base no longer .*model\.safetensors: changed"):
        vault.promote("production", lora, verdict(base, lora))
    assert vault.refs() == {}


def test_diff_by_file_and_tensor(vault, model):
    vault.add(model("a", 0.0), "a")
    folder = model("b", 1.0)
    (folder / "merges.txt").write_text("")
    vault.add(folder, "b")
    found = vault.diff("a", "b")
    assert found.same == ("config.json", "tokenizer.json")
    assert found.changed == ("model.safetensors",)
    assert (found.only_a, found.only_b) == ((), ("merges.txt",))
    assert found.tensors_changed == ("a.weight",)


def test_refused_input_leaves_nothing_behind(vault, model):
    folder = model()
    (folder / "x.pkl").write_bytes(b"")
    with pytest.raises(RefusedError):
        vault.add(folder, "m")
    (folder / "x.pkl").unlink()
    (folder / "model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(IntegrityError):
        vault.add(folder, "m")
    assert list((vault.root / "models").iterdir()) == []
    assert vault.list() == []


def test_a_full_disk_while_adding_leaves_nothing_behind(vault, model, monkeypatch):
    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = model()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EnvironmentFault, match="disk is full"):
            vault.add(folder, "m")
    assert list((vault.root / "models").iterdir()) == []
    vault.add(folder, "m")
    assert vault.verify("m") == []


def test_a_lost_index_is_rebuilt_and_a_cut_journal_is_found(vault, model, verdict):
    base, a = (vault.add(model(n, i), n).model_digest for i, n in enumerate(["base", "a"]))
    vault.promote("production", a, verdict(base, a))
    before = (vault.list(), vault.refs(), vault.history("production"))
    for file in vault.root.glob("vault.sqlite*"):
        file.unlink()
    again = Vault(vault.root)
    assert (again.list(), again.refs(), again.history("production")) == before
    journal = vault.root / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(IntegrityError, match="does not hold what the vault's index has seen"):
        Vault(vault.root)


def test_a_damaged_index_says_how_to_rebuild_it(vault, model):
    vault.add(model(), "m")
    for file in vault.root.glob("vault.sqlite*"):
        file.unlink()
    (vault.root / "vault.sqlite").write_bytes(b"this is no database " * 100)
    with pytest.raises(IntegrityError, match="rebuilt from the journal"):
        Vault(vault.root)


_DIE = """
import os, signal, sys
from pathlib import Path
from holdfast.core.journal import Journal
from holdfast.core.records import Verdict
from holdfast.vault.store import Vault
root, digest, verdict, moment = sys.argv[1:]
vault = Vault(Path(root))
real = Journal._write
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def die_after(*arguments):
    real(*arguments)
    die()
def die_within(self, fd, event, payload):
    os.write(fd, b'{"event":"ref.promo')
    die()
Journal._write = {"before": die, "within": die_within, "after": die_after}[moment]
vault.promote("production", digest, Verdict.load(Path(verdict)))
"""


@pytest.mark.parametrize(("moment", "moved"), [("before", 0), ("within", 0), ("after", 1)])
def test_sigkill_in_the_middle_of_a_promotion(vault, model, verdict, tmp_path, moment, moved):
    """Killed before, while and after the journal entry is written: the old ref or the new one."""
    base, a, b = (vault.add(model(n, i), n).model_digest for i, n in enumerate(["base", "a", "b"]))
    vault.promote("production", a, verdict(base, a))
    verdict(base, b).save(tmp_path / "verdict.json")
    process = subprocess.run(
        [sys.executable, "-c", _DIE, vault.root, b, tmp_path / "verdict.json", moment],
        check=False, timeout=60,
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL
    again = Vault(vault.root)
    assert again.refs() == {"production": [a, b][moved]}
    again.promote("production", b, verdict(base, b))
    assert [m.digest for m in again.history("production")] == [a, b]
    assert again.rollback("production").ref.model_digest == a
    assert again._database.journal.verify() >= 6


_PROMOTER = """
import sys
from pathlib import Path
from holdfast.core.records import Verdict
from holdfast.vault.store import Vault
vault = Vault(Path(sys.argv[1]))
verdicts = [Verdict.load(Path(p)) for p in sys.argv[3:]]
print("ready", flush=True)
sys.stdin.readline()
for i in range(int(sys.argv[2])):
    verdict = verdicts[i % len(verdicts)]
    vault.promote("production", verdict.candidate, verdict)
"""


@pytest.fixture
def crowd(vault, model, verdict, tmp_path):
    """Start n processes that promote a, b, a, b … at once."""
    base, a, b = (vault.add(model(n, i), n).model_digest for i, n in enumerate(["base", "a", "b"]))
    paths = [tmp_path / f"{d[:8]}.json" for d in (a, b)]
    for digest, path in zip((a, b), paths, strict=True):
        verdict(base, digest).save(path)
    started = []

    def start(count, rounds):
        for i in range(count):
            command = [sys.executable, "-c", _PROMOTER, vault.root, str(rounds)]
            process = subprocess.Popen(
                command + (paths if i % 2 else paths[::-1]),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            started.append(process)
        for process in started:
            assert process.stdout.readline() == b"ready\n"
        for process in started:
            process.stdin.write(b"\n")
            process.stdin.flush()
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _consistent(root):
    """The history alternates without gaps, and journal and index say the same."""
    vault = Vault(root)
    moves = vault.history("production")
    for before, after in zip([None, *moves], moves, strict=False):
        assert after.previous == (before.digest if before else "")
        assert after.digest != after.previous
    entries = [e for e in vault._database.journal.entries() if e.event == "ref.promoted"]
    assert [e.payload["digest"] for e in entries] == [m.digest for m in moves]
    assert vault._database.journal.verify() == len(entries) + 3
    return moves


def test_processes_that_promote_at_once_take_turns(vault, crowd):
    for process in crowd(3, 8):
        assert process.wait(timeout=60) == 0
    assert 8 <= len(_consistent(vault.root)) <= 24


def test_sigkill_at_random_moments_among_promoting_processes(vault, crowd):
    processes = crowd(2, 10_000)
    time.sleep(0.2 + random.Random(3).random() * 0.2)
    for process in processes:
        process.kill()
        process.wait()
    assert _consistent(vault.root)


_ADDER = """
import os, signal, sys
from pathlib import Path
from holdfast.vault import database, sealing, store
moment = sys.argv[3]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if moment == "copied":
    sealing.seal = die
else:
    database.Database.changing = die
store.Vault(Path(sys.argv[1])).add(Path(sys.argv[2]), "m")
"""


@pytest.mark.parametrize("moment", ["copied", "sealed"])
def test_sigkill_while_adding_then_again(vault, model, moment):
    folder = model()
    process = subprocess.run(
        [sys.executable, "-c", _ADDER, vault.root, folder, moment], check=False, timeout=60
    )
    assert process.returncode == -signal.SIGKILL
    assert Vault(vault.root).list() == []
    digest = vault.add(folder, "m").model_digest
    assert vault.verify("m") == []
    assert [p.name for p in (vault.root / "models").iterdir()] == [digest]


def test_default_root(monkeypatch, tmp_path):
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path))
    assert default_root() == tmp_path / "vault"
    monkeypatch.delenv("HOLDFAST_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_root() == tmp_path / "holdfast/vault"
