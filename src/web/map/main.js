// The page: hears the herd, hands it to the painter and the table, and takes what people do.

import { AGES, ago, distance, duration, metresBetween, project, readLand, readTowns, unproject,
    wind } from "./globe.js";
import { isOpenTo, whoSees, whyStill } from "./answers.js";
import { Clients } from "./clients.js";
import { fenceText, judge, readFence } from "./fences.js";
import { Painter } from "./painter.js";
import { Stream } from "./stream.js";
import { Table, speedOf } from "./table.js";

const $ = id => document.getElementById(id);
const say = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };

// A screen reader is told something at most so often.
const SPEAK_MS = 5000;
// From here on, the finer outline and the towns of a third of the world are worth loading.
const NEAR_ZOOM = 4;
const THIRDS = { west: [-180, -30], middle: [-30, 50], east: [50, 180] };
const PAN_PIXELS = 90;

const words = readAddress();
const clients = new Clients();
const painter = new Painter([$("base"), $("trails"), $("dots")], clients);
const table = new Table($("table"), clients, factsOf, choose);
const still = matchMedia("(prefers-reduced-motion: reduce)");

let stream;
let server = "";
let isOpen = false;
let aheadS = 0;
let me;
let follows = false;
let isDirty = true;
let isPlaced = Boolean(words.at);
let newcomers;
let details = {};
let watched = {};
let unsaid = "";
let saidMs = -SPEAK_MS;
let reporting;
let drawn = 0;
/// What a frame took of this thread, in milliseconds: the last ones. A test reads it.
const frames = globalThis.frames = [];
globalThis.frameCount = () => drawn;

const posixS = () => Date.now() / 1000 + aheadS;

// ---- the address ----

/// What stands behind the #, which never leaves the browser: a share link, or pairs as in a query.
function readAddress() {
    const text = location.hash.slice(1);
    if (/^s\d+\./.test(text)) {
        const only = onlyClient(text);
        return { token: text, isShare: true, fences: [], only, id: only };
    }
    const pairs = new URLSearchParams(text);
    const token = pairs.get("token") ?? sessionStorage.getItem("token") ?? "";
    // The token stays in this tab, and not in an address that somebody copies.
    if (pairs.has("token")) sessionStorage.setItem("token", token);
    const at = pairs.get("at")?.split(",").map(Number);
    return {
        token, at: at?.length === 3 && at.every(Number.isFinite) ? at : undefined,
        id: pairs.get("id") ?? undefined, prefix: pairs.get("prefix") ?? "",
        fences: pairs.getAll("fence").map(readFence).filter(Boolean),
    };
}

/// The one client of a link that blurs where it is: such a link opens nothing else.
function onlyClient(link) {
    const [kind, payload] = link.split(".");
    if (kind !== "s2" || !payload) return undefined;
    try {
        const bytes = atob(payload.replaceAll("-", "+").replaceAll("_", "/"));
        const text = new TextDecoder().decode(Uint8Array.from(bytes, byte => byte.charCodeAt(0)));
        // Its serial, until when it is good, how coarse it is.
        return text.split(" ").slice(3).join(" ");
    } catch {
        return undefined;
    }
}

function writeAddress() {
    if (words.isShare) return;
    const [longitude, latitude] = unproject(...painter.centre);
    const pairs = [`at=${latitude.toFixed(5)},${longitude.toFixed(5)},${painter.zoom.toFixed(2)}`];
    const id = painter.chosen ?? words.id;
    if (id) pairs.push(`id=${encodeURIComponent(id)}`);
    if (words.prefix) pairs.push(`prefix=${encodeURIComponent(words.prefix)}`);
    for (const fence of painter.fences) pairs.push(`fence=${encodeURIComponent(fenceText(fence))}`);
    history.replaceState(null, "", `#${pairs.join("&")}`);
}

// ---- what the server says ----

