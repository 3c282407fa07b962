"""Every setting, read from the environment once; nothing else reads the environment."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from flows.errors import UserError

#: Names of the variables, for `flarecast --help` and the runbook.
VARIABLES = {
    "FLARECAST_HOME": "folder of the clinic's data (default ./flarecast-home, else ./demo-out)",
    "FLARECAST_WEBHOOK_URL": "care team's webhook; alerts stay in the journal without it",
    "FLARECAST_WEBHOOK_SECRET": "its signing secret (whsec_...)",
    "FLARECAST_ZONE": "IANA time zone of the site, for what runs by itself (default UTC)",
    "FLARECAST_ALERT_STORE": "alerts in PostgreSQL: postgresql+psycopg://user@host/name (default SQLite)",
    "FLARECAST_BACKUP": "folder of the backups, on another disk; none are made by schedule without it",
    "FLARECAST_PARTITIONS": "shares a night is computed in: 8, 16 or 32 (default by number of patients)",
    "FLARECAST_TASK_RUNNER": "who computes the shares: threads, dask, or a Dask scheduler's tcp:// address",
    "FLARECAST_LAKE_URL": "lake on S3-compatible storage: s3://bucket/prefix; AWS_* say who asks",
    "FLARECAST_SNAPSHOT_URL": "where the nightly run also publishes: s3://bucket/prefix",
    "FLARECAST_S3_ENDPOINT": "its address where it is not Amazon's: https://host",
    "FLARECAST_PREFECT_DATABASE": "history of runs on PostgreSQL: postgresql+asyncpg://user:password@host/name",
    "PREFECT_API_URL": "Prefect server; nightly runs as a flow there when set",
}


@dataclass(frozen=True)
class Settings:
    """Settings of one process."""

    home: Path
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    prefect_api_url: str | None = None
    partitions: int | None = None
    zone: str = "UTC"
    task_runner: str = "threads"
    backup: Path | None = None
    lake: "Place | None" = None
    snapshots: "Place | None" = None
    prefect_database: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Place:
    """A bucket of an S3-compatible store and the prefix below which everything lies."""

    bucket: str
    prefix: str
    endpoint: str | None = None

    @property
    def url(self) -> str:
        """As a user writes it."""
        return f"s3://{self.bucket}/{self.prefix}"


def place_of(url: str, name: str = "--snapshot") -> Place:
    """A place by its URL, at the endpoint of the environment; `name` is where the URL stands.

    Raises
    ------
    UserError
        When it is no ``s3://bucket/prefix``.
    """
    bucket, _, prefix = url.removeprefix("s3://").strip("/").partition("/")
    if not url.startswith("s3://") or not bucket or not prefix:
        raise UserError(f"{name} is {url!r}, not s3://bucket/prefix")
    return Place(bucket, prefix, os.environ.get("FLARECAST_S3_ENDPOINT") or None)


def lake_place() -> Place | None:
    """Where the lake is when it is not in a folder."""
    url = os.environ.get("FLARECAST_LAKE_URL")
    return place_of(url, "FLARECAST_LAKE_URL") if url else None


def alert_store() -> str | None:
    """URL of the alert store when it is not a file of the clinic.

    Raises
    ------
    UserError
        When it is no ``postgresql+psycopg://...``; not repeated, there may be a password in it.
    """
    url = os.environ.get("FLARECAST_ALERT_STORE") or None
    if url is not None and not url.startswith("postgresql+psycopg://"):
        raise UserError("FLARECAST_ALERT_STORE is not postgresql+psycopg://user:password@host/name")
    return url


def s3_access() -> dict[str, str]:
    """Keys and region for requests that the library for object storage cannot make; those that are set."""
    variables = {
        "access_key_id": os.environ.get("AWS_ACCESS_KEY_ID"),
        "secret_access_key": os.environ.get("AWS_SECRET_ACCESS_KEY"),
        "session_token": os.environ.get("AWS_SESSION_TOKEN"),
        "region": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
    }
    return {name: value for name, value in variables.items() if value}


def snapshot_place() -> Place | None:
    """Where snapshots are published besides the clinic's folder."""
    url = os.environ.get("FLARECAST_SNAPSHOT_URL")
    return place_of(url, "FLARECAST_SNAPSHOT_URL") if url else None


