"""Starter queries: questions an analyst asks first, each a file of SQL on the snapshot's views."""

from importlib.resources import files

from analytics.errors import QueryError

_FOLDER = files("analytics.store") / "starter"


def names() -> list[str]:
    """Names of the starter queries, in the order of the files."""
    return sorted(one.name.removesuffix(".sql") for one in _FOLDER.iterdir() if one.name.endswith(".sql"))


def read(name: str) -> str:
    """Statement of a starter query.

    Raises
    ------
    QueryError
        When there is none of that name.
    """
    if name not in names():
        raise QueryError(f"no starter query {name!r}: {', '.join(names())}")
    return (_FOLDER / f"{name}.sql").read_text("utf-8")


def question(name: str) -> str:
    """What a starter query answers: the first line of its file."""
    return read(name).splitlines()[0].removeprefix("-- ")


def overview() -> str:
    """Every starter query with its question, for the terminal."""
    width = max(map(len, names()))
    return "\n".join(f"@{name:{width}}  {question(name)}" for name in names())
