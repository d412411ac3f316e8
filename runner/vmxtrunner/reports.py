"""The reports for other programs: junit.xml (Jenkins, GitLab) and results.ktap."""
import os
import re

from .results import AS_EXPECTED

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")


def _name(result):
    ident = result.case.id
    return ident if result.repeat == 1 else f"{ident} ({result.repeat})"


def details_text(result):
    """The findings of a result as lines, keys aligned."""
    lines = []
    for group in result.findings:
        lines += [f"{key:<5} {text}" for key, text in group]
    if result.log:
        lines.append("the target's log ends:")
        lines += ["  " + line for line in result.log.splitlines()]
    return "\n".join(lines)


def _body(result, repeat_command):
    case = result.case
    parts = [case.title, details_text(result)]
    if result.reason and result.reason not in parts[1]:
        parts.insert(1, result.reason)
    if result.expectation:
        entry = result.expectation
        parts.append(f"expected to {entry.outcome} on this target: {entry.reason}")
    parts.append(f"SDM: {case.sdm}")
    parts.append(f"repeat: {repeat_command}")
    return "\n".join(part for part in parts if part)


def _properties(result):
    case = result.case
    yield "sdm", case.sdm
    for rule in case.rules:
        yield "rule", rule
    for need in case.needs:
        yield "need", need
    yield "outcome", result.outcome
    if result.expectation:
        yield "expectation", result.expectation.where


def _message(result):
    if result.outcome == "xpass":
        return f"passes, although {result.expectation.where} expects {result.expectation.outcome}"
    return result.headline() or result.outcome


def _test_case(result, record, command):
    from junit_xml import TestCase

    case = result.case
    message = _message(result)
    test = TestCase(
        _name(result),
        classname=case.kernel.replace("/", "."),
        elapsed_sec=result.seconds or None,
        file=case.file,
        line=case.line,
        status=result.outcome,
    )
    body = _body(result, command)
    if result.outcome == "skip":
        test.add_skipped_info(message=message, output=body)
    elif result.outcome == "xfail":
        test.add_skipped_info(message=f"expected to fail: {result.expectation.reason}", output=body)
    elif result.outcome in ("fail", "xpass"):
        test.add_failure_info(message=message, output=body, failure_type=result.outcome)
    elif result.outcome != "pass":
        test.add_error_info(message=message, output=body, error_type=result.outcome)
    if result.outcome not in AS_EXPECTED:
        # The form in which GitLab and Jenkins' attachments plugin find files.
        logs = [os.path.abspath(record.path(name)) for name in record.logs.get(result.boot, ())]
        test.stdout = "\n".join(f"[[ATTACHMENT|{path}]]" for path in logs)
    return test


def junit(record, name, properties, command_of):
    """The text of junit.xml. @command_of(result): the command that repeats it."""
    import xml.etree.ElementTree as ET

    from junit_xml import TestSuite

    groups = {}
    for result in record.results.values():
        groups.setdefault(result.case.kernel, []).append(result)
    top = ET.Element("testsuites", {"name": name})
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    seconds = 0.0
    for kernel, results in sorted(groups.items()):
        results.sort(key=lambda r: (r.repeat, r.case.index))
        tests = [_test_case(result, record, command_of(result)) for result in results]
        suite = TestSuite(kernel, tests, package=name, properties=properties)
        element = suite.build_xml_doc()
        # junit-xml knows no properties of a test case.
        for child, result in zip(element.iter("testcase"), results):
            listed = ET.Element("properties")
            for key, value in _properties(result):
                ET.SubElement(listed, "property", {"name": key, "value": value})
            child.insert(0, listed)
            child.attrib.setdefault("time", "0")
        for key in totals:
            totals[key] += int(element.get(key, 0))
        spent = sum(result.seconds for result in results)
        element.set("time", f"{spent:.3f}")
        seconds += spent
        top.append(element)
    top.attrib.update({key: str(value) for key, value in totals.items()})
    top.set("time", f"{seconds:.3f}")
    ET.indent(top)
    text = ET.tostring(top, encoding="unicode", xml_declaration=True)
    return _NOT_XML.sub("?", text) + "\n"


def _ktap_line(number, result):
    case = result.case
    reason = result.headline().replace("#", "\\#")
    good = "ok" if result.outcome in AS_EXPECTED else "not ok"
    directive = {
        "skip": f" # SKIP {reason}",
        "xfail": f" # XFAIL {result.expectation.reason if result.expectation else ''}",
        "timeout": f" # TIMEOUT {reason}",
        "error": f" # ERROR {reason}",
        "crash": f" # ERROR crash: {reason}",
        "not-run": f" # ERROR not run: {reason}",
    }.get(result.outcome, "")
    lines = []
    if result.outcome in ("fail", "xpass"):
        lines.append(f"# {result.outcome}: {_message(result)}")
        lines += [f"# {line}" for line in details_text(result).splitlines()]
    lines.append(f"{good} {number} {_name(result)}{directive}".rstrip())
    return lines


def ktap(record, properties):
    """The text of results.ktap: one subtest a kernel."""
    groups = {}
    for result in record.results.values():
        groups.setdefault(result.case.kernel, []).append(result)
    lines = ["KTAP version 1"]
    lines += [f"# {key}: {value}" for key, value in properties.items()]
    lines.append(f"1..{len(groups)}")
    for number, (kernel, results) in enumerate(sorted(groups.items()), 1):
        results.sort(key=lambda r: (r.repeat, r.case.index))
        lines += ["  KTAP version 1", f"  # Subtest: {kernel}", f"  1..{len(results)}"]
        for index, result in enumerate(results, 1):
            lines += ["  " + line for line in _ktap_line(index, result)]
        skipped = all(r.outcome == "skip" for r in results)
        good = all(r.outcome in AS_EXPECTED for r in results)
        directive = " # SKIP" if skipped else ""
        lines.append(f"{'ok' if good else 'not ok'} {number} {kernel}{directive}")
    return "\n".join(lines) + "\n"