def from_environment() -> Settings:
    """Settings of this process.

    Raises
    ------
    UserError
        When a webhook has no signing secret, or a number is none.
    """
    url = os.environ.get("FLARECAST_WEBHOOK_URL") or None
    secret = os.environ.get("FLARECAST_WEBHOOK_SECRET") or None
    if url and not secret:
        raise UserError(
            "FLARECAST_WEBHOOK_URL is set but FLARECAST_WEBHOOK_SECRET is not: messages must be signed"
        )
    return Settings(
        home=Path(os.environ.get("FLARECAST_HOME") or _default_home()),
        webhook_url=url,
        webhook_secret=secret,
        prefect_api_url=os.environ.get("PREFECT_API_URL") or None,
        zone=os.environ.get("FLARECAST_ZONE") or "UTC",
        task_runner=os.environ.get("FLARECAST_TASK_RUNNER") or "threads",
        lake=lake_place(),
        backup=Path(os.environ["FLARECAST_BACKUP"]) if os.environ.get("FLARECAST_BACKUP") else None,
        snapshots=snapshot_place(),
        prefect_database=_prefect_database(os.environ.get("FLARECAST_PREFECT_DATABASE") or None),
        partitions=_partitions(os.environ.get("FLARECAST_PARTITIONS") or None),
    )


def secret(name: str) -> str:
    """Value of a variable that a file of the site names as the place of a secret; empty when not set."""
    return os.environ.get(name, "")


def _partitions(text: str | None) -> int | None:
    if text is not None and text not in ("8", "16", "32"):
        raise UserError(f"FLARECAST_PARTITIONS is {text!r}, not 8, 16 or 32")
    return None if text is None else int(text)


def _prefect_database(url: str | None) -> str | None:
    if url is not None and not url.startswith("postgresql+asyncpg://"):
        raise UserError("FLARECAST_PREFECT_DATABASE is not postgresql+asyncpg://user:password@host/name")
    return url


def _default_home() -> str:
    """`flarecast-home`; the demo's folder where there is only that, so that a first look needs no setting."""
    return (
        "demo-out" if Path("demo-out").is_dir() and not Path("flarecast-home").is_dir() else "flarecast-home"
    )


def child_environment(settings: Settings, *, prefect_home: Path | None = None) -> dict[str, str]:
    """Environment of a child process of ours: these settings, and a quiet, private Prefect."""
    env = dict(os.environ)
    env["FLARECAST_HOME"] = str(settings.home)
    wanted = {
        "FLARECAST_WEBHOOK_URL": settings.webhook_url,
        "FLARECAST_WEBHOOK_SECRET": settings.webhook_secret,
        "FLARECAST_LAKE_URL": settings.lake.url if settings.lake else None,
        "FLARECAST_SNAPSHOT_URL": settings.snapshots.url if settings.snapshots else None,
        "PREFECT_API_DATABASE_CONNECTION_URL": settings.prefect_database
        or env.get("PREFECT_API_DATABASE_CONNECTION_URL"),
        "PREFECT_API_URL": settings.prefect_api_url,
        "PREFECT_HOME": str(prefect_home) if prefect_home else env.get("PREFECT_HOME"),
    }
    for name, value in wanted.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    # years of runs would fill the disk: theirs go after 90 days, unless somebody has said otherwise
    env.setdefault("PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED", "events,flow_runs")
    # no phoning home, and a server on a busy small machine may need a minute to answer
    env |= {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_CLI_PROMPT": "false",
        # in memory (the default) a lease dies with the server and its slot stays taken: after a crash in
        # the middle of a night no night would ever run again
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # what a run says is in the log when it says it
        "PYTHONUNBUFFERED": "1",
    }
    return env
