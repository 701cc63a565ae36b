"""A big working tree: its start, against an empty one, and what is taken over from it, against git: P14, P15."""
import os, random, shutil, subprocess, time

from contest import ROUNDS, alternate, fail, once

FILES, BYTES, CHANGED = 100_000, 1 << 30, 5_000
# Inside the bottle: changes a line of so many files.
EDIT = f"""import os
for number in range({CHANGED}):
    path = f"d{{number % 100}}/{{number}}.txt"
    with open(path) as file:
        lines = file.readlines()
    lines[3] = "changed\\n"
    with open(path, "w") as file:
        file.writelines(lines)
"""


def fill(directory):
    """So many files of lines, of so many bytes together; those that are changed are small, as source code is."""
    words = random.Random(1)
    line = lambda: "".join(words.choices("abcdefghijklmnopqrstuvwxyz ", k=63)) + "\n"
    small = "".join(line() for _ in range(60))
    large = "".join(line() for _ in range(BYTES // FILES // 64))
    for folder in range(100):
        os.makedirs(os.path.join(directory, f"d{folder}"))
    for number in range(FILES):
        with open(os.path.join(directory, f"d{number % 100}", f"{number}.txt"), "w") as file:
            file.write(f"{number}\n{small if number < CHANGED else large}")


def measure(table, world, directory):
    big, empty = os.path.join(directory, "big"), os.path.join(directory, "empty")
    for path in (big, empty):
        os.makedirs(path)
    fill(big)
    start = [world.bottle, "start", "--yes", "bench", "--", "/bin/true"]
    rounds = max(3, min(5, ROUNDS))
    times = alternate({"big": lambda: once(start, world.env, big), "empty": lambda: once(start, world.env, empty)}, rounds)
    wait = (times["big"] - times["empty"]) / 1000
    table.row("P14", f"start and stop in a tree of {FILES} files, 1 GiB", f"{times['big'] / 1000:.2f} s", f"in an empty one {times['empty'] / 1000:.2f} s",
              wait, "<=", 1)
    taken_over(table, world, big, directory, rounds)


def taken_over(table, world, big, directory, rounds):
    """`diff` and `apply` of many changed files, against git on two trees of the same files."""
    changed = os.path.join(directory, "changed")
    shutil.copytree(big, changed)
    with open(os.path.join(directory, "edit.py"), "w") as file:
        file.write(EDIT)
    subprocess.run(["python3", os.path.join(directory, "edit.py")], cwd=changed, check=True)
    patch, target = os.path.join(directory, "patch"), os.path.join(directory, "target")
    shutil.copytree(big, target)
    git = ["git", "-c", "core.safecrlf=false"]

    def git_diff():
        with open(patch, "wb") as file:
            done = []

            def run():
                done.append(subprocess.run([*git, "diff", "--no-index", "--no-prefix", "big", "changed"], cwd=directory, stdout=file).returncode)

            took = timed(run)
            if done != [1]:
                fail("git diff failed", "it found no difference")
            return took

    def git_apply():
        took = timed(lambda: subprocess.run([*git, "apply", "-p1", patch], cwd=target, check=True))
        subprocess.run([*git, "apply", "-R", "-p1", patch], cwd=target, check=True)
        return took

    once([world.bottle, "start", "--yes", "--name", "taken", "bench", "--", "/usr/bin/python3", "-c", EDIT], world.env, big)

    def bottle_apply():
        took = once([world.bottle, "apply", "taken"], world.env, big)
        for number in range(CHANGED):
            name = f"d{number % 100}/{number}.txt"
            shutil.copyfile(os.path.join(target, name), os.path.join(big, name))
        return took

    diff = alternate({"bottle": lambda: once([world.bottle, "diff", "taken"], world.env, big), "git": git_diff}, rounds)
    table.row("P15", f"diff of {CHANGED} changed files", f"{diff['bottle'] / 1000:.2f} s", f"git {diff['git'] / 1000:.2f} s", diff["bottle"] / diff["git"], "<=", 1)
    apply = alternate({"bottle": bottle_apply, "git": git_apply}, rounds)
    table.row("P15", f"apply of {CHANGED} changed files", f"{apply['bottle'] / 1000:.2f} s", f"git {apply['git'] / 1000:.2f} s",
              apply["bottle"] / apply["git"], "<=", 1)


def timed(act):
    begin = time.perf_counter()
    act()
    return (time.perf_counter() - begin) * 1000
