"""What is measured against: a home for `bottle`, and a far end."""
import json, os, shutil, subprocess

import wall


class World:
    """A home for `bottle`, a far end, and one manifest that leads to it."""

    components = ("egress", "pipelock")

    def __init__(self, programs, directory):
        self.programs, self.bottle, self.load = programs, os.path.join(programs, "bottle"), os.path.join(programs, "bottle-load")
        self.home, self.work = os.path.join(directory, "home"), os.path.join(directory, "work")
        for path in (f"{self.home}/config/bottles", f"{self.home}/config/agents", self.work, f"{directory}/origin"):
            os.makedirs(path)
        shutil.copy(self.load, self.work)
        self.far_end = subprocess.Popen([os.path.join(programs, "bottle-origin"), "--dir", f"{directory}/origin", "--bench"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.origin = json.loads(self.far_end.stdout.readline())
        with open(f"{self.home}/config/bottles/bench.md", "w") as file:
            file.write(f"---\negress:\n  trust: [{json.dumps(self.origin['ca'])}]\n  routes:\n"
                       f"    - {{ host: {wall.HOST}, connect: \"{self.origin['https']}\", auth: {{ token_ref: BENCH_TOKEN }} }}\n---\n")
        with open(f"{self.home}/config/agents/bench.md", "w") as file:
            file.write("---\nbottle: bench\nprovider: shell\n---\n")
        with open(f"{self.home}/config/bottles/gated.md", "w") as file:
            file.write("---\nextends: bench\ngit:\n  repos:\n    - { name: app, upstream: \"https://git.test/app.git\" }\n---\n")
        with open(f"{self.home}/config/agents/gated.md", "w") as file:
            file.write("---\nbottle: gated\nprovider: shell\n---\n")
        self.env = dict(os.environ, BOTTLE_HOME=self.home, BENCH_TOKEN="bench-" + "0123456789abcdefghijABCDEFGHIJ" * 3)

    def end(self):
        self.far_end.stdin.close()
        self.far_end.wait(10)
