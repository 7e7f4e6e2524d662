// Draws the map on three canvases: land and towns, trails and fences, dots. Each is drawn anew only
// when what it shows has changed; the dots, each frame in which one glides.

import { AGES, FRESH, OLD, STALE, metresAcross, project, unproject } from "./globe.js";

// Land is drawn in units of which the world has so many: a canvas counts in 24 bits.
const UNITS = 65_536;
const TILE = 256;
const ZOOM_MIN = 1;
const ZOOM_MAX = 19;
// The outline is a kilometre off at places. Where that shows, it fades, and a grid is left.
const OUTLINE_FADES = 8.5;
const OUTLINE_GONE = 10.5;
// With more dots in view than this, each is a square without a heading.
const CROWD = 1500;
const TRAIL_MS = 240_000;
// Newer parts of a trail are stronger: up to so old, so opaque.
const TRAIL_PARTS = [[30_000, 0.6], [90_000, 0.32], [TRAIL_MS, 0.15]];
const LABELS_MAX = 48;
// Beside the ages: who is somewhere in a square.
const SQUARE = 3;
const FLASH_MS = 1600;
const COLOURS = ["water", "land", "coast", "grid", "town", "halo", "fresh", "old", "stale", "trail",
    "chosen", "fence", "flash"];

export class Painter {
    constructor(canvases, clients) {
        [this.base, this.trails, this.dots] =
            canvases.map(canvas => canvas.getContext("2d", { alpha: canvas.id !== "base" }));
        this.clients = clients;
        this.centre = project(15, 30);
        this.zoom = 2;
        this.towns = [];
        this.fences = [];
        // Of clients of which only that is known.
        this.squares = new Map();
        this.chosen = undefined;
        this.resize();
    }

    resize() {
        const canvas = this.base.canvas;
        this.ratio = Math.min(devicePixelRatio, 2);
        this.width = canvas.clientWidth;
        this.height = canvas.clientHeight;
        for (const { canvas } of [this.base, this.trails, this.dots]) {
            canvas.width = this.width * this.ratio;
            canvas.height = this.height * this.ratio;
        }
        this.recolour();
        this.look(this.centre, this.zoom);
    }

    recolour() {
        const style = getComputedStyle(document.documentElement);
        this.colour = Object.fromEntries(
            COLOURS.map(name => [name, style.getPropertyValue(`--${name}`).trim()]));
        this.isStale = true;
    }

    /// Puts this point of the map in the middle, or at another point of the screen.
    look([x, y], zoom, [px, py] = [this.width / 2, this.height / 2]) {
        this.zoom = Math.max(ZOOM_MIN, Math.min(ZOOM_MAX, zoom));
        this.scale = TILE * 2 ** this.zoom;
        const across = x + (this.width / 2 - px) / this.scale;
        const down = y + (this.height / 2 - py) / this.scale;
        this.centre = [across - Math.floor(across), Math.max(0, Math.min(1, down))];
        this.isStale = true;
    }

    /// Zooms so that the point of the screen stays where it is.
    zoomAt(steps, px = this.width / 2, py = this.height / 2) {
        const [x, y] = this.at(px, py);
        this.look(this.centre, this.zoom + steps);
        const [nowX, nowY] = this.at(px, py);
        this.look([this.centre[0] + x - nowX, this.centre[1] + y - nowY], this.zoom);
    }

    pan(px, py) {
        this.look([this.centre[0] + px / this.scale, this.centre[1] + py / this.scale], this.zoom);
    }

    /// Shows a box of the map with some room around it.
    fit([west, north, east, south], zoomMax = 15) {
        const across = Math.max(east - west, 1e-9) / Math.max(0.2, 1 - 160 / this.width);
        const down = Math.max(south - north, 1e-9) / Math.max(0.2, 1 - 220 / this.height);
        const zoom = Math.log2(Math.min(this.width / across, this.height / down) / TILE);
        this.look([(west + east) / 2, (north + south) / 2], Math.min(zoom, zoomMax));
    }

    /// The point of the map under a point of the screen.
    at(px, py) {
        return [this.centre[0] + (px - this.width / 2) / this.scale,
            this.centre[1] + (py - this.height / 2) / this.scale];
    }

    /// Where a point of the map is on the screen, by the shorter way round the world.
    place(x, y) {
        let across = x - this.centre[0];
        across -= Math.round(across);
        return [this.width / 2 + across * this.scale,
            this.height / 2 + (y - this.centre[1]) * this.scale];
    }

