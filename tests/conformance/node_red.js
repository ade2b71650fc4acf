// node-red-contrib-shelly's own node, without Node-RED: what of it a flow would get, a line of JSON each.
// node node_red.js <folder with node_modules> <host:port>; a line on stdin triggers it as a message in a flow does.
'use strict';
const { EventEmitter } = require('node:events');
const path = require('node:path');
const readline = require('node:readline');

const [, , folder, hostname] = process.argv;
const types = {};
const quiet = () => {};
const RED = {
    log: { info: quiet, warn: quiet, error: quiet, debug: quiet, trace: quiet },
    httpAdmin: { get: quiet, post: quiet },
    nodes: {
        registerType: (name, type) => { types[name] = type; },
        getNode: () => null,
        createNode: (node, config) => {
            const events = new EventEmitter();
            Object.assign(node, {
                type: config.type,
                on: events.on.bind(events), emit: events.emit.bind(events), credentials: {}, warn: quiet, error: quiet, log: quiet,
                status: quiet, send: (messages) => console.log(JSON.stringify([].concat(messages)[0])),
            });
        },
    },
};
require(path.join(folder, 'node_modules/node-red-contrib-shelly/shelly/99-shelly.js'))(RED);
const node = new types['shelly-gen2']({ type: 'shelly-gen2', hostname, devicetype: 'SPEM-003CEBEU', mode: 'polling', pollinginterval: '0', pollstatus: false, getstatusoncommand: false });
readline.createInterface({ input: process.stdin }).on('line', () => node.emit('input', {})).on('close', () => process.exit(0));
