"""Whether a file may be loaded as a program: who else could have written it, or could exchange it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def why_not_trusted(path: str | os.PathLike[str]) -> str | None:
    """Why a file must not be loaded, in words for the user; None if it may be.

    The file, and every folder and link on the way to it, must belong to the user or to root and be writable by nobody
    else. A folder that anybody may write to, where each may remove only what is his own (/tmp), is no way for others.
    A group that holds the user alone, as many systems give each, counts as the user.

    Args:
        path: of a file or folder, or where there will be one: what does not exist yet is left out.

    Systems without owners in the sense of POSIX: None.
    """
    if not hasattr(os, "getuid"):
        return None
    # Both as it is named and as its links lead: whoever owns a link decides where it leads
    for named in (Path(os.path.abspath(path)), Path(os.path.realpath(path))):
        for part in (named, *named.parents):
            try:
                status = part.lstat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            if (reason := _why_not(part, status)) is not None:
                return reason
    return None


def _why_not(path: Path, status: os.stat_result) -> str | None:
    user = os.getuid()
    what = "folder" if stat.S_ISDIR(status.st_mode) else "file"
    if status.st_uid not in (user, 0):
        return f"the {what} {path} belongs to {_name_of(status.st_uid)}, expected you ({_name_of(user)}) or root"
    if stat.S_ISLNK(status.st_mode):  # the mode of a link says nothing
        return None
    shared = status.st_mode & _OTHERS
    if shared & stat.S_IWGRP and _is_own_group(status.st_gid, status.st_uid):
        shared &= ~stat.S_IWGRP
    if not shared or (what == "folder" and status.st_mode & stat.S_ISVTX):
        return None
    who = "everybody" if shared & stat.S_IWOTH else "its group"
    return f"the {what} {path} can be written to by {who}; run: chmod go-w {path}"


def _name_of(user: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _is_own_group(group: int, user: int) -> bool:
    """Whether a group is the one of the same name as a user, with no other member; or root's."""
    import grp
    import pwd

    if group == 0:
        return True
    try:
        entry, owner = grp.getgrgid(group), pwd.getpwuid(user).pw_name
    except KeyError:
        return False
    return entry.gr_name == owner and set(entry.gr_mem) <= {owner}
