"""A table whose rows are added and never changed: the database itself refuses."""

import sqlalchemy as sa
from sqlalchemy import event


def forbid_changes(table: sa.Table) -> None:
    """Let the store refuse to update or delete rows of the table, from when it is made."""
    name = table.name
    for change in ("update", "delete"):
        refuse = sa.DDL(
            f"create trigger {name}_no_{change} before {change} on {name}"
            f" begin select raise(abort, '{name} rows are never changed'); end"
        )
        event.listen(table, "after_create", refuse.execute_if(dialect="sqlite"))
    refuse = sa.DDL(
        f"create or replace function {name}_is_kept() returns trigger language plpgsql as"
        f" $$ begin raise exception '{name} rows are never changed'; end $$;"
        f"create trigger {name}_is_kept before update or delete on {name}"
        f" for each row execute function {name}_is_kept()"
    )
    event.listen(table, "after_create", refuse.execute_if(dialect="postgresql"))