function listen() {
    const who = words.only !== undefined ? `id=${encodeURIComponent(words.only)}`
        : `prefix=${encodeURIComponent(words.prefix ?? "")}`;
    stream = new Stream(`/v1/follow?${who}`, words.token, {
        state: hearState,
        hello({ server: name, resumed }) {
            server = name;
            // What is not told anew until `ready` is not there any more.
            if (!resumed) newcomers = new Set();
        },
        move(list) {
            const nowMs = performance.now();
            for (const [id, longitude, latitude, stamp] of list) {
                // A position that cannot be read has no place on a map.
                if (longitude === null) continue;
                newcomers?.add(id);
                clients.move(id, longitude, latitude, stamp, nowMs);
                for (const fence of painter.fences) watch(fence, id, longitude, latitude);
            }
            isDirty = true;
        },
        square({ id, bbox, t }) {
            // Where in the square it is, is not known, so it has no trail, no speed and no heading.
            remove(id);
            isDirty = true;
            if (!bbox) return;
            newcomers?.add(id);
            const [west, south, east, north] = bbox;
            painter.squares.set(id, { west, south, east, north });
            clients.move(id, (west + east) / 2, (south + north) / 2, t, performance.now());
        },
        ready: hearReady,
        gone({ id, why }) {
            remove(id);
            for (const fence of painter.fences) fence.inside.delete(id);
            if (id === painter.chosen) speak(`${id} is gone: ${why}`);
            isDirty = true;
        },
        lag({ ms }) { say("lag", `${Math.round(ms)} ms behind`); },
        bye() { note(`${server} is stopping; this page looks for it again.`); },
    });
}

function hearState(word, about) {
    isOpen = word === "open";
    if (isOpen) {
        const differs = about ? Date.parse(about) / 1000 - Date.now() / 1000 : 0;
        // The header has whole seconds: less than that is no difference.
        aheadS = Math.abs(differs) > 2 ? differs : 0;
    } else if (word === "forbidden") {
        note("This server shows positions only to those who have leave: open the page with a link "
            + "that somebody has shared, or with #token=YOUR-TOKEN.");
    }
    $("lamp").classList.toggle("on", isOpen);
    speak(isOpen ? "Connected." : "Not connected.");
    tick();
}

function remove(id) {
    clients.remove(id);
    painter.squares.delete(id);
}

function hearReady() {
    if (newcomers) {
        for (const id of clients.slots.keys()) if (!newcomers.has(id)) remove(id);
    }
    newcomers = undefined;
    tick();
}

/// The first view: what the address names, else everybody. Who is not there yet is waited for.
function begin() {
    if (newcomers || !clients.size) return;
    if (!isPlaced) showAll();
    isPlaced = true;
    if (!clients.slots.has(words.id)) return;
    const id = words.id;
    words.id = undefined;
    choose(id);
}

/// Who is inside when the page comes has not entered.
function watch(fence, id, longitude, latitude) {
    const done = judge(fence, id, longitude, latitude);
    if (!done || newcomers) return;
    fence.flashMs = performance.now();
    note(`${id} has ${done} ${fence.name}`);
    speak(`${id} has ${done} ${fence.name}`);
}

// ---- what is shown ----

function frame() {
    const begin = performance.now();
    const chosen = clients.slots.get(painter.chosen);
    if (follows && chosen !== undefined) {
        const place = clients.shown(chosen, begin);
        const [px, py] = painter.place(...place);
        const [toX, toY] = spot();
        if (Math.hypot(px - toX, py - toY) > 1) painter.look(place, painter.zoom, spot());
    }
    const hasMoved = painter.isStale;
    if (hasMoved) {
        painter.drawBase();
        painter.drawTrails(begin);
        drawScale();
        loadNear();
    }
    if (hasMoved || isDirty) {
        isDirty = painter.drawDots(begin, still.matches);
        frames.push(performance.now() - begin);
        if (frames.length > 1000) frames.shift();
        drawn += 1;
    }
    requestAnimationFrame(frame);
}

