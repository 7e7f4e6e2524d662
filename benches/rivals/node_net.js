// The herd's client port on Node.js `net`: callbacks on one thread.
//
// All lines that came together are answered by one write. IAMAT and `? line` only. Left out:
// WHATSAT, peers, limits, logs, back-pressure, exact skews (floats here).
'use strict';

const net = require('net');
const { performance } = require('perf_hooks');

const IAMAT = /^\s*IAMAT\s+(\S+)\s+([+-]\d+(?:\.\d+)?[+-]\d+(?:\.\d+)?)\s+(\d+(?:\.\d+)?)\s*$/;
const newest = new Map();

function answer(line) {
  const match = IAMAT.exec(line);
  if (!match) return `? ${line.replace(/\r$/, '')}\n`;
  const [, client, position, stamp] = match;
  const sent = Number(stamp);
  const known = newest.get(client);
  if (!known || known.sent < sent) newest.set(client, { sent, position, stamp });
  const skew = (performance.timeOrigin + performance.now()) / 1000 - sent;
  return `AT Rival ${skew < 0 ? '' : '+'}${skew.toFixed(9)} ${client} ${position} ${stamp}\n`;
}

const server = net.createServer({ noDelay: true }, (socket) => {
  let rest = '';
  socket.setEncoding('latin1');
  socket.on('data', (data) => {
    const lines = (rest + data).split('\n');
    rest = lines.pop();
    if (lines.length > 0) socket.write(lines.map(answer).join(''), 'latin1');
  });
  socket.on('error', () => socket.destroy());
});

server.listen(Number(process.argv[2]), '127.0.0.1');
