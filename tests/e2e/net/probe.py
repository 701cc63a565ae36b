"""What an agent can try from inside, one probe by name; prints what the kernel said, in a fixed order.

Addresses: the kernel is asked for a route and has none. Nothing leaves, as there is no device but lo.
"""
import ctypes, errno, os, socket, struct, sys

libc = ctypes.CDLL(None, use_errno=True)


def name(number):
    return errno.errorcode.get(number, str(number))


def attempt(action):
    try:
        action()
        return "ok"
    except OSError as error:
        return name(error.errno)


def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(argument) for argument in arguments])
    return "ok" if result != -1 else name(ctypes.get_errno())


V4 = ["0.0.0.1", "10.0.0.1", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.0.0.1", "192.168.0.1", "198.18.0.1", "198.20.0.1", "224.0.0.1", "240.0.0.1",
      "255.255.255.255", "192.0.2.1", "203.0.113.1", "198.19.0.1", "198.19.200.200", "127.0.0.53", "127.0.0.1"]
V6 = ["::1", "fd62:6f74:746c:6500::77", "fd62:6f74:746c:6501::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2002:7f00:1::", "2001::1", "64:ff9b::7f00:1", "2001:db8::1", "::ffff:192.0.2.1"]


def connect(family, kind, address, port):
    with socket.socket(family, kind) as s:
        s.settimeout(2)
        s.connect((address, port))


def addresses():
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        sys.exit("this is not a bottle's network: nothing is dialled")
    for family, list_ in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
        for address in list_:
            said = [attempt(lambda: connect(family, socket.SOCK_STREAM, address, port)) for port in (22, 53, 80, 443, 853)]
            said += [attempt(lambda: connect(family, socket.SOCK_DGRAM, address, 53))]
            print(address, *sorted(set(said)))


def sockets():
    rows = [("icmp", socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP), ("raw", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
            ("raw6", socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6), ("packet", 17, socket.SOCK_RAW, 0), ("vsock", 40, socket.SOCK_STREAM, 0),
            ("netfilter", 16, socket.SOCK_RAW, 12), ("audit", 16, socket.SOCK_RAW, 9), ("xdp", 44, socket.SOCK_RAW, 0), ("alg", 38, 5, 0),
            ("bluetooth", 31, 1, 3), ("sctp", socket.AF_INET, socket.SOCK_STREAM, 132), ("sctp6", socket.AF_INET6, socket.SOCK_SEQPACKET, 132),
            ("mptcp", socket.AF_INET, socket.SOCK_STREAM, 262), ("mptcp6", socket.AF_INET6, socket.SOCK_STREAM, 262),
            ("smc", socket.AF_INET, socket.SOCK_STREAM, 256), ("udplite", socket.AF_INET, socket.SOCK_DGRAM, 136),
            ("udplite6", socket.AF_INET6, socket.SOCK_DGRAM, 136), ("l2tp", socket.AF_INET, socket.SOCK_DGRAM, 115), ("dccp", socket.AF_INET, 6, 33),
            ("old packet", socket.AF_INET, 10, 0), ("tcp", socket.AF_INET, socket.SOCK_STREAM, 6), ("udp6", socket.AF_INET6, socket.SOCK_DGRAM, 17),
            ("route", socket.AF_NETLINK, socket.SOCK_RAW, 0), ("unix", socket.AF_UNIX, socket.SOCK_SEQPACKET, 1)]
    for what, *arguments in rows:
        print(what, attempt(lambda: socket.socket(*arguments).close()))
    pairs = [("vsock pair", 40, 1, 0), ("tipc pair", 30, 1, 0), ("tcp pair", socket.AF_INET, 1, 0), ("rds pair", 21, 5, 0),
             ("pair", socket.AF_UNIX, 1, 0), ("datagram pair", socket.AF_UNIX, 2, 0), ("odd pair", socket.AF_UNIX, 4, 0)]
    both = ctypes.create_string_buffer(8)
    for what, *arguments in pairs:
        print(what, call(53 if os.uname().machine == "x86_64" else 199, *arguments, ctypes.addressof(both)))


def ports():
    """Every port of each kind of address; one that is closed at once leads nowhere."""
    for address in ("127.0.0.1", "127.0.0.53", "198.19.1.1", "198.19.200.200"):
        listening = []
        for port in range(1, 65536):
            with socket.socket() as s:
                # A socket that is given the port that it dials has found itself.
                if s.connect_ex((address, port)) == 0 and s.getsockname() != s.getpeername():
                    s.settimeout(0.5)
                    listening.append(str(port))
                    try:
                        listening.append(f"said {s.recv(9)}" if s.recv(1) else "closed")
                    except ConnectionResetError:
                        listening.append("closed")
                    except TimeoutError:
                        pass
        print(address, *listening)


def interfaces():
    print(*(interface for _, interface in socket.if_nameindex()))
    print(len(open("/proc/net/route").readlines()) - 1, "routes")


def names():
    for host in ("echo.test", "example.test", "localhost", "egress"):
        try:
            print(host, sorted({info[4][0] for info in socket.getaddrinfo(host, 1)}))
        except socket.gaierror:
            print(host, "no answer")


def unix(paths):
    for path in paths:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(2)
            address = "\0" + path[1:] if path.startswith("@") else path
            try:
                s.connect(address)
                print("connected", path)
            except OSError:
                pass


# Numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
CALLS = {"unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "fsopen": 430, "open_tree": 428, "move_mount": 429,
         "mount_setattr": 442, "open_by_handle_at": 304, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "add_key": 248, "request_key": 249,
         "keyctl": 250, "kexec_load": 246, "init_module": 175, "finit_module": 313, "reboot": 169, "swapon": 167, "sethostname": 170, "iopl": 172,
         "syslog": 103, "acct": 163, "settimeofday": 164, "pidfd_getfd": 438, "kcmp": 312, "fanotify_init": 300, "io_uring_setup": 425,
         "io_uring_enter": 426, "io_uring_register": 427, "clone3": 435, "unknown": 600, "far": 0x3fffffff, "x32 getpid": 0x40000000 + 39,
         "x32 ioctl": 0x40000000 + 514}


def calls():
    for what, number in CALLS.items():
        print(what, call(number, 0, 0, 0, 0, 0, 0))


def flags():
    tiocsti, tioclinux = 0x5412, 0x541C
    print("TIOCSTI", call(16, 0, tiocsti, 0))
    print("TIOCSTI with high bits", call(16, 0, (1 << 32) | tiocsti, 0))
    print("TIOCLINUX with high bits", call(16, 0, (0xF << 40) | tioclinux, 0))
    for what, bit in (("user", 0x10000000), ("mount", 0x20000), ("net", 0x40000000), ("pid", 0x20000000), ("cgroup", 0x02000000), ("uts", 0x04000000), ("ipc", 0x08000000)):
        print("clone a", what, "namespace", call(56, bit | 17, 0, 0, 0, 0))
    print("clone with high bits", call(56, (1 << 40) | 0x10000000 | 17, 0, 0, 0, 0))
    print("socket with high bits", call(41, (1 << 32) | 17, 3, 0))


def ia32():
    """The system calls of 32-bit programs, which have other numbers: getpid by `int 0x80`, in a child."""
    import mmap
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    child = os.fork()
    if child == 0:
        ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        os._exit(0)
    print("killed" if os.WIFSIGNALED(os.waitpid(child, 0)[1]) else "answered")


def others():
    """The processes that can be seen, and what may be done to the first."""
    pids = sorted(int(pid) for pid in os.listdir("/proc") if pid.isdigit())
    print(all(pid == 1 or pid >= 2 and os.stat(f"/proc/{pid}").st_uid == os.getuid() for pid in pids), len(pids) < 10)
    for what in ("mem", "environ", "maps", "root/etc/passwd", "cwd", "exe", "fd"):
        path = f"/proc/1/{what}"
        print(what, attempt(lambda: os.listdir(path) if what == "fd" else os.readlink(path) if what in ("cwd", "exe") else open(path, "rb").read(1)))
    print("exe for writing", attempt(lambda: open("/proc/1/exe", "r+b")))
    print("ptrace", call(101, 16, 1, 0, 0))
    buffer = ctypes.create_string_buffer(64)
    vector = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 64)
    there = (ctypes.c_ulong * 2)(0x400000, 64)
    print("process_vm_readv", call(310, 1, ctypes.addressof(vector), 1, ctypes.addressof(there), 1, 0))
    print("kill", attempt(lambda: os.kill(1, 9)))


