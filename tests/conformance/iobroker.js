// ioBroker's Shelly adapter itself, all of its code, without js-controller: what stands in for that keeps objects and states
// in memory. A line of JSON each second: {states: {id: value}, roles: {id: unit}, errors: [line]}.
// node iobroker.js <folder with node_modules> <port of its broker> <host:port of the meter's HTTP>; ends with stdin.
'use strict';
const { EventEmitter } = require('node:events');
const Module = require('node:module');
const path = require('node:path');

const [, , folder, port, meter] = process.argv;
const modules = path.join(folder, 'node_modules');
const objects = new Map();
const states = new Map();
const errors = [];
const quiet = () => {};

class Adapter extends EventEmitter {
    constructor(options) {
        super();
        this.name = options.name;
        this.namespace = `${options.name}.0`;
        this.config = {
            protocol: 'mqtt', bind: '127.0.0.1', port: Number(port), qos: 1, mqttusername: 'iobroker', mqttpassword: 'hunter2', httpusername: '',
            httppassword: '', polltime: 5, updateUnchangedObjects: false, autoupdate: false, blacklist: [],
        };
        const keep = (line) => errors.push(String(line));
        this.log = { silly: quiet, debug: quiet, info: quiet, warn: keep, error: keep };
        setImmediate(() => this.emit('ready'));
    }

    // -- names
    full(id) { return id.startsWith(`${this.namespace}.`) ? id : `${this.namespace}.${id}`; }
    removeNamespace(id) { return id.replace(`${this.namespace}.`, ''); }

    // -- objects
    setObject(id, object, done) { objects.set(this.full(id), { ...object, _id: this.full(id) }); done?.(null); }
    getObject(id, done) { done(null, objects.get(this.full(id)) ?? null); }
    extendObject(id, object, done) {
        const old = objects.get(this.full(id)) ?? {};
        objects.set(this.full(id), { ...old, ...object, common: { ...old.common, ...object.common }, _id: this.full(id) });
        done?.(null);
        return Promise.resolve();
    }
    delObject(id, done) { objects.delete(this.full(id)); states.delete(this.full(id)); done?.(null); }
    getAdapterObjects(done) { done(Object.fromEntries(objects)); }
    async getObjectAsync(id) { return objects.get(this.full(id)) ?? null; }
    async setObjectAsync(id, object) { this.setObject(id, object); }
    async getStatesOfAsync(device = '') {
        return [...objects.values()].filter((object) => object.type === 'state' && object._id.startsWith(this.full(device)));
    }
    async subscribeStatesAsync() {}
    async subscribeObjectsAsync() {}
    async delObjectAsync(id) { this.delObject(id); }
    async delForeignObjectAsync(id) { this.delObject(id); }
    async setObjectNotExistsAsync(id, object) { if (!objects.has(this.full(id))) this.setObject(id, object); }
    async getAdapterObjectsAsync() { return Object.fromEntries(objects); }
    async getDevicesAsync() { return [...objects.values()].filter((object) => object.type === 'device'); }

    // -- states
    setState(id, state, ack, done) {
        states.set(this.full(id), state !== null && typeof state === 'object' ? state : { val: state, ack });
        [ack, done].find((one) => typeof one === 'function')?.(null);
        return Promise.resolve();
    }
    async getStateAsync(id) {
        // Where the device is reached by HTTP: on a network that is port 80 of the address it connects from.
        if (id.endsWith('.hostname')) return { val: meter, ack: true };
        return states.get(this.full(id)) ?? null;
    }

    async setStateAsync(...given) { await this.setState(...given); }
    async getStatesAsync() { return Object.fromEntries(states); }

    // -- the rest
    setTimeout(...given) { return setTimeout(...given); }
    clearTimeout(timer) { clearTimeout(timer); }
    delay(ms) { return new Promise((done) => { setTimeout(done, ms); }); }
    subscribeStates() {}
    subscribeForeignFiles() {}
    registerNotification() {}
    async mkdirAsync() {}
    async writeFileAsync() {}
    writeFile() {}
}

const I18n = { init: async () => {}, translate: (text) => text, getTranslatedObject: (text) => text };
const load = Module._load;
Module._load = (name, ...rest) => (name === '@iobroker/adapter-core' ? { Adapter, I18n } : load(name, ...rest));
// It starts by itself where nothing has required it; here it is told to.
const adapter = path.join(modules, 'iobroker.shelly');
require(path.join(adapter, require(path.join(adapter, 'package.json')).main))({});

setInterval(() => {
    const strip = (map, of) => Object.fromEntries([...map].map(([id, one]) => [id.replace(/^shelly\.0\./, ''), of(one)]));
    const kinds = strip(new Map([...objects].filter(([, object]) => object.type === 'state')), (object) => [object.common.type, object.common.unit ?? '']);
    console.log(JSON.stringify({ states: strip(states, (state) => state.val), kinds, errors }));
}, 500);
process.stdin.on('end', () => process.exit(0)).resume();
