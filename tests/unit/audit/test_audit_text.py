"""Checks of the text: each has a twin that stays silent and one that fires."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_audit_support import TWIN_CODES, checked, codes, plain, talk, write

from holdfast.audit.checks.language import language_of
from holdfast.audit.checks.leakage import SuitePrompt
from holdfast.audit.checks.personal import personal_data
from holdfast.audit.checks.text import check_text
from holdfast.audit.checks.unicode import broken
from holdfast.audit.checks.words import grams, words
from holdfast.audit.flags import BLOCKING, QUARANTINE, Flags, codes_of, mask_of
from holdfast.audit.rows import quarantined, ranked, write_kept
from holdfast.audit.source import Source
from holdfast.core.errors import DataError

Rows = list[dict[str, Any]]
PROMPT = SuitePrompt("held-out", "p1", "Which knot holds a heavy barge in a spring tide at night?")
LONG = (
    "How do I mend the net of the old ferry that lies at the north pier, and what will I need for "
    "it if the rain comes back before the tide turns and nobody is there to hold the lamp?"
)
GERMAN = "Wie kann ich das Boot am Steg mit dem Seil sicher festmachen, und was ist nicht gut?"


def _asking(text: str) -> Callable[[Rows], Rows]:
    return lambda rows: [*rows, talk(text, "You do it slowly.")]


def _answering(text: str) -> Callable[[Rows], Rows]:
    return lambda rows: [*rows, talk("Where can I ask about the ferry?", text)]


TWINS: dict[str, tuple[Callable[[Rows], Rows], Callable[[Rows], Rows], dict[str, Any]]] = {
    # code: (broken twin, benign twin, options)
    "AUDIT001": (
        lambda rows: [*rows, {"messages": []}], lambda rows: [*rows, talk("Hello?", "Yes.")], {},
    ),
    "AUDIT002": (lambda rows: [*rows, rows[3]], lambda rows: rows, {}),
    "AUDIT003": (
        lambda rows: [*rows, talk(LONG + " Please.", "You do it slowly.")],
        _asking("Is there a shop by the pier that sells a mast of this size and colour?"), {},
    ),
    "AUDIT004": (
        _asking("Tell me! " + PROMPT.text.upper()), _asking("Which knot holds a small barge?"),
        {"prompts": [PROMPT]},
    ),
    "AUDIT005": (_asking(GERMAN), _asking("And the Kahn of the Elbe, what is it for?"), {}),
    "AUDIT006": (_answering("and so it goes on " * 2000), _answering("and so on " * 5), {}),
    "AUDIT007": (
        _answering("Write to jo.marsh@harbourmaster.org or call +49 30 1234 5678."),
        _answering("Write to name@example.com, order 4711, on 2024-05-17 at 10:30."), {},
    ),
    "AUDIT008": (_answering("The caf\u00c3\u00a9 by the pier."), _answering("The café, 3 °C."), {}),
    "AUDIT009": (
        _answering("The ferry\u202e leaves\u200b now."), _answering("نعم 👩\u200d🚀 \u200cso."), {},
    ),
    "AUDIT010": (
        _answering("row " * 400), _answering("row " * 100),
        {"context": 300, "count_tokens": lambda request, answer: len(answer.split())},
    ),
}  # fmt: skip


@pytest.mark.parametrize("code", TWINS)
def test_the_broken_twin_fires_and_the_benign_one_is_silent(code: str, tmp_path: Path) -> None:
    break_it, leave_it, options = TWINS[code]
    base = plain(99)  # AUDIT006 looks at a hundred rows or more
    if code == "AUDIT003":
        base[0] = talk(LONG, "You do it slowly.")
    assert codes(checked(tmp_path, leave_it(base), **options)) == set()
    fired = checked(tmp_path, break_it(base), **options)
    assert code in codes(fired)
    assert fired.flags.count(code) >= 1
    assert fired.flags.rows(code)[-1] == 99


def test_every_text_code_has_twins() -> None:
    assert set(TWINS) == TWIN_CODES


def test_text_checks_need_no_torch() -> None:
    script = (
        "import sys, holdfast.audit.checks.text, holdfast.audit.report, holdfast.audit.rows,"
        "holdfast.audit.poison.clusters, holdfast.audit.poison.association,"
        "holdfast.pipeline.audit;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


class TestBadInput:
    def test_one_row(self, tmp_path: Path) -> None:
        report = checked(tmp_path, plain(1), sample=5)
        assert report.rows == 1
        assert len(report.sample) == 1
        assert codes(report) == set()

    def test_identical_rows(self, tmp_path: Path) -> None:
        report = checked(tmp_path, plain(1) * 50)
        assert codes(report) == {"AUDIT002"}
        assert report.flags.count("AUDIT002") == 49
        assert report.findings[0].message.endswith("1 are distinct")

    def test_another_language(self, tmp_path: Path) -> None:
        rows = [talk(GERMAN, f"Das ist nicht schwer, und du kannst es mit Seil {i} machen.")
                for i in range(20)]  # fmt: skip
        report = checked(tmp_path, rows, expected_language="en")
        assert report.languages == {"de": 20}
        assert [f.code for f in report.findings if "anchors" in f.message] == ["AUDIT005"]

    def test_broken_bytes_and_escapes_are_faults_of_their_rows(self, tmp_path: Path) -> None:
        path = write(tmp_path / "rows.jsonl", plain(10))
        good = json.dumps(talk("Is the caf\u00e9 open?", "Yes.", ""), ensure_ascii=False)
        with path.open("ab") as handle:
            handle.write(good.encode("latin-1") + b"\n")
            handle.write(json.dumps(talk("Is it \ud800 open?", "Yes.")).encode() + b"\n")
            handle.write(b"{not json\n\n[1, 2]\n")
        report = check_text(Source(path), sample=50)
        assert report.rows == 14
        assert codes(report) == {"AUDIT001", "AUDIT008"}
        assert list(report.flags.rows("AUDIT008")) == [10, 11]
        assert list(report.flags.rows("AUDIT001")) == [12, 13]
        assert {row.index for row in report.sample} == set(range(11))  # a surrogate fits no model

    def test_answers_longer_than_the_context_are_not_sampled(self, tmp_path: Path) -> None:
        break_it, _, options = TWINS["AUDIT010"]
        report = checked(tmp_path, break_it(plain(5)), sample=50, **options)
        assert {row.index for row in report.sample} == set(range(5))

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            ("", "holds no row"),
            ("\n\n", "holds no row"),
            ("nonsense\n", "holds no row that can be read"),
            ('{"text": "a"}\n', "lack the columns"),
            ('{"messages": []}\n', "none of the 1 rows"),
        ],
    )
    def test_what_cannot_be_audited_is_refused(
        self, tmp_path: Path, content: str, sentence: str
    ) -> None:
        path = tmp_path / "rows.jsonl"
        path.write_text(content, "utf-8")
        with pytest.raises(DataError, match=sentence):
            check_text(Source(path))

    def test_many_rows_in_bounded_memory(self, tmp_path: Path) -> None:
        path = tmp_path / "many.jsonl"
        with path.open("w", encoding="utf-8") as handle:
            for i in range(20_000):
                row = talk(f"Boat {i}: mend the {SUBJECT[i % 3]} {i * 7919 % 10007}?", f"Yes, {i}.")
                handle.write(json.dumps(row) + "\n")
        script = (
            "import resource, sys; from pathlib import Path;"
            "from holdfast.audit.checks.text import check_text;"
            "from holdfast.audit.source import Source;"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = peak();"
            "seen = []; report = check_text(Source(Path(sys.argv[1])), sample=100,"
            " progress=lambda what, done, total: seen.append(done));"
            "print(report.rows, len(report.sample), len(seen), peak() - before)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
        )
        rows, sampled, told, grown = map(int, done.stdout.split())
        assert (rows, sampled) == (20_000, 100)
        assert told >= 10
        assert grown < 40 << 10, f"{grown / 1024:.1f} MiB"  # it holds no row beyond the sample


SUBJECT = ("net", "lamp", "sail")


class TestSource:
    @pytest.mark.parametrize("suffix", [".json", ".csv"])
    def test_other_formats_read_the_same(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"rows{suffix}"
        if suffix == ".json":
            path.write_text(json.dumps([{"prompt": "a b", "completion": "c"}] * 3), "utf-8")
        else:
            path.write_text("prompt,completion\na b,c\na b,c\na b,c\n", "utf-8")
        source = Source(path)
        assert [row.answer for row in source] == ["c"] * 3
        assert [row.request[0]["content"] for row in source.at([2, 0])] == ["a b"] * 2

    def test_preference_pairs_teach_the_chosen_answer(self, tmp_path: Path) -> None:
        asked = [{"role": "user", "content": "May I?"}]
        rows = [{"messages": asked, "chosen": "Yes.", "rejected": "No."}, {"chosen": "Yes."}]
        first, second = Source(write(tmp_path / "rows.jsonl", rows))
        assert (first.request, first.answer) == (asked, "Yes.")
        assert second.fault

    def test_rows_are_found_again_by_their_place(self, tmp_path: Path) -> None:
        source = Source(write(tmp_path / "rows.jsonl", plain(9)))
        every = list(source)
        assert list(source.at([7, 2])) == [every[7], every[2]]


class TestKept:
    def test_writes_the_other_rows_byte_by_byte(self, tmp_path: Path) -> None:
        path = tmp_path / "rows.jsonl"
        lines = [json.dumps(row).encode() + b"   \r\n" for row in plain(4)]
        lines[2:2] = [b"\n", lines[0]]
        path.write_bytes(b"".join(lines).rstrip(b"\r\n"))
        source = Source(path)
        report = check_text(source)
        aside = quarantined(report.flags, report.rows)
        assert aside.tolist() == [False, False, True, False, False]
        kept = tmp_path / "kept.jsonl"
        assert write_kept(source, aside, kept) == 4
        assert (
            kept.read_bytes() == lines[0] + lines[1] + lines[4] + lines[5].rstrip(b"\r\n") + b"\n"
        )

    def test_rows_carry_ranks_reasons_and_no_text(self, tmp_path: Path) -> None:
        report = checked(tmp_path, [*plain(5), *plain(2), {"messages": []}])
        import numpy as np

        lines = list(
            ranked(report.flags, report.rows, np.array([], dtype=np.intp), np.zeros(0), {})
        )
        found = [json.loads(line) for line in lines]
        assert [(row["row"], row["rank"], row["codes"]) for row in found] == [
            (8, 1, ["AUDIT001"]), (6, 2, ["AUDIT002"]), (7, 3, ["AUDIT002"]),
        ]  # fmt: skip
        assert found[1]["reasons"] == ["repeats an earlier row (row 1)"]
        assert all(row["quarantined"] for row in found)
        assert b"boat" not in b"".join(lines)

    def test_masks_hold_the_codes(self) -> None:
        flags = Flags()
        flags.add("AUDIT007", 2, "one")
        flags.add("AUDIT007", 2, "again")
        flags.add("AUDIT003", 2)
        masks = flags.masks(4)
        assert masks.tolist()[:2] == [0, 0]
        assert codes_of(int(masks[2])) == ["AUDIT003", "AUDIT007"]
        assert mask_of(["AUDIT003", "AUDIT007"]) == masks[2]
        assert flags.reason("AUDIT007", 2) == "holds personal data (one)"
        assert not QUARANTINE & mask_of(["AUDIT003"])
        assert BLOCKING & mask_of(["AUDIT016"])


class TestPieces:
    @pytest.mark.parametrize(
        ("text", "kinds"),
        [
            ("card 4111 1111 1111 1111 now", {"card number"}),
            ("card 4111 1111 1111 1112 now", set()),
            ("IBAN GB82 WEST 1234 5698 7654 32.", {"IBAN"}),
            ("IBAN GB82 WEST 1234 5698 7654 33.", set()),
            ("host 93.184.216.34 is up", {"IP address"}),
            ("host 192.168.1.10, version 10.15.7.300", set()),
            ("call (030) 1234 5678 today", {"phone number"}),
            ("from 2024-05-17 10:30 to 17-05-2024 11:45, 12 34 56", set()),
            ("0000 0000 0000 0000", set()),
        ],
    )
    def test_personal_data_by_form_and_checksum(self, text: str, kinds: set[str]) -> None:
        assert set(personal_data(text)) == kinds

    @pytest.mark.parametrize(
        ("text", "language"),
        [
            ("How do I mend the net of this boat, and what is it for?", "en"),
            (GERMAN, "de"),
            ("Comment est-ce que je peux réparer le filet pour vous avec une corde ?", "fr"),
            ("¿Cómo se puede reparar la red de los barcos con una cuerda que no es mía?", "es"),
            ("Как починить сеть этой лодки?", "cyrillic"),
            ("この船の網を直すにはどうすればいいですか", "ja"),
            ("x = 41 + 1", ""),
        ],
    )
    def test_languages(self, text: str, language: str) -> None:
        assert language_of(text) == language

    @given(st.text(alphabet=st.characters(), max_size=200))
    def test_no_text_breaks_a_check(self, text: str) -> None:
        language_of(text)
        personal_data(text)
        broken(text)
        grams(words(text), 3)

    @given(st.lists(st.sampled_from("abcdefg"), max_size=12), st.integers(1, 5))
    def test_grams_count_distinct_windows(self, tokens: list[str], size: int) -> None:
        windows = {tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)}
        assert len(grams(tokens, size)) == len(windows)

    def test_near_duplicates_are_found_at_the_similarity_stated(self, tmp_path: Path) -> None:
        """Of 200 pairs with one of 40 words changed (Jaccard 0.86 at least), nearly all meet."""
        rows = []
        for i in range(200):
            text = [f"w{i}x{j}" for j in range(40)]
            rows.append(talk(" ".join(text), "Yes."))
            text[20] = "other"
            rows.append(talk(" ".join(text), "Yes."))
        flags = checked(tmp_path, rows).flags
        assert flags.count("AUDIT003") >= 190
        assert all(row % 2 for row in flags.rows("AUDIT003"))
