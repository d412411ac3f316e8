"""TOML read strictly: whatever a file says must be known and of the right type."""
import re
import tomllib

from .errors import UsageError

_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?")
_KEY = re.compile(r"\s*(\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+)\s*(?:[=.])")

NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}


class ConfigError(UsageError):
    pass


class Document:
    """A TOML file and the lines that its keys stand on."""

    def __init__(self, path):
        self.path = path
        try:
            with open(path, encoding="utf-8") as stream:
                self.text = stream.read()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not UTF-8 text") from error
        try:
            self.data = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"at line (\d+)", str(error))
            where = f":{line[1]}" if line else ""
            raise ConfigError(f"{path}{where}: {error}") from error

    def line_of(self, table="", key=None, number=0):
        """The line of @key in the @number-th table headed @table (0: not found)."""
        current, seen, header_line = "", -1 if table else 0, 0
        if table == "" and key is not None:
            header_line = self.line_of(key)
        for index, line in enumerate(self.text.splitlines(), 1):
            header = _HEADER.match(line)
            if header and line.lstrip().startswith("["):
                current = header[1].strip().strip("\"'")
                if current == table:
                    seen += 1
                    if seen == number:
                        header_line = index
                continue
            if current == table and seen == number and key is not None:
                found = _KEY.match(line)
                if found and found[1].strip("\"'") == key:
                    return index
        return header_line

    def error(self, message, table="", key=None, number=0):
        line = self.line_of(table, key, number)
        where = f":{line}" if line else ""
        return ConfigError(f"{self.path}{where}: {message}")

    def check(self, data, schema, table="", number=0):
        """@data as a dict of @schema's keys: {key: (type or types, default)}.

        A default of Ellipsis makes the key obligatory. The type [t] is a list of t.
        """
        for key in data:
            if key not in schema:
                known = ", ".join(sorted(schema))
                raise self.error(f"unknown key {key!r} (known: {known})", table, key, number)
        values = {}
        for key, (kind, default) in schema.items():
            if key not in data:
                if default is ...:
                    raise self.error(f"the key {key!r} is missing", table, None, number)
                values[key] = default
                continue
            values[key] = self._value(data[key], kind, table, key, number)
        return values

    def _value(self, value, kind, table, key, number):
        if isinstance(kind, list):
            good = isinstance(value, list) and all(_is(item, kind[0]) for item in value)
            name = f"a list, each item {NAMES[kind[0]]}"
        elif isinstance(kind, tuple):
            good = value in kind
            name = "one of " + ", ".join(map(repr, kind))
        elif kind is dict:
            good, name = isinstance(value, dict), "a table"
        else:
            good, name = _is(value, kind), NAMES[kind]
        if not good:
            raise self.error(f"{key!r} must be {name}", table, key, number)
        return value


def _is(value, kind):
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)
