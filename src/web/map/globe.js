// The globe and time as numbers: the projection, the packed land and towns, ages and words. It
// touches no page, so that a test can run it in Node.js.

const RADIANS = Math.PI / 180;
// A Mercator map has no poles: here the square ends.
const LATITUDE_MAX = 85.05112878;
const METRES_AROUND = 40_075_016.7;

/// Longitude and latitude to the square map of the world: 0, 0 is north-west, 1, 1 south-east.
export function project(longitude, latitude) {
    const most = Math.max(-LATITUDE_MAX, Math.min(LATITUDE_MAX, latitude));
    return [longitude / 360 + 0.5,
        0.5 - Math.asinh(Math.tan(most * RADIANS)) / (2 * Math.PI)];
}

/// And back.
export function unproject(x, y) {
    return [(x - 0.5) * 360, Math.atan(Math.sinh((0.5 - y) * 2 * Math.PI)) / RADIANS];
}

/// Metres on the ground of the map's whole width, at this height of it.
export function metresAcross(y) {
    return METRES_AROUND * Math.cos(unproject(0, y)[1] * RADIANS);
}

/// Metres between two points of the map, which are near each other.
export function metresBetween(x1, y1, x2, y2) {
    const across = ((x2 - x1 + 1.5) % 1) - 0.5;
    return Math.hypot(across, y2 - y1) * metresAcross((y1 + y2) / 2);
}

/// Numbers as data/make.py packs them.
class Varints {
    constructor(bytes) {
        this.bytes = bytes;
        this.at = 0;
    }

    next() {
        let number = 0;
        for (let scale = 1; ; scale *= 128) {
            const byte = this.bytes[this.at++];
            number += (byte & 127) * scale;
            if (byte < 128) return number;
        }
    }

    difference() {
        const folded = this.next();
        return folded % 2 ? -(folded + 1) / 2 : folded / 2;
    }
}

/// Rings of land: arrays of x, y, x, y on the map.
export function readLand(bytes) {
    const numbers = new Varints(bytes);
    const steps = numbers.next();
    const rings = [];
    let east = 0;
    let north = 0;
    for (let left = numbers.next(); left > 0; left--) {
        const ring = new Float64Array(2 * numbers.next());
        for (let at = 0; at < ring.length; at += 2) {
            east += numbers.difference();
            north += numbers.difference();
            ring.set(project(east / steps, north / steps), at);
        }
        rings.push(ring);
    }
    return rings;
}

/// Towns, the largest first. A size is 0 for the largest, one more for half as many people.
export function readTowns(bytes) {
    const numbers = new Varints(bytes);
    const steps = numbers.next();
    const count = numbers.next();
    const [easts, norths] = [0, 1].map(() => {
        let sum = 0;
        return Float64Array.from({ length: count }, () => sum += numbers.difference());
    });
    const sizes = bytes.subarray(numbers.at, numbers.at + count);
    const names = new TextDecoder().decode(bytes.subarray(numbers.at + count)).split("\n");
    const towns = names.map((name, at) => {
        const [x, y] = project(easts[at] / steps, norths[at] / steps);
        return { name, x, y, size: sizes[at] };
    });
    return towns.sort((one, other) => one.size - other.size);
}

export const FRESH = 0, OLD = 1, STALE = 2;
export const AGES = ["fresh", "old", "stale"];
const FRESH_S = 120;
const OLD_S = 3600;

export function ageClass(seconds) {
    return seconds <= FRESH_S ? FRESH : seconds <= OLD_S ? OLD : STALE;
}

const UNITS = [["day", 86_400], ["h", 3600], ["min", 60], ["s", 1]];

/// `3 s`, `5 min`, `20 h`, `3 days`
export function duration(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    const [unit, length] = UNITS.find(([, length]) => whole >= 2 * length) ?? UNITS[3];
    const count = Math.floor(whole / length);
    return `${count} ${unit}${unit === "day" && count !== 1 ? "s" : ""}`;
}

export const ago = seconds => seconds < -5 ? `${duration(-seconds)} ahead`
    : seconds < 2 ? "now" : `${duration(seconds)} ago`;

const WINDS = ["north", "north-east", "east", "south-east", "south", "south-west", "west",
    "north-west"];

/// Where a heading points, in radians from north by east.
export function wind(heading) {
    return WINDS[Math.round(heading / (Math.PI / 4) + 8) % 8];
}

/// `350 m`, `2.4 km`, `310 km`
export function distance(metres) {
    if (metres < 1000) return `${Math.round(metres)} m`;
    const km = metres / 1000;
    return `${km < 10 ? km.toFixed(1) : Math.round(km)} km`;
}
