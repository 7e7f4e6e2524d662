// The clients as a table: sorted, found by a part of the name, a page at a time. It is filled anew
// once a second, in place, so that a reader keeps the place and the focus.

import { ago, distance } from "./globe.js";

const ROWS = 100;
const KEYS = ["ArrowDown", "ArrowUp", "Home", "End"];

export class Table {
    /// `facts(id)` says what is known of a client; `choose(id)` is called for one that is chosen.
    constructor(root, clients, facts, choose) {
        this.root = root;
        this.clients = clients;
        this.facts = facts;
        this.sort = "name";
        this.isDown = false;
        this.page = 0;
        this.find = root.querySelector("#find");
        this.body = root.querySelector("#body");
        this.find.oninput = () => this.turn(0);
        root.querySelector("#before").onclick = () => this.turn(this.page - 1);
        root.querySelector("#after").onclick = () => this.turn(this.page + 1);
        for (const button of root.querySelectorAll("th button")) {
            button.onclick = () => this.sortBy(button);
        }
        this.body.onclick = event => {
            const button = event.target.closest("button");
            if (button) choose(button.textContent);
        };
        this.body.onkeydown = event => this.step(event);
    }

    turn(page) {
        this.page = page;
        this.order = undefined;
        this.fill();
    }

    sortBy(button) {
        this.isDown = this.sort === button.dataset.sort && !this.isDown;
        this.sort = button.dataset.sort;
        for (const head of this.root.querySelectorAll("th")) head.removeAttribute("aria-sort");
        const word = this.isDown ? "descending" : "ascending";
        button.closest("th").setAttribute("aria-sort", word);
        this.turn(0);
    }

    /// Arrow keys move from row to row.
    step(event) {
        if (!KEYS.includes(event.key)) return;
        const buttons = [...this.body.querySelectorAll("tr:not([hidden]) button")];
        const at = buttons.indexOf(document.activeElement);
        const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 };
        buttons[Math.max(0, Math.min(buttons.length - 1, to[event.key]))]?.focus();
        event.preventDefault();
        event.stopPropagation();
    }

    /// All that are looked for, in order. It is kept for a while: rows that jump cannot be read.
    ordered() {
        if (this.order && performance.now() - this.orderedMs < 5000) return this.order;
        const part = this.find.value.toLowerCase();
        const ids = [...this.clients.slots.keys()];
        const found = part ? ids.filter(id => id.toLowerCase().includes(part)) : ids;
        const { slots, stamp, speed } = this.clients;
        const value = { age: id => -stamp[slots.get(id)], speed: id => speed[slots.get(id)] || 0 };
        const by = value[this.sort];
        const names = new Intl.Collator(undefined, { numeric: true });
        found.sort(by ? (one, other) => by(one) - by(other) : names.compare);
        if (this.isDown) found.reverse();
        this.orderedMs = performance.now();
        return this.order = found;
    }

    fill() {
        if (this.root.hidden) return;
        const order = this.ordered();
        const pages = Math.max(1, Math.ceil(order.length / ROWS));
        this.page = Math.max(0, Math.min(this.page, pages - 1));
        const shown = order.slice(this.page * ROWS, (this.page + 1) * ROWS);
        while (this.body.children.length < shown.length) this.body.append(newRow());
        [...this.body.children].forEach((row, at) => this.fillRow(row, shown[at]));
        const say = (name, text) => { this.root.querySelector(name).textContent = text; };
        say("#found", order.length === 1 ? "1 client" : `${order.length} clients`);
        say("#page", `${this.page + 1} of ${pages}`);
        this.root.querySelector("#pages").hidden = pages === 1;
        this.root.querySelector("#before").disabled = this.page === 0;
        this.root.querySelector("#after").disabled = this.page === pages - 1;
    }

    fillRow(row, id) {
        row.hidden = id === undefined || !this.clients.slots.has(id);
        if (row.hidden) return;
        const facts = this.facts(id);
        row.classList.toggle("chosen", facts.isChosen);
        const texts = [id, ago(facts.ageS), speedOf(facts.speed),
            facts.town ? `${facts.town}, ${distance(facts.townMetres)}` : ""];
        texts.forEach((text, at) => {
            const cell = row.cells[at].firstElementChild ?? row.cells[at];
            if (cell.textContent !== text) cell.textContent = text;
        });
    }
}

function newRow() {
    const row = document.createElement("tr");
    for (let at = 0; at < 4; at++) row.insertCell();
    row.cells[0].append(document.createElement("button"));
    return row;
}

export function speedOf(metresPerS) {
    return Number.isNaN(metresPerS) ? "" : `${Math.round(metresPerS * 3.6)} km/h`;
}
