"""The decorator of compiled kernels: numba's, and a place for its cache where it finds none.

Numba keeps compiled code beside the source or in the user's home. Where neither can be written to (a
read-only installation, a service without a home) it refuses to compile at all. Then a folder of the user
below the system's for temporary files is taken, or none, and that is said once.
"""

import logging
import os
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

logger = logging.getLogger(__name__)

_is_said: Final[list[bool]] = []
_making: Final = threading.RLock()


class _Kernel:
    """A function that is compiled when it is first called: most commands call none, numba is slow to load.

    numba asks a value that compiled code calls for its type: that of the compiled function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._made: Any = None

    @property
    def dispatcher(self) -> Any:
        """What numba made of it."""
        with _making:
            if self._made is None:
                self._made = _dispatcher(self._function)
            return self._made

    @property
    def _numba_type_(self) -> Any:
        return self.dispatcher._numba_type_

    def __call__(self, *arguments: Any) -> Any:
        return (self._made or self.dispatcher)(*arguments)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a kernel of arrays when it is first called; kept on disk where there is a place for it.

    Compiled code calls nothing of another module: the cache would not notice a change there.
    """
    return _Kernel(function)


def _dispatcher(function: Callable[..., Any]) -> Any:
    # slow to load, and needed here only
    import numba
    from numba.core import config

    # numba's decorators have no types; the tests hold what they wrap against plain Python or other libraries.
    # Never fastmath: code from the cache is optimised once more than code just compiled, and where sums may
    # be reordered the two differ in the last bit. The same night would not be the same night.
    cached: Any = numba.njit(cache=True, nogil=True)
    uncached: Any = numba.njit(nogil=True)
    settings: Any = config
    try:
        return cached(function)
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
        return uncached(function)
    settings.CACHE_DIR = str(folder)
    return cached(function)


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
