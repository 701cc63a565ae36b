"""File operations in the working directory, each reported in a line: what happened, or the name of the error. Then the tree that is left."""

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2


def rename2(old, new, flags):
    if libc.renameat2(-100, old.encode(), -100, new.encode(), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def report(name, operation):
    try:
        result = operation()
        print(name, "ok" if result is None else result)
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error.errno))


def read(path):
    with open(path) as file:
        return file.read()


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def hard_link():
    os.link("lower/file", "hard")
    write("hard", "through the link")
    return read("lower/file"), os.stat("hard").st_nlink


def attributes():
    os.setxattr("lower/file", "user.test", b"value")
    return os.getxattr("lower/file", "user.test"), os.listxattr("lower/file")


def unix_socket():
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("socket")
    connection, _ = server.accept()
    client.sendall(b"x")
    data = connection.recv(1)
    os.unlink("socket")
    return data


def lock():
    with open("lower/file") as one, open("lower/file") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "held"


def mapped():
    with open("lower/other", "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
        memory[0:1] = b"M"
        memory.flush()
        memory.close()
    return read("lower/other")


def sparse():
    with open("sparse", "wb") as file:
        file.truncate(1 << 30)
    meta = os.stat("sparse")
    result = meta.st_size, meta.st_blocks < 100
    os.unlink("sparse")
    return result


def unnamed():
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o644)
    os.write(fd, b"unnamed")
    if libc.linkat(-100, f"/proc/self/fd/{fd}".encode(), -100, b"named", 0x400) != 0:
        raise OSError(ctypes.get_errno(), "linkat")
    os.close(fd)
    return read("named")


def watch():
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if libc.inotify_add_watch(fd, b".", 0x100) < 0:
        raise OSError(ctypes.get_errno(), "inotify_add_watch")
    write("watched", "x")
    return b"watched" in os.read(fd, 4096)


def by_descriptor():
    directory = os.open("moved", os.O_RDONLY)
    os.rename("deep", "again", src_dir_fd=directory, dst_dir_fd=directory)
    os.close(directory)
    return sorted(os.listdir("moved"))


def open_while_moved():
    with open("moved/again/f", "r+") as file:
        os.rename("moved", "elsewhere")
        before = file.read()
    return before, sorted(os.listdir("elsewhere"))


def saved_by_rename():
    write("lower/file.tmp", "saved")
    os.rename("lower/file.tmp", "lower/file")
    return read("lower/file")


def changed_below():
    write("parent/child/f", "changed")
    os.rename("parent", "grown")
    return read("grown/child/f")


def set_group_id():
    os.mkdir("shared")
    os.chmod("shared", 0o2775)
    return oct(os.stat("shared").st_mode & 0o7777)


report("rename a directory", lambda: os.rename("tree", "moved"))
report("rename by descriptors", by_descriptor)
report("over an empty directory", lambda: os.rename("moved", "empty"))
report("and back", lambda: os.rename("empty", "moved"))
report("over a full directory", lambda: os.rename("moved", "lower"))
report("over a file", lambda: os.rename("moved", "plain"))
report("a file over a directory", lambda: os.rename("plain", "moved"))
report("below itself", lambda: os.rename("moved", "moved/again/below"))
report("what is not there", lambda: os.rename("nothing", "something"))
report("to where nothing is", lambda: os.rename("moved", "nowhere/moved"))
report("the current directory", lambda: os.rename(".", "other"))
report("without replacing", lambda: rename2("moved", "lower", NOREPLACE))
report("exchange directories", lambda: rename2("left", "right", EXCHANGE))
report("what is left", lambda: (read("left/name"), read("right/name")))
report("exchange a file and a directory", lambda: rename2("left", "plain", EXCHANGE))
report("and again", lambda: rename2("left", "plain", EXCHANGE))
report("with a trailing slash", lambda: os.rename("right/", "wrong/"))
report("and without", lambda: os.rename("wrong", "right"))
report("in other case", lambda: os.rename("right", "RIGHT"))
report("an open file goes along", open_while_moved)
report("a changed child goes along", changed_below)
report("a link goes along", lambda: (os.rename("links", "linked"), os.readlink("linked/to"))[1])
report("a closed directory goes along", lambda: os.rename("closed", "shut"))
report("hard links stay together", lambda: (os.rename("twice", "pair"), os.stat("pair/a").st_ino == os.stat("pair/b").st_ino)[1])
report("hard link", hard_link)
report("extended attributes", attributes)
report("save by rename", saved_by_rename)
report("socket", unix_socket)
report("fifo", lambda: os.mkfifo("fifo"))
report("lock", lock)
report("memory", mapped)
report("sparse", sparse)
report("no name", unnamed)
report("watch", watch)
report("the longest name", lambda: write("n" * 255, "x"))
report("a longer name", lambda: write("n" * 256, "x"))
report("bytes in a name", lambda: os.close(os.open(b"bytes\xff\n", os.O_CREAT | os.O_WRONLY)))
report("set-group-id", set_group_id)
report("times", lambda: (os.utime("plain", (1, 2)), os.stat("plain").st_mtime)[1])
report("truncate", lambda: (os.truncate("plain", 2), read("plain"))[1])
report("remove a tree", lambda: __import__("shutil").rmtree("grown"))
report("and make it again", lambda: os.makedirs("grown/child"))
report("which is empty", lambda: os.listdir("grown/child"))

for directory, directories, files in os.walk("."):
    directories.sort()
    for name in sorted(directories + files):
        path = os.path.join(directory, name)
        meta = os.lstat(path)
        kind = stat.filemode(meta.st_mode)
        content = os.readlink(path) if kind[0] == "l" else read(path) if kind[0] == "-" and meta.st_mode & 0o400 else ""
        print(kind, meta.st_nlink if kind[0] == "-" else "", repr(path), repr(content))
sys.stdout.flush()