/// Once a second: what grows old by itself.
function tick() {
    begin();
    clients.reckon(posixS());
    isDirty = true;
    painter.drawTrails(performance.now());
    const count = clients.size;
    say("server", server ? `at ${server}` : "");
    say("state", isOpen ? `Live: ${count === 1 ? "1 client" : `${count} clients`}, `
        + `${painter.inView ?? 0} in view.` : "Not connected; trying again.");
    AGES.forEach((age, at) => say(age, String(clients.counts[at])));
    table.fill();
    showClient();
    speakNow();
}

function drawScale() {
    const [metres, pixels] = painter.rule();
    $("scale").querySelector("i").style.width = `${pixels}px`;
    $("scale").querySelector("b").textContent = distance(metres);
}

function factsOf(id) {
    const slot = clients.slots.get(id);
    const [x, y] = [clients.x[slot], clients.y[slot]];
    const town = painter.nearTown(x, y);
    return {
        isChosen: id === painter.chosen, ageS: posixS() - clients.stamp[slot], x, y,
        age: clients.age[slot], speed: clients.speed[slot], heading: clients.heading[slot],
        town: town?.name, townMetres: town && metresBetween(town.x, town.y, x, y),
    };
}

function choose(id) {
    const slot = clients.slots.get(id);
    if (slot === undefined) return;
    if (painter.chosen !== id) {
        details = {};
        watched = { x: clients.x[slot], y: clients.y[slot], sinceMs: performance.now() };
    }
    painter.chosen = id;
    $("client").hidden = false;
    const place = [clients.x[slot], clients.y[slot]];
    if (!isSeen(painter.place(...place))) painter.look(place, Math.max(painter.zoom, 13), spot());
    isDirty = true;
    askDetails(id);
    const facts = factsOf(id);
    speak(`${id}, last report ${ago(facts.ageS)}${facts.town ? `, near ${facts.town}` : ""}`);
    tick();
    writeAddress();
}

/// Whether this point of the screen is on it, and nothing lies over it.
function isSeen([px, py]) {
    return $("map").contains(document.elementFromPoint(px, py));
}

/// Where nothing lies over the map.
function spot() {
    const isNarrow = painter.width <= 700;
    return isNarrow ? [painter.width / 2, painter.height * 0.28]
        : [painter.width * 0.42, painter.height / 2];
}

function letGo() {
    painter.chosen = words.id = undefined;
    setFollow(false);
    $("client").hidden = true;
    isDirty = true;
    writeAddress();
}

function setFollow(does) {
    follows = does && painter.chosen !== undefined;
    $("follow").setAttribute("aria-pressed", String(follows));
}

/// What the stream does not tell: who heard the client, and how old its report was then.
async function askDetails(id) {
    const headers = words.token ? { Authorization: `Bearer ${words.token}` } : {};
    const path = `/v1/clients/${encodeURIComponent(id)}`;
    const answer = await fetch(path, { headers }).catch(() => undefined);
    if (answer?.ok && id === painter.chosen) details = (await answer.json()).properties;
}

