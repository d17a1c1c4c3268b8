// A bolt for Storm: emits what it gets, by multilang in JSON. The argument says whose JSON: `plain` is Node's own, which rounds
// integers beyond 2^53; `exact` is that of the script library, which rounds none.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const library = require(path.join(__dirname, '../../../script/node/waterspout-script.js'));

const { parse, stringify } = process.argv[2] === 'exact' ? library : JSON;
const send = (message) => process.stdout.write(`${stringify(message)}\nend\n`);
let pieces = [];
let hasBegun = false;

function hear(message) {
  if (!hasBegun) {
    hasBegun = true;
    fs.writeFileSync(`${message.pidDir}/${process.pid}`, '');
    send({ pid: process.pid });
  } else if (message.stream === '__heartbeat') {
    send({ command: 'sync' });
  } else if (message.tuple) {
    send({ command: 'emit', anchors: [message.id], tuple: message.tuple, need_task_ids: false });
    send({ command: 'ack', id: message.id });
  }
}

process.stdin.on('data', (data) => {
  pieces.push(data);
  if (!data.includes('\nend\n') && !data.subarray(0, 5).includes('\n')) return;
  let rest = Buffer.concat(pieces);
  for (let end = rest.indexOf('\nend\n'); end >= 0; end = rest.indexOf('\nend\n')) {
    hear(parse(rest.subarray(0, end).toString()));
    rest = rest.subarray(end + 5);
  }
  pieces = [rest];
});
