// Server-Sent Events by `fetch`, which can send a token and say where it broke off; EventSource
// cannot. It goes on by itself after every end.

// A server says something every 15 s. After so long without a word the connection is dead.
const SILENCE_MS = 40_000;
const RETRY_MS = 2000;
const RETRY_MS_MAX = 30_000;

export class Stream {
    /// `on` has a function for each kind of event, and `state(word, why)` for what becomes of the
    /// connection.
    constructor(path, token, on) {
        this.path = path;
        this.token = token;
        this.on = on;
        this.lastId = "";
        this.heardAt = 0;
        this.failures = 0;
        this.isClosed = false;
        this.run();
    }

    close() {
        this.isClosed = true;
        this.abort?.abort();
    }

    async run() {
        while (!this.isClosed) {
            const why = await this.once().catch(error => error.message);
            if (this.isClosed) return;
            this.failures += 1;
            this.on.state("lost", why);
            const wait = Math.min(RETRY_MS * 2 ** (this.failures - 1), RETRY_MS_MAX);
            await new Promise(done => setTimeout(done, wait));
        }
    }

    /// One connection, to its end; says why it ended.
    async once() {
        this.abort = new AbortController();
        const headers = { Accept: "text/event-stream" };
        if (this.token) headers.Authorization = `Bearer ${this.token}`;
        if (this.lastId) headers["Last-Event-ID"] = this.lastId;
        this.heardAt = performance.now();
        const watch = setInterval(() => {
            if (performance.now() - this.heardAt > SILENCE_MS) this.abort.abort();
        }, 1000);
        try {
            const answer = await fetch(this.path, { headers, cache: "no-store",
                referrerPolicy: "no-referrer", signal: this.abort.signal });
            if (!answer.ok) return this.refused(answer);
            this.on.state("open", answer.headers.get("date"));
            const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
            let rest = "";
            for (;;) {
                const { value, done } = await reader.read();
                if (done) return "the server has ended it";
                this.heardAt = performance.now();
                this.failures = 0;
                const events = (rest + value).split("\n\n");
                rest = events.pop();
                events.forEach(event => this.take(event));
            }
        } finally {
            clearInterval(watch);
        }
    }

    refused(answer) {
        if (answer.status === 401 || answer.status === 403) {
            this.on.state("forbidden");
            this.isClosed = true;
        }
        return `the server answers ${answer.status}`;
    }

    take(text) {
        let kind = "message";
        let data = "";
        for (const line of text.split("\n")) {
            const [, field, value] = /^([a-z]*): ?(.*)$/.exec(line) ?? [];
            if (field === "event") kind = value;
            else if (field === "data") data += value;
            else if (field === "id") this.lastId = value;
        }
        if (data && this.on[kind]) this.on[kind](JSON.parse(data));
    }
}
