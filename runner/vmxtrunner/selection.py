"""Expressions that select cases: words joined by and, or, not and parentheses.

    vmx.entry.*            ids by glob; without a wildcard also the cases under an id
    =vmx.entry.host.cr0    exactly this id
    vmx_tests/vmxon        a kernel (also vmx_tests/vmxon.c); vmx_tests: a folder
    id: kernel: folder: sdm: title: rule: need: file: last:   one property, by glob
    @FILE                  the ids that a file lists, one a line
    a b                    the same as: a or b

A property without a wildcard must occur: sdm: and title: anywhere in the text,
ignoring case; rule:, need:, kernel:, folder:, id: as the whole value. last: is
the outcome in the last results (last:fail, last:bad for all that is not as
expected). A value with spaces is quoted: sdm:"host state".
"""
import re
from fnmatch import fnmatchcase

from .errors import UsageError

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<mark>[()&|!]) |
      (?P<word>(?:[^\s()&|!"']|"[^"]*"|'[^']*')+)
    )""",
    re.VERBOSE,
)
_WORDS = {"and": "&", "or": "|", "not": "!"}


class Context:
    """What a selection may ask beside the cases themselves."""

    def __init__(self, cases, last=None):
        self.cases = cases  # id -> Case
        self.last = last  # callable -> {id: (outcome, ok)}
        self.unknown = []  # exact ids that no case has
        self._last = None

    def last_results(self):
        if self._last is None:
            self._last = self.last() if self.last else {}
        return self._last


def _glob(pattern, exact=False):
    if not exact and not any(c in pattern for c in "*?["):
        lower = pattern.lower()
        return lambda text: lower in text.lower()
    return lambda text: fnmatchcase(text, pattern)


def _kernel_name(text):
    return re.sub(r"\.(c|elf|rom)$", "", text.removeprefix("./"))


def _property(key, value, context):
    whole, part = _glob(value, exact=True), _glob(value)
    if key == "id":
        return lambda case: whole(case.id)
    if key == "kernel":
        return lambda case: whole(case.kernel) or whole(case.kernel.rpartition("/")[2])
    if key == "folder":
        return lambda case: whole(case.kernel.rpartition("/")[0])
    if key == "sdm":
        return lambda case: part(case.sdm)
    if key == "title":
        return lambda case: part(case.title)
    if key == "file":
        return lambda case: part(case.file)
    if key == "rule":
        return lambda case: any(map(whole, case.rules))
    if key == "need":
        return lambda case: any(whole(n) for need in case.needs for n in (need, *need.split("|")))
    if key == "last":
        return _last(value, context)
    return None


def _last(value, context):
    def test(case):
        outcome, ok = context.last_results().get(case.id, (None, True))
        if value == "bad":
            return outcome is not None and not ok
        if value == "none":
            return outcome is None
        return outcome == value

    return test


def _exact(ids, context):
    context.unknown += sorted(ident for ident in ids if ident not in context.cases)
    return lambda case: case.id in ids


def _file(path, context):
    try:
        with open(path, encoding="utf-8") as stream:
            lines = [line.partition("#")[0].strip() for line in stream]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return _exact({line.removeprefix("=") for line in lines if line}, context)


def _plain(word, context):
    if any(c in word for c in "*?["):
        return lambda case: fnmatchcase(case.id, word)
    kernel, prefix, folder = _kernel_name(word), word.rstrip(".") + ".", word.rstrip("/")
    return lambda case: (
        case.id == word
        or case.id.startswith(prefix)
        or case.kernel == kernel
        or case.kernel.rpartition("/")[0] == folder
    )


def _leaf(word, context):
    word = word.replace('"', "").replace("'", "")
    if word.startswith("@"):
        return _file(word[1:], context)
    if word.startswith("="):
        return _exact({word[1:]}, context)
    key, colon, value = word.partition(":")
    if colon:
        test = _property(key, value, context)
        if test is None:
            raise UsageError(f"unknown property {key!r} in {word!r} (see: vmxt list --help)")
        return test
    return _plain(word, context)


class _Parser:
    def __init__(self, tokens, context):
        self.tokens, self.context, self.at = tokens, context, 0

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else (None, "")

    def take(self):
        token = self.peek()
        self.at += 1
        return token

    def either(self):
        test = self.both()
        while True:
            kind, _text = self.peek()
            if kind == "|":
                self.take()
            elif kind not in ("word", "(", "!"):
                return test
            test = self._join(any, test, self.both())

    def both(self):
        test = self.single()
        while self.peek()[0] == "&":
            self.take()
            test = self._join(all, test, self.single())
        return test

    @staticmethod
    def _join(how, left, right):
        return lambda case: how(t(case) for t in (left, right))

    def single(self):
        kind, text = self.take()
        if kind == "!":
            test = self.single()
            return lambda case: not test(case)
        if kind == "(":
            test = self.either()
            if self.take()[0] != ")":
                raise UsageError("the expression misses a )")
            return test
        if kind == "word":
            return _leaf(text, self.context)
        raise UsageError(f"the expression {'ends too early' if kind is None else 'is wrong'} at {text!r}")


def _tokens(text):
    at, tokens = 0, []
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise UsageError(f"the expression is wrong at {text[at:]!r}")
        at = match.end()
        word = match["mark"] or match["word"]
        kind = match["mark"] or _WORDS.get(word, "word")
        tokens.append((kind, word))
    return tokens


def compile_expression(words, context):
    """A test of a case for the expression that the arguments @words make."""
    if not words:
        return lambda case: True
    parser = _Parser(_tokens(" ".join(words)), context)
    if not parser.tokens:
        raise UsageError("the expression is empty")
    test = parser.either()
    if parser.at < len(parser.tokens):
        raise UsageError(f"the expression is wrong at {parser.peek()[1]!r}")
    return test
