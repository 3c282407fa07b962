"""The decorator of compiled kernels: numba's, and a place for its cache where it finds none.

Numba keeps compiled code beside the source or in the user's home. Where neither can be written to (a
read-only installation, a service without a home) it refuses to compile at all. Then a folder of the user
below the system's for temporary files is taken, or none, and that is said once.
"""

import logging
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numba
from numba.core import config

logger = logging.getLogger(__name__)

#: numba's decorators have no types; the tests hold what they wrap against plain Python or other libraries.
#: Never fastmath: code from the cache is optimised once more than code just compiled, and where sums may
#: be reordered the two differ in the last bit. The same night would not be the same night.
_cached: Any = numba.njit(cache=True, nogil=True)
_uncached: Any = numba.njit(nogil=True)
_settings: Any = config
_is_said: Final[list[bool]] = []


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a kernel of arrays when it is first called; kept on disk where there is a place for it.

    Compiled code calls nothing of another module: the cache would not notice a change there.
    """
    try:
        return _cached(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
    folder = _own_folder()
    if not _is_said:
        _is_said.append(True)
        words = f"is kept in {folder}" if folder else "is kept nowhere and made again by every command"
        logger.warning(
            "compiled code %s: neither the program's folder nor a home can be written to "
            "(NUMBA_CACHE_DIR names another folder)",
            words,
        )
    if folder is None:
        return _uncached(function)
    _settings.CACHE_DIR = str(folder)
    return _cached(function)


def _own_folder() -> Path | None:
    """A folder below the temporary files that only this user can write to: what lies there is run."""
    try:
        folder = Path(tempfile.gettempdir()) / f"flarecast-compiled-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return folder if is_own and os.access(folder, os.W_OK) else None