function showClient() {
    const id = painter.chosen;
    if (id === undefined) return;
    if (!clients.slots.has(id)) {
        say("summary", "It is not known any more.");
        return;
    }
    const facts = factsOf(id);
    say("name", id);
    const shape = $("client").querySelector("path");
    shape.setAttribute("class", AGES[facts.age]);
    shape.setAttribute("d", ["M8 3a5 5 0 1 0 .01 0z", "M8 2.5 13.5 8 8 13.5 2.5 8z",
        "M8 3.5a4.5 4.5 0 1 0 .01 0z"][facts.age]);
    const moves = facts.speed > 0.3 && facts.ageS < 60;
    say("summary", `Last report ${ago(facts.ageS)}. ` + (moves
        ? `Heading ${wind(facts.heading)} at ${speedOf(facts.speed)}.` : "Not moving."));
    const square = painter.squares.get(id);
    if (square) return showSquare(facts, square);
    const [longitude, latitude] = unproject(facts.x, facts.y);
    const stamp = new Date(1000 * (posixS() - facts.ageS));
    fillFacts([
        ["Reported", stamp.toLocaleString()],
        ["Heard by", details.server ?? "…"],
        ["Where", `${latitude.toFixed(5)}, ${longitude.toFixed(5)}`],
        ["Near", facts.town ? `${facts.town}, ${distance(facts.townMetres)}` : "…"],
    ]);
    say("asked", moves ? "Does it move?" : "Why does it not move?");
    say("why", whyStill({
        ageS: facts.ageS, movedMetres: metresBetween(watched.x, watched.y, facts.x, facts.y),
        watchedS: (performance.now() - watched.sinceMs) / 1000, speed: facts.speed,
        skewS: Number(details.skew ?? 0), server: details.server, isLive: isOpen,
        wordS: (performance.now() - stream.heardAt) / 1000,
    }));
    say("who", whoSees(me, location.host));
}

function showSquare(facts, { west, south, east, north }) {
    say("summary", `Last report ${ago(facts.ageS)}, from somewhere in the square.`);
    const minute = new Date(1000 * (posixS() - facts.ageS));
    fillFacts([
        ["Reported", minute.toLocaleString(undefined, { dateStyle: "short", timeStyle: "short" })],
        ["Latitude", `${south.toFixed(3)} to ${north.toFixed(3)}`],
        ["Longitude", `${west.toFixed(3)} to ${east.toFixed(3)}`],
        ["Near", facts.town ? `${facts.town}, ${distance(facts.townMetres)}` : "…"],
    ]);
    say("asked", "Why a square?");
    say("why", "The link that you have opened tells about where this client is, and no more: who "
        + "has shared it wants it so. How it moves inside the square is not told.");
    say("who", whoSees(me, location.host));
}

function fillFacts(facts) {
    const list = $("facts");
    while (list.children.length < 2 * facts.length) {
        list.append(document.createElement("dt"), document.createElement("dd"));
    }
    facts.flat().forEach((text, at) => {
        if (list.children[at].textContent !== text) list.children[at].textContent = text;
    });
}

/// A screen reader hears the newest of what has happened, and not each of it.
function speak(text) {
    unsaid = text;
    speakNow();
}

function speakNow() {
    if (!unsaid || performance.now() - saidMs < SPEAK_MS) return;
    saidMs = performance.now();
    say("said", unsaid);
    unsaid = "";
}

let noteEnds;
function note(text) {
    say("note", text);
    $("note").hidden = false;
    clearTimeout(noteEnds);
    noteEnds = setTimeout(() => { $("note").hidden = true; }, 8000);
}

// ---- what people do ----

function showAll() {
    const box = clients.bounds();
    if (!box) return;
    for (const { west, south, east, north } of painter.squares.values()) {
        const [[left, top], [right, bottom]] = [project(west, north), project(east, south)];
        box.splice(0, 4, Math.min(box[0], left), Math.min(box[1], top),
            Math.max(box[2], right), Math.max(box[3], bottom));
    }
    painter.fit(box);
}

function stepThrough(by) {
    const ids = painter.inOrder();
    if (!ids.length) return;
    const at = ids.indexOf(painter.chosen);
    choose(ids[(at + by + ids.length + (at < 0 && by < 0 ? 1 : 0)) % ids.length]);
}

function toggleTable() {
    const isOpen = $("table").hidden;
    $("table").hidden = !isOpen;
    $("list").setAttribute("aria-expanded", String(isOpen));
    table.turn(0);
    if (isOpen) $("find").focus();
}

