"""Expressions, and the registry that they select from."""
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmxtrunner import registry, selection
from vmxtrunner.errors import UsageError

from conftest import compile_image


@pytest.fixture(scope="session")
def cases(image):
    return registry.by_id(registry.load([str(image)]))


def select(cases, *words, last=None):
    context = selection.Context(cases, lambda: last or {})
    test = selection.compile_expression(words, context)
    return [ident.removeprefix("fake.") for ident, case in cases.items() if test(case)]


CR0 = ["cr0.pe", "cr0.ne", "cr0.pg"]
FAMILY = [f"family.{n:02}" for n in range(4)]


@pytest.mark.parametrize(
    "words, expected",
    [
        ((), ["first", *CR0, *FAMILY]),
        (("fake.cr0",), CR0),
        (("fake.cr",), []),
        (("*.p?",), ["cr0.pe", "cr0.pg"]),
        (("=fake.cr0",), []),
        (("=fake.cr0.pe", "fake.first"), ["first", "cr0.pe"]),
        (("fake_tests",), ["first", *CR0, *FAMILY]),
        (("fake_tests/suite.c",), ["first", *CR0, *FAMILY]),
        (("kernel:suite", "and", "need:ept"), ["cr0.pg"]),
        (("sdm:host state",), CR0),
        (('sdm:"host state"',), CR0),
        (("sdm:reasons or rule:RULE_NE",), ["cr0.ne", *FAMILY]),
        (("not", "(fake.cr0", "or", "fake.family)"), ["first"]),
        (("fake.cr0 & !need:cpus-*",), ["cr0.pe", "cr0.pg"]),
        (("rule:RULE_*", "and", "title:PG"), ["cr0.pg"]),
        (("last:fail",), ["cr0.pe"]),
        (("last:bad",), ["cr0.pe", "cr0.ne"]),
        (("last:none and fake.cr0",), ["cr0.pg"]),
    ],
)
def test_select(cases, words, expected):
    last = {
        "fake.first": ("pass", True),
        "fake.cr0.pe": ("fail", False),
        "fake.cr0.ne": ("crash", False),
    }
    assert select(cases, *words, last=last) == expected


@pytest.mark.parametrize("text", ["(", ")", "a and", "not", "and", "a )", "nokey:x", "", '"', "&"])
def test_wrong_expressions(cases, text):
    with pytest.raises(UsageError):
        select(cases, text)


@settings(max_examples=300, deadline=None)
@given(st.text("ab:=*()&|! '\"@/", max_size=20))
def test_any_text_selects_or_is_refused(cases, text):
    try:
        select(cases, text)
    except UsageError:
        pass


def test_list_file(cases, tmp_path):
    path = tmp_path / "list"
    path.write_text("# some\nfake.first  # the first\n\n=fake.cr0.ne\n")
    assert select(cases, f"@{path}") == ["first", "cr0.ne"]
    path.write_text("fake.none\n")
    context = selection.Context(cases)
    selection.compile_expression([f"@{path}"], context)
    assert context.unknown == ["fake.none"]


@pytest.mark.parametrize("bits, size", [("-m64", 80), ("-m32", 48)])
def test_registry(tmp_path, bits, size):
    folder = compile_image(tmp_path / "some_tests", "one", bits)
    cache = str(tmp_path / "cache.json")
    fresh = registry.load([str(folder)], cache)
    assert os.path.exists(cache)
    cached = registry.load([str(folder)], cache)
    assert [k.cases for k in fresh] == [k.cases for k in cached]
    (kernel,) = fresh
    assert kernel.arch == {80: "x86_64", 48: "i386"}[size]
    assert len(kernel.build) == 40 and kernel.name == "some_tests/one"
    pg = kernel.cases[3]
    assert pg.id == "fake.cr0.pg" and pg.title == "CR0: PG" and pg.index == 3
    assert pg.rules == ["RULE_CR0", "RULE_PG"] or pg.rules == ["RULE_CR0"]
    assert pg.needs == ["unrestricted", "ept"]
    assert kernel.cases[4].id == "fake.family.00" and kernel.cases[4].file == "suite.c"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_images_are_refused(image, tmp_path_factory, data):
    raw = bytearray((image / "suite.elf").read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("bad") / "suite.elf"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        registry.read_image(str(path))
    except registry.RegistryError:
        pass
