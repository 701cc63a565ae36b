"""Contestants, rounds of A B A B, and rows of the table."""
import json, os, statistics, subprocess, sys, time

ROUNDS = int(os.environ.get("ROUNDS", "15"))
# Seconds of each measurement of requests per second.
SECONDS = float(os.environ.get("SECONDS_EACH", "2"))


def fail(what, cause, hint="run it by hand"):
    sys.exit(f"error: {what}\ncause: {cause}\nhint:  {hint}")


def once(command, env=None, cwd=None):
    """Milliseconds of one run of a command, which must succeed."""
    start = time.perf_counter()
    done = subprocess.run(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    took = time.perf_counter() - start
    if done.returncode != 0:
        fail(f"the bench cannot run `{' '.join(command)}`", done.stderr.decode(errors="replace").strip())
    return took * 1000


def alternate(contestants, rounds=ROUNDS):
    """The median of each contestant's numbers, by rounds of A B A B; the first round warms up and does not count."""
    numbers = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, measure in contestants.items():
            value = measure()
            if number:
                numbers[name].append(value)
    return {name: median(values) for name, values in numbers.items()}


def median(values):
    """Of numbers, or of each field of objects."""
    if isinstance(values[0], dict):
        return {key: statistics.median(value[key] for value in values) for key in values[0] if isinstance(values[0][key], (int, float))}
    return statistics.median(values)


class Table:
    """Rows with the reach beside; `results.json` and one bar chart for each row."""

    def __init__(self):
        self.rows, self.remarks = [], []

    def row(self, key, what, value, rival, number, sign, reach):
        """`number` is what is compared with `reach`; `sign` is `<=` or `>=`."""
        met = number <= reach if sign == "<=" else number >= reach
        self.rows.append({"key": key, "what": what, "bottle": value, "rival": rival, "number": number, "reach": f"{sign} {reach:g}", "met": met})

    def lacks(self, rival):
        self.remark(f"left out: {rival} is not installed")

    def remark(self, text):
        """Below the table."""
        self.remarks.append(text)

    def show(self):
        widths = [max(len(row[field]) for row in self.rows) for field in ("what", "bottle", "rival")]
        print(f"{'':4} {'quantity':{widths[0]}}  {'bottle':>{widths[1]}}  {'rival':{widths[2]}}  {'compared':>9}  reach")
        for row in self.rows:
            print(f"{row['key']:4} {row['what']:{widths[0]}}  {row['bottle']:>{widths[1]}}  {row['rival']:{widths[2]}}  {row['number']:9.3g}  "
                  f"{row['reach']:9} {'met' if row['met'] else 'MISSED'}")
        for line in self.remarks:
            print(line)

    def save(self, directory):
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "results.json"), "w") as file:
            json.dump({"rounds": ROUNDS, "rows": self.rows, "remarks": self.remarks}, file, indent=2)
        with open(os.path.join(directory, "reach.svg"), "w") as file:
            file.write(self.plot())

    def plot(self):
        """How much of its reach each row has used up, on a logarithmic scale: left of the line is met."""
        import math
        height, left, wide = 22, 420, 320
        lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + wide + 130}" height="{height * len(self.rows) + 40}" '
                 'font-family="sans-serif" font-size="13">', '<rect width="100%" height="100%" fill="white"/>']
        middle = left + wide / 2
        for at, row in enumerate(self.rows):
            sign, reach = row["reach"].split()
            used = row["number"] / float(reach) if sign == "<=" else float(reach) / max(row["number"], 1e-9)
            x = middle + max(-1, min(1, math.log10(max(used, 1e-9)))) * wide / 2
            y, colour = 24 + at * height, "#2a7" if row["met"] else "#c43"
            lines.append(f'<text x="8" y="{y + 12}">{row["key"]} {row["what"]}</text>')
            lines.append(f'<rect x="{min(x, middle):.0f}" y="{y}" width="{abs(x - middle):.0f}" height="15" fill="{colour}"/>')
            lines.append(f'<text x="{left + wide + 8}" y="{y + 12}">{row["number"]:.3g} ({row["reach"].replace("<", "&lt;").replace(">", "&gt;")})</text>')
        lines.append(f'<line x1="{middle}" x2="{middle}" y1="16" y2="{24 + height * len(self.rows)}" stroke="black"/>')
        lines.append(f'<text x="{left}" y="14">better than the reach</text><text x="{middle + 8}" y="14">worse, up to ten times</text></svg>')
        return "\n".join(lines)
