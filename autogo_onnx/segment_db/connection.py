"""Opening a database file: it may be missing, foreign, broken, older, newer, or in use.

Whatever is wrong becomes one line.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from autogo_onnx.errors import InputError
from autogo_onnx.segment_db.schema import APPLICATION_ID, SCHEMA_VERSION

# How long one waits for another who writes.
_PATIENCE_S = 60.0
# What comes of reading numbers, graphs and JSON that mean nothing, or were made to hurt.
SENSELESS = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection to an existing file, `ro` or `rw`; transactions begin and end explicitly."""
    address = f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"
    connection = sqlite3.connect(
        address, uri=True, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
    )
    # A file may come from anywhere: no code in its schema is trusted.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


@contextmanager
def transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """A new connection that has the file's write lock; commits unless the block raises.

    Raises:
        InputError: the file is missing, broken or of another kind, or cannot be written.
    """
    with explained(path), closing(connect(path, "rw")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is no segment database of this schema.

    Raises:
        InputError: it is not.
    """
    version = schema_version(connection, path)
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path}: segment database of schema {version}, this program reads {SCHEMA_VERSION};"
            " a newer version of autogo-onnx is needed"
        )
    if version < SCHEMA_VERSION:
        raise InputError(
            f"{path}: segment database of schema {version}, this program reads {SCHEMA_VERSION};"
            f" `autogo-onnx db migrate {path}` brings it up to date"
        )


def schema_version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema of a segment database.

    Raises:
        InputError: it is none.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise InputError(f"{path}: not a segment database")
    # They run as part of our queries: a view may never end, a trigger may change anything.
    (foreign,) = connection.execute(
        "SELECT count(*) FROM sqlite_schema WHERE type IN ('view', 'trigger')"
    ).fetchone()
    if foreign:
        raise InputError(f"{path}: not a segment database: it has views or triggers")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Whatever is wrong with a database file becomes one line.

    Raises:
        InputError: SQLite cannot work with the file, or its content makes no sense.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise InputError(f"{path}: {_reason(error)}") from error
    except (sqlite3.Error, *SENSELESS) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{path}: broken or no segment database: {text}") from error


def _reason(error: sqlite3.OperationalError) -> str:
    """What to tell of an error that may come from the file's surroundings."""
    name = getattr(error, "sqlite_errorname", "")
    text = " ".join(str(error).split())
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"in use by another process for more than {_PATIENCE_S:.0f} s; try again"
    if name.startswith(("SQLITE_READONLY", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")):
        return f"cannot be read or written: {text}"
    return f"broken or no segment database: {text}"


def stamp(path: Path) -> tuple[int, int]:
    """Tells one file from another that has taken its path.

    Raises:
        InputError: there is no file.
    """
    try:
        status = path.stat()
    except OSError:
        status = None
    if status is None or not path.is_file():
        raise InputError(f"{path}: no such segment database; `db build` makes one")
    return status.st_dev, status.st_ino


def recover(path: Path) -> None:
    """Undo what a writer left unfinished when it died; only one who may write can."""
    if path.with_name(path.name + "-journal").exists():
        try:
            with closing(connect(path, "rw")) as connection:
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.Error:
            return  # the reader will say what is wrong
