// What is said about one client, in words: why it does not move, and who can see it. It touches no
// page, so that a test can run it in Node.js.

import { ago, distance, duration } from "./globe.js";

// Reports that come so often are a client that is there.
const SILENT_S = 120;
// So far is standing still: a receiver in a pocket is no better.
const STILL_METRES = 25;
// So slow, in metres a second, is standing still too.
const SLOW = 0.3;
// So long under way is no delay of the network.
const BUFFERED_S = 60;

/// Why a dot stands where it stands. `ageS` is how old its newest report is, `movedMetres` how far
/// it went in the `watchedS` seconds that this page has watched it, `speed` how fast between its
/// last two reports, `skewS` how old the last was when a server heard it; `isLive` whether the page
/// hears the server, `wordS` how long ago it did.
export function whyStill({ ageS, movedMetres, watchedS, speed, skewS, server, isLive, wordS }) {
    const sentences = [];
    if (isLive) {
        const word = wordS < 2 ? "just now" : `${duration(wordS)} ago`;
        sentences.push(`The map is live: the server has spoken ${word}.`);
    } else {
        sentences.push("This page does not hear the server now, so all dots stand still. It goes "
            + "on trying.");
    }
    if (ageS > SILENT_S) {
        sentences.push(`But nothing newer has come of this client for ${duration(ageS)}. Its phone `
            + "is off, has no network, or its app was stopped or may not see where it is; when it "
            + "sends again, the dot moves.");
    } else if (ageS < -5) {
        sentences.push(`Its clock is ${duration(-ageS)} ahead: until then, only what is dated even `
            + "later moves the dot.");
    } else if (movedMetres < STILL_METRES && !(speed > SLOW)) {
        sentences.push(`It does report, ${ago(ageS)}, but from the same place: it has moved `
            + `${distance(movedMetres)} in the ${duration(watchedS)} that you have watched.`);
    } else {
        sentences.push(`It does move: ${distance(movedMetres)} in the ${duration(watchedS)} that `
            + "you have watched.");
    }
    if (skewS > BUFFERED_S) {
        sentences.push(`Its last report was ${duration(skewS)} old when ${server} heard it: it had `
            + "waited in the phone, and newer ones may wait there still.");
    }
    return sentences.join(" ");
}

/// Whether everybody sees everybody. `me` is what the server says that this page may (`/v1/me`).
export const isOpenTo = me => !me || !me.name && me.read.includes("*");

/// Who sees this client, as far as the caller may know.
export function whoSees(me, host) {
    const herd = "All servers of the herd hold its newest position, and no earlier one.";
    if (isOpenTo(me)) {
        return `Everybody who can reach ${host}, for this server asks nobody who they are. ${herd} `
            + "A herd with access set up shows it only to those who have leave.";
    }
    const you = me.name ? `You, as ${me.name}` : "You, by a link that somebody has shared";
    const about = me.blurred && `about where ${me.blurred.client} is`;
    const reads = about ?? (me.read.length ? me.read.join(", ") : "nobody");
    const ends = me.expires ? ` until ${new Date(1000 * me.expires).toLocaleString()}` : "";
    return `${you}: you may see ${reads}${ends}. Others need a token that may see it, or a link `
        + `that somebody has shared and that has not expired. ${herd}`;
}
