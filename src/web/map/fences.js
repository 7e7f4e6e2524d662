// Fences: boxes of which the page says who enters and who leaves. It judges by what it hears of all
// clients anyway. It touches no page, so that a test can run it in Node.js.

/// Reads NAME:WEST,SOUTH,EAST,NORTH, in degrees.
export function readFence(text) {
    const [, name, rest] = /^([^:]+):(.+)$/.exec(text) ?? [];
    const sides = rest?.split(",").map(Number) ?? [];
    if (sides.length !== 4 || !sides.every(Number.isFinite)) return undefined;
    const [west, south, east, north] = sides;
    return { name, west, south, east, north, inside: new Set(), flashMs: -Infinity };
}

export function fenceText({ name, west, south, east, north }) {
    return `${name}:${[west, south, east, north].map(side => +side.toFixed(5)).join(",")}`;
}

/// What a report makes of a client: it has `entered`, or has `left`; else nothing.
export function judge(fence, id, longitude, latitude) {
    const { west, south, east, north } = fence;
    // A box across the date line has its west in the east.
    const isBetween = west <= east ? longitude >= west && longitude <= east
        : longitude >= west || longitude <= east;
    const isInside = isBetween && latitude >= south && latitude <= north;
    if (isInside === fence.inside.has(id)) return undefined;
    if (isInside) fence.inside.add(id);
    else fence.inside.delete(id);
    return isInside ? "entered" : "left";
}