    /// West, south, east and north of what is in view, in degrees.
    box() {
        const [west, north] = unproject(...this.at(0, 0));
        const [east, south] = unproject(...this.at(this.width, this.height));
        return [Math.max(-180, west), south, Math.min(180, east), north];
    }

    setLand(rings) {
        this.land = new Path2D();
        for (const ring of rings) {
            this.land.moveTo(ring[0] * UNITS, ring[1] * UNITS);
            for (let at = 2; at < ring.length; at += 2) {
                this.land.lineTo(ring[at] * UNITS, ring[at + 1] * UNITS);
            }
            this.land.closePath();
        }
        this.isStale = true;
    }

    addTowns(towns) {
        this.towns = [...this.towns, ...towns].sort((one, other) => one.size - other.size);
        this.isStale = true;
    }

    // ---- land and towns ----

    clear(context) {
        context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
        context.clearRect(0, 0, this.width, this.height);
    }

    drawBase() {
        const context = this.base;
        this.isStale = false;
        this.clear(context);
        const fades = (this.zoom - OUTLINE_FADES) / (OUTLINE_GONE - OUTLINE_FADES);
        const outline = 1 - Math.max(0, Math.min(1, fades));
        context.fillStyle = this.colour.water;
        context.fillRect(0, 0, this.width, this.height);
        if (outline < 1) {
            context.globalAlpha = 1 - outline;
            context.fillStyle = this.colour.land;
            context.fillRect(0, 0, this.width, this.height);
            context.globalAlpha = 1;
        }
        this.drawGrid(context);
        if (this.land && outline > 0) this.drawLand(context, outline);
        this.drawTowns(context);
    }

    drawLand(context, opacity) {
        const unit = this.scale / UNITS;
        context.save();
        context.globalAlpha = opacity;
        context.fillStyle = this.colour.land;
        context.strokeStyle = this.colour.coast;
        context.lineWidth = 0.8 / unit;
        for (const world of [-1, 0, 1]) {
            const left = this.width / 2 + (world - this.centre[0]) * this.scale;
            // What crosses the date line reaches into the next world.
            if (left - this.scale > this.width || left + 2 * this.scale < 0) continue;
            const top = this.height / 2 - this.centre[1] * this.scale;
            context.setTransform(unit * this.ratio, 0, 0, unit * this.ratio,
                left * this.ratio, top * this.ratio);
            context.fill(this.land, "evenodd");
            context.stroke(this.land);
        }
        context.restore();
    }

    /// Lines of round degrees, a hand's breadth apart.
    drawGrid(context) {
        const wanted = 140 / this.scale * 360;
        const steps = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
        const step = steps.findLast(step => step >= wanted) ?? 30;
        const [west, south, east, north] = this.box();
        context.strokeStyle = this.colour.grid;
        context.lineWidth = 1;
        context.beginPath();
        for (let at = Math.ceil(west / step); at * step <= east; at++) {
            const [px] = this.place(project(at * step, 0)[0], 0);
            context.moveTo(Math.round(px) + 0.5, 0);
            context.lineTo(Math.round(px) + 0.5, this.height);
        }
        for (let at = Math.ceil(south / step); at * step <= north; at++) {
            const [, py] = this.place(0, project(0, at * step)[1]);
            context.moveTo(0, Math.round(py) + 0.5);
            context.lineTo(this.width, Math.round(py) + 0.5);
        }
        context.stroke();
    }

    /// The largest towns in view, as far as their names have room.
    drawTowns(context) {
        const smallest = this.zoom - 0.5;
        const taken = [];
        context.lineJoin = "round";
        context.lineWidth = 3;
        context.strokeStyle = this.colour.land;
        context.textBaseline = "middle";
        for (const town of this.towns) {
            if (town.size > smallest || taken.length >= LABELS_MAX) break;
            const [px, py] = this.place(town.x, town.y);
            if (px < 0 || px > this.width || py < 0 || py > this.height) continue;
            const size = Math.max(11, Math.min(15, 11 + (smallest - town.size) * 0.9));
            context.font = `${size}px system-ui, "DejaVu Sans", sans-serif`;
            const width = context.measureText(town.name).width + 14;
            const box = [px - 4, py - size * 0.8, px + width, py + size * 0.8];
            const hits = taken.some(other => box[0] < other[2] && other[0] < box[2]
                && box[1] < other[3] && other[1] < box[3]);
            if (hits) continue;
            taken.push(box);
            context.fillStyle = this.colour.town;
            context.beginPath();
            context.arc(px, py, 1.8, 0, 7);
            context.fill();
            context.strokeText(town.name, px + 6, py);
            context.fillText(town.name, px + 6, py);
        }
    }

    // ---- trails and fences ----

