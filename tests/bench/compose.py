"""A whole bottle on an engine, against a plain project of as many services on the same one: P17."""
import os, shutil, subprocess, tempfile

from contest import ROUNDS, alternate, once

ENGINE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../engines/engine")


def measure(table, world):
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return table.lacks("a container engine (root and apt-get bring one)")
    with tempfile.TemporaryDirectory(prefix="be-", dir="/tmp") as directory:
        keeper = subprocess.Popen([ENGINE, "hold", "current", os.path.join(directory, "engine")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            lines = iter(keeper.stdout.readline, "\n")
            engine = dict(line.strip().split("=", 1) for line in lines)
            contest(table, world, {**world.env, **engine, "BOTTLE_BACKEND": "compose"}, directory)
        finally:
            keeper.stdin.close()
            keeper.wait(60)


def contest(table, world, env, directory):
    bottle = [world.bottle, "start", "--yes", "bench", "--", "/bin/true"]
    once(bottle, env, world.work)  # loads the sidecars' images
    image = subprocess.run(["docker", "image", "ls", "-q"], env=env, stdout=subprocess.PIPE, text=True, check=True).stdout.split()[0]
    project = os.path.join(directory, "plain")
    os.makedirs(project)
    services = len(world.components) + 1
    shutil.copy("/bin/true", project)
    with open(os.path.join(project, "compose.yaml"), "w") as file:
        file.write("services:\n" + "".join(
            f"  s{number}:\n    image: {image}\n    entrypoint: [/usr/bin/sleep, '60']\n    stop_signal: KILL\n"
            f"    read_only: true\n    cap_drop: [ALL]\n    volumes: ['/usr:/usr:ro', '/lib:/lib:ro', '/lib64:/lib64:ro']\n" for number in range(services)))
    compose = ["docker", "compose", "--project-directory", project]

    def plain():
        up = once([*compose, "up", "-d"], env)
        return up + once([*compose, "down"], env)

    times = alternate({"bottle": lambda: once(bottle, env, world.work), "plain": plain}, max(3, min(5, ROUNDS)))
    table.row("P17", "whole life of a bottle on an engine", f"{times['bottle'] / 1000:.2f} s", f"{services} plain services {times['plain'] / 1000:.2f} s",
              times["bottle"] / times["plain"], "<=", 1.3)
