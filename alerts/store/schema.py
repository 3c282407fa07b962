"""Tables of the store. Instants are microseconds UTC, nights local dates.

Condition, alert and delivery are separate states: a condition is where a rule stands for a subject, an
alert is what people deal with, an outbox row is one message to one recipient by one channel.
"""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.schema import SchemaItem

from alerts.store.unchanging import forbid_changes

#: Raised with every change below.
STORE_VERSION: Final = 4

METADATA: Final = sa.MetaData()

#: What an alert is about; `patient` is by far the most common.
SCOPES: Final = ("patient", "gateway", "site", "system")
#: What a message says: `kind` of its idempotency key `alert:kind:step:recipient:channel`.
KINDS: Final = ("open", "repeat", "escalate", "event", "unmuted", "resolved", "digest")
#: `failed`: this channel was given up and another one tries; `dead`: there was none left.
STATUSES: Final = ("queued", "leased", "sent", "cancelled", "failed", "dead")


def _text(name: str, *more: SchemaItem, key: bool = False, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, *more, primary_key=key, nullable=null)


def _utc(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null)


def _count(name: str, default: int = 0) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, default=default)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, default=False)


def _json(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=null)


def _one_of(column: str, words: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return sa.CheckConstraint(f"{column} in ({listed})", name=f"{column}_is_known")


def _table(name: str, *columns: SchemaItem) -> sa.Table:
    return sa.Table(name, METADATA, *columns)


def _state() -> tuple[SchemaItem, ...]:
    """Columns of :class:`alerts.engine.evaluate.ConditionState`, in event time."""
    return (
        _text("phase"),
        _utc("since", null=True),
        _utc("clear_since", null=True),
        _utc("last_breach", null=True),
        _utc("last_seen", null=True),
        _utc("last_at", null=True),
        _count("clear_count"),
        _one_of("phase", ("idle", "pending", "firing", "clearing")),
    )


store_version: Final = _table("store_version", _count("version"))

# -- judgement ------------------------------------------------------------------------------------

#: What a rule saw at a point of event time, a byte per subject by number, packed; late data replace it,
#: and all is folded anew (:mod:`alerts.store.readings`).
reading: Final = _table(
    "reading",
    _text("rule", key=True),
    sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("codes", sa.LargeBinary, nullable=False),
)

#: Where a subject stands in the readings.
subject_number: Final = _table(
    "subject_number",
    _text("subject", key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("number", name="one_subject_per_number"),
)

#: Fold of the readings: where the condition stands at `last_at` (event time); an idle one has no row.
condition: Final = _table(
    "condition",
    _text("subject", key=True),
    _text("rule", key=True),
    *_state(),
)

#: The same of the live rules; idle ones too, so that what comes again is known.
live_condition: Final = _table(
    "live_condition",
    _text("subject", key=True),
    _text("rule", key=True),
    *_state(),
)

#: Events are judged once however late they come: the id of each answer that was.
judged_event: Final = _table(
    "judged_event",
    _text("event", key=True),
    _text("rule", key=True),
    _text("subject"),
    _utc("at"),
    _utc("judged_utc"),
    _flag("is_positive"),
    _text("alert", null=True),
)

# -- alerts ---------------------------------------------------------------------------------------

alert: Final = _table(
    "alert",
    _text("alert", key=True),
    _text("scope"),
    _text("subject"),
    _text("site", null=True),
    _text("rule"),
    sa.Column("rule_version", sa.Integer, nullable=False),
    _text("route"),
    _text("severity"),
    _text("status"),
    # Raised by every change: who acts says which version was looked at.
    _count("version", 1),
    sa.Column("night", sa.Date),
    _text("zone", null=True),
    sa.Column("value", sa.Float),
    _text("sentence"),
    # What the rule read, and what was told beside it: wear, pain, notes.
    _json("inputs"),
    _utc("opened_utc"),
    # Open but silent, and why: no data of the metric, a storm, a silence.
    _text("held_by", null=True),
    _flag("is_retrospective"),
    _flag("is_latched"),
    # A latched alert whose condition is over waits for a person.
    _utc("cleared_utc", null=True),
    _text("assignee", null=True),
    _utc("snooze_until_utc", null=True),
    _text("snoozed_by", null=True),
    # Timers are rows: each tick looks at what is due. `round` counts restarts of the chain.
    _count("round", 1),
    _count("escalation_step"),
    _utc("next_escalation_utc", null=True),
    _count("repeat_count"),
    _utc("next_repeat_utc", null=True),
    _utc("acked_utc", null=True),
    _text("acked_by", null=True),
    _utc("first_acked_utc", null=True),
    _utc("outcome_due_utc", null=True),
    _text("outcome", null=True),
    _utc("resolved_utc", null=True),
    sa.Column("resolved_night", sa.Date),
    _text("closed_by", null=True),
    _one_of("scope", SCOPES),
    _one_of("status", ("open", "acked", "resolved")),
    _one_of("severity", ("low", "medium", "high", "critical")),
)

#: The database, not code, keeps it at one active alert per subject and rule.
one_active_alert: Final = sa.Index(
    "one_active_alert",
    alert.c.scope,
    alert.c.subject,
    alert.c.rule,
    unique=True,
    sqlite_where=alert.c.status.in_(("open", "acked")),
    postgresql_where=alert.c.status.in_(("open", "acked")),
)
sa.Index("alert_of_subject", alert.c.subject)
sa.Index("alert_escalates", alert.c.next_escalation_utc)
sa.Index("alert_repeats", alert.c.next_repeat_utc)

comment: Final = _table(
    "comment",
    _text("comment", key=True),
    _text("alert", sa.ForeignKey("alert.alert")),
    _utc("utc"),
    _text("author"),
    _text("text"),
)

outcome: Final = _table(
    "outcome",
    _text("alert", sa.ForeignKey("alert.alert"), key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _utc("utc"),
    _text("author"),
    _text("label"),
    _text("helped", null=True),
    _one_of("label", ("true-flare", "other-cause", "not-useful")),
)

#: Steps of a pathway that an alert suggests, and what a person decided about each.
suggestion: Final = _table(
    "suggestion",
    _text("alert", sa.ForeignKey("alert.alert"), key=True),
    _text("pathway", key=True),
    _text("step", key=True),
    sa.Column("pathway_version", sa.Integer, nullable=False),
    _text("status"),
    _utc("suggested_utc"),
    _utc("decided_utc", null=True),
    _text("decided_by", null=True),
    _text("reason", null=True),
    _one_of("status", ("suggested", "ask", "held", "accepted", "declined")),
)

silence: Final = _table(
    "silence",
    _text("silence", key=True),
    # field -> value an alert must have: rule, subject, site, severity
    _json("matcher"),
    _utc("starts_utc"),
    _utc("expires_utc"),
    _text("author"),
    _text("reason"),
    _utc("ended_utc", null=True),
)

# -- messages -------------------------------------------------------------------------------------

outbox: Final = _table(
    "outbox",
    # alert:kind:step:recipient:channel, the same for every attempt
    _text("key", key=True),
    _text("alert", sa.ForeignKey("alert.alert")),
    _text("kind"),
    _text("step"),
    _text("recipient"),
    # Whom the recipient stands for: resolved again when the message goes out later than it was queued.
    _text("role", null=True),
    _text("channel"),
    # Channels still to try when this one gives up, in order.
    _json("next_channels"),
    _text("status"),
    # Rows of one subject, recipient and channel that are due together go out as one message.
    _text("grouping"),
    # Key of the row whose message carries this one: set with the first lease and kept for every attempt.
    _text("batch", null=True),
    # Whether quiet hours hold it back.
    _flag("is_deferrable"),
    _count("attempt_count"),
    # An attempt whose end nobody knows: its worker died, or no answer came.
    _flag("is_perhaps_sent"),
    _utc("not_before_utc"),
    _utc("deadline_utc"),
    _utc("lease_until_utc", null=True),
    _text("lease_owner", null=True),
    # Why it waits or was called off: quiet hours, grouping, snoozed, acknowledged ...
    _text("reason", null=True),
    _text("last_error", null=True),
    _utc("created_utc"),
    _utc("sent_utc", null=True),
    _one_of("kind", KINDS),
    _one_of("status", STATUSES),
)
sa.Index("outbox_due", outbox.c.status, outbox.c.not_before_utc)
sa.Index("outbox_of_alert", outbox.c.alert)
sa.Index("outbox_batch", outbox.c.batch)

# -- people ---------------------------------------------------------------------------------------

staff: Final = _table(
    "staff",
    _text("staff", key=True),
    _text("os_user", null=True),
    _text("zone"),
    # Channels in the order to try; null takes the route's.
    _json("channels", null=True),
    # Local wall-clock times HH:MM in the zone; equal or null: none.
    _text("quiet_from", null=True),
    _text("quiet_to", null=True),
    _utc("since_utc"),
    _utc("left_utc", null=True),
    sa.UniqueConstraint("os_user", name="one_staff_per_user"),
)

staff_role: Final = _table(
    "staff_role", _text("staff", sa.ForeignKey("staff.staff"), key=True), _text("role", key=True)
)

#: On-call schedules as iCalendar: an event's SUMMARY is the staff on call.
schedule: Final = _table(
    "schedule",
    _text("role", key=True),
    _text("calendar"),
    _utc("loaded_utc"),
    _text("loaded_by"),
)

# -- what must not fall silent ---------------------------------------------------------------------

#: Last sign of life of a gateway, a site or the nightly run, and when the next is due.
heartbeat: Final = _table(
    "heartbeat",
    _text("scope", key=True),
    _text("subject", key=True),
    # Of a gateway: its site, whose silence says it all.
    _text("site", null=True),
    _utc("beat_utc"),
    _utc("due_utc"),
    _one_of("scope", SCOPES),
)

#: Alerts that each night's run opened: from 28 on, the storm breaker goes by them.
night_count: Final = _table(
    "night_count",
    sa.Column("night", sa.Date, primary_key=True),
    _count("opened"),
    _count("patients"),
    _flag("is_storm"),
    _utc("judged_utc"),
)

#: Who is due a nudge for a technical reason; a list, told to no staff.
nudge: Final = _table(
    "nudge",
    _text("subject", key=True),
    _text("reason", key=True),
    sa.Column("since_night", sa.Date, nullable=False),
    _utc("noted_utc"),
)

# -- rules in force --------------------------------------------------------------------------------

#: A changed pack takes two people: the database refuses one who approves what they proposed.
rule_change: Final = _table(
    "rule_change",
    _text("change", key=True),
    _text("digest"),
    _text("pack"),
    _text("summary"),
    _utc("proposed_utc"),
    _text("proposed_by"),
    _utc("approved_utc", null=True),
    _text("approved_by", null=True),
    sa.CheckConstraint("approved_by is null or approved_by <> proposed_by", name="two_people"),
)

# -- audit ----------------------------------------------------------------------------------------

#: Hash-chained: each row covers the one before it. What names a patient is ciphertext.
audit: Final = _table(
    "audit",
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    _utc("utc"),
    _text("actor"),
    _text("action"),
    _text("alert", null=True),
    _text("subject_key", null=True),
    _text("detail"),
    _text("previous_hash"),
    _text("hash"),
)
sa.Index("audit_of_alert", audit.c.alert)

#: Random name and key per subject; erasure deletes the row, and the chain still verifies.
subject_key: Final = _table(
    "subject_key",
    _text("subject_key", key=True),
    _text("scope"),
    _text("subject"),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("scope", "subject", name="one_key_per_subject"),
)

forbid_changes(audit)