/// A fence around the middle of what is in view.
function addFence() {
    const [west, south, east, north] = painter.box();
    const [across, down] = [(east - west) / 4, (north - south) / 4];
    const name = `fence-${painter.fences.length + 1}`;
    const sides = [west + across, south + down, east - across, north - down];
    const fence = readFence(`${name}:${sides.join(",")}`);
    for (const [id, slot] of clients.slots) {
        // Whether it is inside is not known.
        if (painter.squares.has(id)) continue;
        judge(fence, id, ...unproject(clients.x[slot], clients.y[slot]));
    }
    painter.fences.push(fence);
    writeAddress();
    note(`${name} is drawn: who enters or leaves it is told here. The address keeps it.`);
}

async function share() {
    const address = new URL(location.href);
    if (!words.isShare) address.hash = `id=${encodeURIComponent(painter.chosen)}`;
    const copied = navigator.clipboard?.writeText(address.href);
    const isCopied = await copied?.then(() => true, () => false);
    const who = isOpenTo(me) ? "It shows the client to everybody who can reach this server."
        : "It shows the client to those who have a token that may see it; `herd share` makes a "
        + "link for others, which expires.";
    note(isCopied ? `The link is copied. ${who}` : `Copy the address of this page. ${who}`);
}

async function report() {
    if (reporting !== undefined) {
        navigator.geolocation.clearWatch(reporting);
        reporting = undefined;
        $("report").classList.remove("on");
        return note("This browser reports no more. What it has reported stays until it expires.");
    }
    if (!isSecureContext || !navigator.geolocation) {
        return note("Browsers tell where they are only to pages of this machine or by https.");
    }
    $("my-name").value = localStorage.getItem("name") ?? "";
    $("asking").showModal();
}

function startReport() {
    const id = $("my-name").value.trim();
    if ($("asking").returnValue !== "go" || !id) return;
    localStorage.setItem("name", id);
    $("report").classList.add("on");
    reporting = navigator.geolocation.watchPosition(
        place => sendReport(id, place), error => note(`No position: ${error.message}`),
        { enableHighAccuracy: true });
}

async function sendReport(id, { coords, timestamp }) {
    const headers = { "Content-Type": "application/json" };
    if (words.token) headers.Authorization = `Bearer ${words.token}`;
    const body = JSON.stringify({ id, lat: coords.latitude, lon: coords.longitude, timestamp });
    const answer = await fetch("/report", { method: "POST", headers, body }).catch(() => undefined);
    const taken = answer?.ok ? (await answer.json()).taken : 0;
    note(taken ? `Reported as ${id}, exact to ${distance(coords.accuracy)}.`
        : `The report as ${id} was not taken: you may not report it, or the server is not there.`);
}

const KEYS = {
    ArrowLeft: () => painter.pan(-PAN_PIXELS, 0), ArrowRight: () => painter.pan(PAN_PIXELS, 0),
    ArrowUp: () => painter.pan(0, -PAN_PIXELS), ArrowDown: () => painter.pan(0, PAN_PIXELS),
    "+": () => painter.zoomAt(0.5), "=": () => painter.zoomAt(0.5), "-": () => painter.zoomAt(-0.5),
    0: showAll, n: () => stepThrough(1), p: () => stepThrough(-1), f: () => setFollow(!follows),
};

function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target.closest("input, dialog");
    if (event.key === "Escape" && !isTyping) letGo();
    else if (event.key === "t" && !isTyping) toggleTable();
    else if (event.target === $("map") && KEYS[event.key]) {
        KEYS[event.key]();
        if (event.key.startsWith("Arrow")) setFollow(false);
        writeLater();
    } else return;
    event.preventDefault();
}

let writes;
function writeLater() {
    clearTimeout(writes);
    writes = setTimeout(writeAddress, 400);
}

