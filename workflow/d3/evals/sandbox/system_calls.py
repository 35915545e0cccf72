"""The system calls that a program may make: a seccomp filter (classic BPF, see seccomp(2)) that allows what it lists.

Everything else fails with EPERM: processes, namespaces, mounts, tracing, keys, shared memory and queues,
memory files, locks on files, notifications about files, other sockets than local and Internet ones.
clone3 fails with ENOSYS, so that the C library falls back on clone, whose flags a filter can see.
"""

import struct

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of a machine in the tables of call numbers, and its AUDIT_ARCH number."""
ALLOWED: dict[str, tuple[int, int | None]] = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62), "mmap": (9, 222),
    "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "pread64": (17, 67), "pwrite64": (18, 68),
    "readv": (19, 65), "writev": (20, 66), "access": (21, None), "pipe": (22, None), "select": (23, None),
    "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233), "mincore": (27, 232), "msync": (26, 227),
    "dup": (32, 23), "dup2": (33, None), "pause": (34, None), "nanosleep": (35, 101), "getitimer": (36, 102),
    "alarm": (37, None), "setitimer": (38, 103), "getpid": (39, 172), "sendfile": (40, 71), "connect": (42, 203),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211),
    "recvmsg": (47, 212), "shutdown": (48, 210), "bind": (49, 200), "listen": (50, 201), "getsockname": (51, 204),
    "getpeername": (52, 205), "socketpair": (53, 199), "setsockopt": (54, 208), "getsockopt": (55, 209),
    "exit": (60, 93), "exit_group": (231, 94), "wait4": (61, 260), "waitid": (247, 95), "kill": (62, 129),
    "tgkill": (234, 131), "tkill": (200, 130), "uname": (63, 160), "fsync": (74, 82), "fdatasync": (75, 83),
    "truncate": (76, 45), "ftruncate": (77, 46), "getdents64": (217, 61), "getdents": (78, None),
    "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "rename": (82, None), "mkdir": (83, None),
    "rmdir": (84, None), "creat": (85, None), "link": (86, None), "unlink": (87, None), "symlink": (88, None),
    "readlink": (89, None), "chmod": (90, None), "fchmod": (91, 52), "umask": (95, 166), "gettimeofday": (96, 169),
    "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153), "getuid": (102, 174),
    "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177), "getppid": (110, 173),
    "getpgrp": (111, None), "setsid": (112, 157), "getgroups": (115, 158), "getresuid": (118, 148),
    "getresgid": (120, 150), "getpgid": (121, 155), "getsid": (124, 156), "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132), "statfs": (137, 43),
    "fstatfs": (138, 44), "getpriority": (140, 141), "sched_getparam": (143, 121), "sched_getscheduler": (145, 120),
    "sched_get_priority_max": (146, 125), "sched_get_priority_min": (147, 126), "sched_getaffinity": (204, 123),
    "arch_prctl": (158, None), "gettid": (186, 178), "time": (201, None), "futex": (202, 98),
    "set_tid_address": (218, 96), "set_robust_list": (273, 99), "get_robust_list": (274, 100), "rseq": (334, 293),
    "restart_syscall": (219, 128), "epoll_create": (213, None), "epoll_create1": (291, 20),
    "epoll_wait": (232, None), "epoll_ctl": (233, 21), "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "timer_create": (222, 107), "timer_settime": (223, 110), "timer_gettime": (224, 108),
    "timer_delete": (226, 111), "timer_getoverrun": (225, 109), "openat": (257, 56), "open": (2, None),
    "mkdirat": (258, 34), "unlinkat": (263, 35), "newfstatat": (262, 79), "renameat": (264, 38),
    "renameat2": (316, 276), "linkat": (265, 37), "symlinkat": (266, 36), "readlinkat": (267, 78),
    "fchmodat": (268, 53), "faccessat": (269, 48), "faccessat2": (439, 439), "pselect6": (270, 72),
    "ppoll": (271, 73), "poll": (7, None), "utimensat": (280, 88), "eventfd": (284, None), "eventfd2": (290, 19),
    "timerfd_create": (283, 85), "timerfd_settime": (286, 86), "timerfd_gettime": (287, 87), "pipe2": (293, 59),
    "dup3": (292, 24), "preadv": (295, 69), "pwritev": (296, 70), "prlimit64": (302, 261), "setrlimit": (160, 164),
    "getcpu": (309, 168), "getrandom": (318, 278), "statx": (332, 291), "membarrier": (324, 283),
    "copy_file_range": (326, 285), "fadvise64": (221, 223), "close_range": (436, 436), "stat": (4, None),
    "lstat": (6, None), "fallocate": (285, 47),
    "capget": (125, 90), "getxattr": (191, 8), "lgetxattr": (192, 9), "fgetxattr": (193, 10),
    "listxattr": (194, 11), "llistxattr": (195, 12), "flistxattr": (196, 13),
}  # fmt: skip
OF_PROCESSES: dict[str, tuple[int, int | None]] = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "setpgid": (109, 154),
}  # fmt: skip
"""What is allowed beside where new processes are."""
BY_ARGUMENT: dict[str, tuple[tuple[int, int], int, tuple[int, ...]]] = {
    "socket": ((41, 198), 0, (1, 2, 10)),  # AF_UNIX, AF_INET, AF_INET6
    "fcntl": ((72, 25), 1, (0, 1, 2, 3, 4, 1030, 1031, 1032)),  # no lock, lease or notice
    "ioctl": ((16, 29), 1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),  # questions about a file, its flags
    "prctl": ((157, 167), 0, (3, 15, 16, 39, 0x53564D41)),  # names of threads and of memory
}
"""Calls allowed with some values of one argument: numbers, index of the argument, values."""
SIGNALS = (((62, 129), 1), ((234, 131), 2), ((200, 130), 1))
"""kill, tgkill, tkill, and which argument is the signal."""
CLONE, CLONE3 = (56, 220), 435
CLONE_THREAD, CLONE_NEW = 0x00010000, 0x7E020000


def system_call_filter(machine: str, *, processes: bool) -> bytes:
    """Return the filter for a machine; `processes` allows new processes, never new namespaces."""
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, not_permitted, no_such_call = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
    column, architecture = MACHINES[machine]
    rules = [
        (load, 0, 0, 4),  # the architecture: another one has other call numbers
        (equal, 1, 0, architecture),
        (give, 0, 0, kill),
        (load, 0, 0, 0),  # the call's number; the x32 numbers are in no list
        (at_least, 0, 1, 0x40000000),
        (give, 0, 0, not_permitted),
        (equal, 0, 1, CLONE3),
        (give, 0, 0, no_such_call),
    ]
    signals = [] if processes else [numbers for numbers, _ in SIGNALS]
    for both in [*ALLOWED.values(), *(OF_PROCESSES.values() if processes else ())]:
        if both[column] is not None and both not in signals:
            rules += [(equal, 0, 1, both[column]), (give, 0, 0, allow)]
    for numbers, argument in () if processes else SIGNALS:  # the program's process is the first of its namespace,
        rules += [(equal, 0, 4, numbers[column]), (load, 0, 0, 16 + 8 * argument), (equal, 0, 1, 9)]  # which SIGKILL
        rules += [(give, 0, 0, kill), (give, 0, 0, allow)]  # from inside would not end
    for numbers, argument, accepted in BY_ARGUMENT.values():
        skipped = 2 + 2 * len(accepted)
        rules += [(equal, 0, skipped, numbers[column]), (load, 0, 0, 16 + 8 * argument)]
        for value in accepted:
            rules += [(equal, 0, 1, value), (give, 0, 0, allow)]
        rules.append((give, 0, 0, not_permitted))
    rules += [(equal, 1, 0, CLONE[column]), (give, 0, 0, not_permitted)]
    rules += [(load, 0, 0, 16), (any_bit, 0, 1, CLONE_NEW), (give, 0, 0, not_permitted)]
    if not processes:
        rules += [(any_bit, 1, 0, CLONE_THREAD), (give, 0, 0, not_permitted)]
    rules.append((give, 0, 0, allow))
    return b"".join(struct.pack("=HBBI", *rule) for rule in rules)