def files():
    masked = ["/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/sysrq-trigger", "/proc/timer_list", "/proc/kallsyms", "/proc/kmsg"]
    for path in masked:
        try:
            print(path, "content" if open(path, "rb").read(1) else "nothing")
        except OSError:
            print(path, "nothing")
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sys/user/max_user_namespaces", "/proc/irq/default_smp_affinity", "/usr/x", "/etc/passwd", "/x",
                 "/opt/x", "/etc/ssl/certs/ca-certificates.crt", "/var/lib/x"):
        print(path, attempt(lambda: open(path, "w").close()))
    for path in ("/sys/kernel", "/sys/fs/cgroup", "/dev/mem", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/sda", "/dev/vda", "/root", "/etc/shadow", "/etc/ssh", "/etc/sudoers", "/boot", "/var/run/docker.sock"):
        print(path, "there" if os.path.lexists(path) else "absent")
    print("mknod", attempt(lambda: os.mknod("/tmp/device", 0o20666, os.makedev(1, 1))))
    print("nested", len(os.listdir("/proc/self/fd")))


def ownership():
    open("made", "w").close()
    open("suid", "w").close()
    print("chown to root", attempt(lambda: os.chown("made", 0, 0)))
    print("chgrp to root", attempt(lambda: os.chown("made", -1, 0)))
    print("setgroups", attempt(lambda: os.setgroups([0])))
    print("setuid", attempt(lambda: os.setuid(0)))
    path = ctypes.create_string_buffer(b"suid")
    for what, mode in (("setuid", 0o4755), ("setgid", 0o2755), ("sticky", 0o1755)):
        print("chmod", what, attempt(lambda: os.chmod("suid", mode)))
        print("fchmod", what, attempt(lambda: os.fchmod(os.open("suid", os.O_RDONLY), mode)))
        print("create", what, attempt(lambda: os.close(os.open("created-" + what, os.O_CREAT | os.O_WRONLY, mode))))
        print("mknod", what, attempt(lambda: os.mknod("made-" + what, 0o100000 | mode)))
        print("fchmodat2", what, call(452, -100, ctypes.addressof(path), mode, 0, 0, 0))
    how, path = ctypes.create_string_buffer(struct.pack("QQQ", os.O_CREAT | os.O_WRONLY, 0o4755, 0)), ctypes.create_string_buffer(b"opened")
    print("openat2", call(437, -100, ctypes.addressof(path), ctypes.addressof(how), 24, 0, 0))


{"addresses": addresses, "sockets": sockets, "ports": ports, "interfaces": interfaces, "names": names, "unix": lambda: unix(sys.stdin.read().split("\n")),
 "calls": calls, "ia32": ia32, "flags": flags, "others": others, "files": files, "ownership": ownership}[sys.argv[1]]()
