"""The sidecars' images, built once, and asked for again when nothing has changed: P13."""
from contest import alternate, once


def measure(table, world):
    build = [world.bottle, "images", "build"]
    once(build, world.env, world.work)
    again = alternate({"bottle": lambda: once(build, world.env, world.work)})["bottle"]
    table.row("P13", "image build, nothing changed", f"{again:.0f} ms", "", again / 1000, "<=", 1)
