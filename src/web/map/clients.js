// Where clients are, were, and how old that is: numbers in typed arrays, a slot for each client.
// It touches no page, so that a test can run it in Node.js.

import { AGES, FRESH, ageClass, metresBetween, project } from "./globe.js";

// A dot glides from one report to the next, at most for so long.
const GLIDE_MS_MAX = 5000;
// Farther than this is no movement but another place.
const GLIDE_METRES_MAX = 5000;
// A trail is so many reports long, and only so many clients have one.
const TRAIL_MAX = 240;
const TRAILED_MAX = 1000;
// Below this, a heading is the noise of a receiver.
const MOVES_METRES = 2;

export class Clients {
    constructor() {
        this.clear();
    }

    clear() {
        this.slots = new Map();
        this.ids = [];
        this.free = [];
        this.room(256);
        this.trails = [];
        this.counts = [0, 0, 0];
    }

    /// Arrays of this length, which keep what they hold. `x`, `y` are the newest report's place on
    /// the map, `fromX`, `fromY` where the dot was when it came.
    room(length) {
        for (const name of ["x", "y", "fromX", "fromY", "heardMs", "glideMs", "stamp"]) {
            const array = new Float64Array(length);
            array.set(this[name]?.subarray(0, Math.min(length, this.ids.length)) ?? []);
            this[name] = array;
        }
        for (const name of ["heading", "speed"]) {
            const array = new Float32Array(length).fill(NaN);
            array.set(this[name]?.subarray(0, Math.min(length, this.ids.length)) ?? []);
            this[name] = array;
        }
        const ages = new Uint8Array(length);
        ages.set(this.age?.subarray(0, Math.min(length, this.ids.length)) ?? []);
        this.age = ages;
    }

    get size() {
        return this.slots.size;
    }

    /// A report: degrees, and seconds since 1970. Says whether it is a movement.
    move(id, longitude, latitude, stamp, nowMs) {
        const [x, y] = project(longitude, latitude);
        const known = this.slots.get(id);
        const slot = known ?? this.add(id);
        const moved = known !== undefined && this.turn(slot, x, y, stamp);
        const glides = moved && moved < GLIDE_METRES_MAX;
        const [fromX, fromY] = glides ? this.shown(slot, nowMs) : [x, y];
        this.glideMs[slot] = glides
            ? Math.min(GLIDE_MS_MAX, 1000 * Math.max(0.2, stamp - this.stamp[slot])) : 0;
        this.fromX[slot] = fromX;
        this.fromY[slot] = fromY;
        this.x[slot] = x;
        this.y[slot] = y;
        this.heardMs[slot] = nowMs;
        this.stamp[slot] = stamp;
        this.remember(slot, x, y, nowMs);
        return moved > 0;
    }

    add(id) {
        const slot = this.free.pop() ?? this.ids.length;
        if (slot === this.x.length) this.room(2 * slot);
        this.ids[slot] = id;
        this.slots.set(id, slot);
        this.heading[slot] = this.speed[slot] = NaN;
        this.age[slot] = FRESH;
        return slot;
    }

    /// Speed and heading from two reports; says how many metres lie between them.
    turn(slot, x, y, stamp) {
        const metres = metresBetween(this.x[slot], this.y[slot], x, y);
        const seconds = stamp - this.stamp[slot];
        if (seconds > 0) {
            this.speed[slot] = metres / seconds;
            if (metres > MOVES_METRES) {
                this.heading[slot] = Math.atan2(x - this.x[slot], this.y[slot] - y);
            }
        }
        return metres;
    }

    remember(slot, x, y, nowMs) {
        const isKept = this.trails[slot] || this.slots.size <= TRAILED_MAX;
        if (!isKept) return;
        const trail = this.trails[slot] ??= [];
        if (trail.length && trail.at(-1).x === x && trail.at(-1).y === y) return;
        trail.push({ x, y, atMs: nowMs });
        if (trail.length > TRAIL_MAX) trail.shift();
    }

    remove(id) {
        const slot = this.slots.get(id);
        if (slot === undefined) return;
        this.slots.delete(id);
        this.ids[slot] = undefined;
        this.trails[slot] = undefined;
        this.free.push(slot);
    }

    /// Where the dot is drawn at this moment.
    shown(slot, nowMs) {
        const glide = this.glideMs[slot];
        const done = glide ? Math.min(1, (nowMs - this.heardMs[slot]) / glide) : 1;
        return [this.fromX[slot] + (this.x[slot] - this.fromX[slot]) * done,
            this.fromY[slot] + (this.y[slot] - this.fromY[slot]) * done];
    }

    /// Sorts all into fresh, old and stale; `posixS` is now.
    reckon(posixS) {
        const counts = AGES.map(() => 0);
        for (const slot of this.slots.values()) {
            counts[this.age[slot] = ageClass(posixS - this.stamp[slot])] += 1;
        }
        this.counts = counts;
    }

    /// The smallest box of the map that holds all of them.
    bounds() {
        const box = [Infinity, Infinity, -Infinity, -Infinity];
        for (const slot of this.slots.values()) {
            box[0] = Math.min(box[0], this.x[slot]);
            box[1] = Math.min(box[1], this.y[slot]);
            box[2] = Math.max(box[2], this.x[slot]);
            box[3] = Math.max(box[3], this.y[slot]);
        }
        return this.size ? box : undefined;
    }
}