    drawTrails(nowMs) {
        const context = this.trails;
        this.clear(context);
        context.lineCap = context.lineJoin = "round";
        context.strokeStyle = this.colour.trail;
        let youngest = -1;
        for (const [oldest, opacity] of TRAIL_PARTS) {
            context.globalAlpha = opacity;
            context.lineWidth = this.zoom > 12 ? 3 : 2;
            context.beginPath();
            for (const trail of this.clients.trails) {
                if (trail) this.addTrail(context, trail, nowMs - oldest, nowMs - youngest);
            }
            context.stroke();
            youngest = oldest;
        }
        context.globalAlpha = 1;
        this.drawFences(context);
    }

    /// The part of a trail between two times.
    addTrail(context, trail, fromMs, toMs) {
        let isDrawing = false;
        for (const { x, y, atMs } of trail) {
            if (atMs < fromMs) continue;
            const [px, py] = this.place(x, y);
            if (isDrawing) context.lineTo(px, py);
            else context.moveTo(px, py);
            isDrawing = true;
            if (atMs > toMs) break;
        }
    }

    drawFences(context) {
        context.lineWidth = 2;
        context.font = "12px system-ui, sans-serif";
        for (const fence of this.fences) {
            const box = this.boxOf(fence);
            context.setLineDash([6, 4]);
            context.strokeStyle = context.fillStyle = this.colour.fence;
            context.strokeRect(...box);
            context.setLineDash([]);
            context.globalAlpha = 0.06;
            context.fillRect(...box);
            context.globalAlpha = 1;
            context.textBaseline = "bottom";
            const name = `${fence.name} · ${fence.inside.size} inside`;
            context.fillText(name, box[0] + 2, box[1] - 3);
        }
    }

    boxOf({ west, south, east, north }) {
        const [left, top] = this.place(...project(west, north));
        const [right, bottom] = this.place(...project(east, south));
        return [left, top, right - left, bottom - top];
    }

    // ---- dots ----

    /// Says whether the next frame will look different by itself.
    drawDots(nowMs, isStill) {
        const context = this.dots;
        const { clients } = this;
        this.clear(context);
        this.drawSquares(context);
        const visible = [[], [], [], []];
        let count = 0;
        let glides = false;
        for (const slot of clients.slots.values()) {
            const glide = clients.glideMs[slot];
            const done = glide && !isStill ? (nowMs - clients.heardMs[slot]) / glide : 1;
            let x = clients.x[slot];
            let y = clients.y[slot];
            if (done < 1) {
                x += (clients.fromX[slot] - x) * (1 - done);
                y += (clients.fromY[slot] - y) * (1 - done);
            }
            let across = x - this.centre[0];
            across -= Math.round(across);
            const px = this.width / 2 + across * this.scale;
            const py = this.height / 2 + (y - this.centre[1]) * this.scale;
            if (px < -12 || py < -12 || px > this.width + 12 || py > this.height + 12) continue;
            glides ||= done < 1;
            count += 1;
            const isSquare = this.squares.size > 0 && this.squares.has(clients.ids[slot]);
            visible[isSquare ? SQUARE : clients.age[slot]].push(px, py, slot);
        }
        this.inView = count;
        this.visible = visible;
        if (count > CROWD) this.drawCrowd(context, visible);
        else this.drawEach(context, visible);
        this.drawChosen(context);
        return this.drawFlashes(context, nowMs) || glides;
    }

    /// Where a client is, of which no more is known: it has no dot.
    drawSquares(context) {
        const { slots, age } = this.clients;
        for (const [id, square] of this.squares) {
            const colour = this.colour[AGES[age[slots.get(id)]]];
            const box = this.boxOf(square);
            context.globalAlpha = 0.18;
            context.fillStyle = colour;
            context.fillRect(...box);
            context.globalAlpha = 1;
            context.lineWidth = id === this.chosen ? 4 : 2;
            context.strokeStyle = id === this.chosen ? this.colour.chosen : colour;
            context.strokeRect(...box);
        }
    }

    /// Squares: small for fresh, larger for old, hollow for stale. The few lie on the many.
    drawCrowd(context, visible) {
        for (const [age, colour, size] of [[FRESH, "fresh", 3], [OLD, "old", 5]]) {
            context.fillStyle = this.colour[colour];
            const places = visible[age];
            for (let at = 0; at < places.length; at += 3) {
                context.fillRect(places[at] - size / 2, places[at + 1] - size / 2, size, size);
            }
        }
        context.strokeStyle = this.colour.stale;
        context.lineWidth = 1.5;
        for (let at = 0; at < visible[STALE].length; at += 3) {
            context.strokeRect(visible[STALE][at] - 3, visible[STALE][at + 1] - 3, 6, 6);
        }
    }

