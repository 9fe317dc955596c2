"""Verdicts as JUnit XML, which every CI system shows: one test case per comparison and finding."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from holdfast.core.records import Outcome, Verdict
from holdfast.gate.codes import outcome_of
from holdfast.gate.words import describe, one_line, word


def render(verdicts: Sequence[Verdict]) -> str:
    """A well-formed XML document with one suite per verdict.

    A blocking finding that fails is a `failure`, one that is inconclusive or invalid an `error`:
    whatever did not pass is red.
    """
    root = ET.Element("testsuites", name="holdfast gate")
    for verdict in verdicts:
        _suite(root, verdict)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, verdict: Verdict) -> None:
    outcomes = [outcome_of(f) for f in verdict.findings]
    suite = ET.SubElement(root, "testsuite", name=one_line(f"holdfast.gate.{verdict.arm}"))
    decided = {f.metric for f in verdict.findings if f.severity == "blocking"}
    clean = [c for c in verdict.comparisons if c.metric not in decided]
    for c in clean:
        _case(suite, verdict, f"{c.metric} [{c.suite}]", describe(c))
    for found, outcome in zip(verdict.findings, outcomes, strict=True):
        name = f"{found.code} {found.title} {found.metric}".strip()
        kind = {Outcome.PASS: "", Outcome.FAIL: "failure"}.get(outcome, "error")
        _case(suite, verdict, name, found.message, kind, found.code)
    suite.set("tests", str(len(clean) + len(outcomes)))
    suite.set("failures", str(outcomes.count(Outcome.FAIL)))
    suite.set("errors", str(sum(o in (Outcome.INCONCLUSIVE, Outcome.INVALID) for o in outcomes)))
    properties = ET.Element("properties")
    ET.SubElement(properties, "property", name="verdict", value=word(verdict))
    for key in ("base", "candidate", "policy", "threat"):
        ET.SubElement(properties, "property", name=key, value=one_line(getattr(verdict, key)))
    suite.insert(0, properties)


def _case(
    suite: ET.Element, verdict: Verdict, name: str, text: str, kind: str = "", code: str = ""
) -> None:
    case = ET.SubElement(
        suite, "testcase", classname=one_line(f"holdfast.gate.{verdict.arm}"), name=one_line(name)
    )
    if kind:
        ET.SubElement(case, kind, type=one_line(code), message=one_line(text))
    else:
        ET.SubElement(case, "system-out").text = one_line(text)