/// One finger or the mouse pans, two fingers zoom.
function takePointers() {
    const map = $("map");
    const fingers = new Map();
    let travelled = 0;
    map.onpointerdown = event => {
        map.setPointerCapture(event.pointerId);
        fingers.set(event.pointerId, [event.clientX, event.clientY]);
        travelled = 0;
        map.classList.add("held");
    };
    map.onpointermove = event => {
        const before = fingers.get(event.pointerId);
        if (!before) return showTip(event);
        const now = [event.clientX, event.clientY];
        travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
        const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
        if (other) {
            const apart = at => Math.hypot(at[0] - other[0], at[1] - other[1]);
            painter.zoomAt(Math.log2(apart(now) / apart(before)),
                (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
        } else if (travelled > 4) {
            painter.pan(before[0] - now[0], before[1] - now[1]);
            setFollow(false);
        }
        fingers.set(event.pointerId, now);
    };
    map.onpointerup = map.onpointercancel = event => {
        fingers.delete(event.pointerId);
        map.classList.toggle("held", fingers.size > 0);
        if (event.type === "pointerup" && travelled <= 4) {
            const id = painter.nearest(event.clientX, event.clientY);
            if (id === undefined) letGo();
            else choose(id);
        }
        writeLater();
    };
    map.onpointerleave = () => { $("tip").hidden = true; };
    map.addEventListener("wheel", event => {
        event.preventDefault();
        painter.zoomAt(-event.deltaY / (event.deltaMode ? 20 : 400), event.clientX, event.clientY);
        writeLater();
    }, { passive: false });
}

function showTip(event) {
    const id = painter.nearest(event.clientX, event.clientY);
    $("tip").hidden = id === undefined;
    if (id === undefined) return;
    say("tip", `${id} · ${ago(factsOf(id).ageS)}`);
    $("tip").style.left = `${Math.min(event.clientX + 14, painter.width - 180)}px`;
    $("tip").style.top = `${Math.max(8, event.clientY - 30)}px`;
}

// ---- the base map ----

async function load(name, read) {
    const answer = await fetch(`/map/${name}.bin`);
    if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
    return read(new Uint8Array(await answer.arrayBuffer()));
}

const loaded = new Set();
function loadOnce(name, read, use) {
    if (loaded.has(name)) return;
    loaded.add(name);
    load(name, read).then(use).catch(() => loaded.delete(name));
}

function loadNear() {
    if (painter.zoom < NEAR_ZOOM) return;
    loadOnce("coast", readLand, land => painter.setLand(land));
    const [west, , east] = painter.box();
    for (const [name, [from, to]] of Object.entries(THIRDS)) {
        if (west < to && from < east) loadOnce(name, readTowns, towns => painter.addTowns(towns));
    }
}

// ---- it begins ----

async function askWhoIAm() {
    const headers = words.token ? { Authorization: `Bearer ${words.token}` } : {};
    const answer = await fetch("/v1/me", { headers }).catch(() => undefined);
    me = answer?.ok ? await answer.json() : undefined;
}

loadOnce("coarse", readLand, land => { if (!loaded.has("coast")) painter.setLand(land); });
loadOnce("cities", readTowns, towns => painter.addTowns(towns));
painter.fences = words.fences;
if (words.at) painter.look(project(words.at[1], words.at[0]), words.at[2]);
askWhoIAm();
listen();
takePointers();
new ResizeObserver(() => painter.resize()).observe($("map"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => painter.recolour());
document.addEventListener("keydown", press);
$("in").onclick = () => painter.zoomAt(1);
$("out").onclick = () => painter.zoomAt(-1);
$("all").onclick = showAll;
$("list").onclick = toggleTable;
$("fence").onclick = addFence;
$("report").onclick = report;
$("asking").onclose = startReport;
$("close").onclick = letGo;
$("follow").onclick = () => setFollow(!follows);
$("share").onclick = share;
setInterval(tick, 1000);
setInterval(() => painter.chosen && askDetails(painter.chosen), 5000);
requestAnimationFrame(frame);