    /// A disc with a wedge where it is heading, a diamond, a ring.
    drawEach(context, visible) {
        const { heading, speed } = this.clients;
        context.lineWidth = 1.5;
        context.strokeStyle = this.colour.halo;
        for (let at = 0; at < visible[STALE].length; at += 3) {
            const [px, py] = visible[STALE].slice(at, at + 2);
            context.beginPath();
            context.arc(px, py, 4.5, 0, 7);
            context.lineWidth = 4;
            context.strokeStyle = this.colour.halo;
            context.stroke();
            context.lineWidth = 2;
            context.strokeStyle = this.colour.stale;
            context.stroke();
        }
        context.lineWidth = 1.5;
        context.strokeStyle = this.colour.halo;
        context.fillStyle = this.colour.old;
        for (let at = 0; at < visible[OLD].length; at += 3) {
            const [px, py] = visible[OLD].slice(at, at + 2);
            context.beginPath();
            context.moveTo(px, py - 6);
            context.lineTo(px + 6, py);
            context.lineTo(px, py + 6);
            context.lineTo(px - 6, py);
            context.closePath();
            context.fill();
            context.stroke();
        }
        context.fillStyle = this.colour.fresh;
        for (let at = 0; at < visible[FRESH].length; at += 3) {
            const [px, py, slot] = visible[FRESH].slice(at, at + 3);
            if (speed[slot] > 0.3 && !Number.isNaN(heading[slot])) {
                this.drawWedge(context, px, py, heading[slot]);
            }
            context.beginPath();
            context.arc(px, py, 5, 0, 7);
            context.fill();
            context.stroke();
        }
    }

    drawWedge(context, px, py, heading) {
        const [east, south] = [Math.sin(heading), -Math.cos(heading)];
        context.beginPath();
        context.moveTo(px + 12 * east, py + 12 * south);
        context.lineTo(px + 5 * south, py - 5 * east);
        context.lineTo(px - 5 * south, py + 5 * east);
        context.closePath();
        context.fill();
    }

    drawChosen(context) {
        const slot = this.clients.slots.get(this.chosen);
        for (const places of slot === undefined ? [] : this.visible.slice(0, SQUARE)) {
            for (let at = 0; at < places.length; at += 3) {
                if (places[at + 2] !== slot) continue;
                context.beginPath();
                context.arc(places[at], places[at + 1], 11, 0, 7);
                context.lineWidth = 3;
                context.strokeStyle = this.colour.chosen;
                context.stroke();
            }
        }
    }

    drawFlashes(context, nowMs) {
        let isAny = false;
        for (const fence of this.fences) {
            const left = 1 - (nowMs - fence.flashMs) / FLASH_MS;
            if (!(left > 0)) continue;
            isAny = true;
            context.globalAlpha = left;
            context.lineWidth = 5;
            context.strokeStyle = this.colour.flash;
            context.strokeRect(...this.boxOf(fence));
        }
        context.globalAlpha = 1;
        return isAny;
    }

    /// The client whose dot is nearest to a point of the screen, within a finger's breadth.
    nearest(px, py, within = 18) {
        let best = within;
        let found;
        for (const places of this.visible ?? []) {
            for (let at = 0; at < places.length; at += 3) {
                const away = Math.hypot(places[at] - px, places[at + 1] - py);
                if (away < best) [best, found] = [away, places[at + 2]];
            }
        }
        return found === undefined ? undefined : this.clients.ids[found];
    }

    /// Those in view, from the left to the right.
    inOrder() {
        const all = [];
        for (const places of this.visible ?? []) {
            for (let at = 0; at < places.length; at += 3) all.push([places[at], places[at + 2]]);
        }
        all.sort((one, other) => one[0] - other[0]);
        return all.map(([, slot]) => this.clients.ids[slot]);
    }

    /// A round length for the scale, in metres and in pixels.
    rule() {
        const metres = metresAcross(this.centre[1]) / this.scale;
        const most = Math.min(110, this.width / 5) * metres;
        const power = 10 ** Math.floor(Math.log10(most));
        const round = [5, 2, 1].find(times => times * power <= most) * power;
        return [round, round / metres];
    }

    /// The town that a point of the map is in or near, and how far that is as a share of the map.
    nearTown(x, y) {
        let best = Infinity;
        let found;
        for (const town of this.towns) {
            const away = Math.hypot(town.x - x, town.y - y);
            if (away < best) [best, found] = [away, town];
        }
        return found;
    }
}
