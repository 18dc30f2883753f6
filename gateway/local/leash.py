"""`leash.py PARENT SIGNAL ACCOUNT COMMAND...`: becomes COMMAND, which gets SIGNAL when the process PARENT dies.

Run by path in an isolated Python (`-I -S`), so it knows the standard library alone. A wrapper and no `preexec_fn`:
that one runs Python between fork and exec, which deadlocks in a process with threads. Linux only: prctl(2),
user_namespaces(7), capabilities(7).

ACCOUNT is `own`; or `namespace`: ourselves, under the number of an ordinary account in a user namespace, because
PostgreSQL refuses to run as root and initdb as a number that no account has; or `nobody`, where root may make no
namespaces: that account, with the one capability that lets it reach root's folders as root does.
"""

import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path

NO_LEASH = 125  # exit status where the account or the leash could not be had; env(1) and timeout(1) use it so
NOBODY = 65534
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_CAP_AMBIENT = 1, 8, 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


def ordinary() -> int:
    """The number of an account that exists and is not root."""
    return next((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid), NOBODY)


def nobody() -> int:
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return ordinary()


def enter_namespace() -> None:
    user, group, inside = os.geteuid(), os.getegid(), ordinary()
    _checked(libc.unshare(CLONE_NEWUSER))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inside} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{inside} {group} 1")


def become_nobody() -> None:
    account = nobody()
    _checked(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setgroups([])
    os.setresgid(account, account, account)
    os.setresuid(account, account, account)
    bit = 1 << CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; low words, high words
    _checked(libc.capset(header, sets))
    _checked(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0))


def die_with(parent: int, signal_number: int) -> None:
    """The last step before exec: a change of account clears the setting. It is the parent's thread that counts."""
    _checked(libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0))
    if os.getppid() != parent:  # it died before the line above
        os.kill(os.getpid(), signal.SIGKILL)


def main(parent: str, signal_number: str, account: str, *command: str) -> None:
    try:
        if account == "namespace":
            enter_namespace()
        elif account == "nobody":
            become_nobody()
        die_with(int(parent), int(signal_number))
        os.execvp(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.stderr.write(f"{command[0]}: cannot be started as {account}: {error}\n")
        sys.exit(NO_LEASH)


def _checked(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(*sys.argv[1:])
