"""The operating-system user who runs a command."""

import os
import pwd


def os_user() -> str:
    """Name of the user of this process; `uid-N` where the machine has no name for it.

    Not by LOGNAME or USER, which anybody sets as they like.
    """
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
