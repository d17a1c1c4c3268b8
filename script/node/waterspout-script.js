// The script protocol of Waterspout for Node.js 18 and later, in one file without dependencies. Messages are MessagePack, or
// JSON if the variable WATERSPOUT_ENCODING says `Json`. `parse` and `stringify` are of use by Storm's multilang protocol, too: they
// lose nothing of what `JSON.parse` and `JSON.stringify` lose, such as integers beyond 2^53.
//
// A worker runs `node waterspout-script.js` for each task of a `script: {javascript: ...}`. A script has functions:
// `process(tup)` makes it a bolt, `spout()` a spout; beside them it may have `tick()`, `finish()` and `pause()`. It is given
// `context`, `state`, `emit`, `hold`, `ack`, `fail`, `log`, `Timestamp` and `Float`. `process` may be a generator, and may be asynchronous.
'use strict';

const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const url = require('node:url');
const { createRequire } = require('node:module');

const VERSION = 1;
const nodeProcess = process;

/** A point in time: microseconds since 1970 in UTC, as a BigInt. */
class Timestamp {
  constructor(micros) { this.micros = BigInt(micros); }
  toDate() { return new Date(Number(this.micros / 1000n)); }
}

/** A number that is a float even if it has no fraction. */
class Float {
  constructor(value) { this.value = Number(value); }
}

// --- MessagePack ---

const MIN_INT = -(2n ** 63n);
const MAX_UINT = 2n ** 64n - 1n;

class Packer {
  constructor() { this.buffer = Buffer.allocUnsafe(1 << 16); this.at = 0; }

  room(bytes) {
    if (this.at + bytes <= this.buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, this.at + bytes));
    this.buffer.copy(larger, 0, 0, this.at);
    this.buffer = larger;
  }

  head(length, fix, most, tags) {
    this.room(5);
    if (fix !== null && length <= most) this.buffer[this.at++] = fix | length;
    else if (tags[0] && length <= 0xff) { this.buffer[this.at++] = tags[0]; this.buffer[this.at++] = length; }
    else if (length <= 0xffff) { this.buffer[this.at++] = tags[1]; this.at = this.buffer.writeUInt16BE(length, this.at); }
    else { this.buffer[this.at++] = tags[2]; this.at = this.buffer.writeUInt32BE(length, this.at); }
  }

  text(text) {
    if (!isUnicode(text)) throw new TypeError('a text is not Unicode (a lone surrogate)');
    const length = Buffer.byteLength(text);
    this.head(length, 0xa0, 31, [0xd9, 0xda, 0xdb]);
    this.room(length);
    this.at += this.buffer.write(text, this.at);
  }

  bytes(bytes) {
    this.room(bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  extension(kind, bytes) {
    this.head(bytes.length, null, 0, [0xc7, 0xc8, 0xc9]);
    this.room(1);
    this.buffer[this.at++] = kind;
    this.bytes(bytes);
  }

  integer(value) {
    this.room(9);
    if (value >= 0 && value < 0x80) this.buffer[this.at++] = value;
    else if (value < 0 && value >= -32) this.buffer[this.at++] = value + 256;
    else if (value >= 0 && value <= 0xffffffff) { this.buffer[this.at++] = 0xce; this.at = this.buffer.writeUInt32BE(value, this.at); }
    else { this.buffer[this.at++] = 0xd3; this.at = this.buffer.writeBigInt64BE(BigInt(value), this.at); }
  }

  float(value) {
    this.room(9);
    this.buffer[this.at++] = 0xcb;
    this.at = this.buffer.writeDoubleBE(value, this.at);
  }

  big(value) {
    this.room(9);
    if (value >= MIN_INT && value < 2n ** 63n) { this.buffer[this.at++] = 0xd3; this.at = this.buffer.writeBigInt64BE(value, this.at); }
    else if (value >= 0n && value <= MAX_UINT) { this.buffer[this.at++] = 0xcf; this.at = this.buffer.writeBigUInt64BE(value, this.at); }
    else this.extension(1, bigBytes(value));
  }

  value(value, depth = 0) {
    if (depth > DEEPEST) throw new TypeError('a value is nested deeper than 64 lists and maps');
    switch (typeof value) {
      case 'string': return this.text(value);
      case 'number': return Number.isSafeInteger(value) ? this.integer(value) : this.float(value);
      case 'boolean': this.room(1); this.buffer[this.at++] = value ? 0xc3 : 0xc2; return undefined;
      case 'bigint': return this.big(value);
      case 'undefined': this.room(1); this.buffer[this.at++] = 0xc0; return undefined;
      case 'object': break;
      default: throw new TypeError(`a ${typeof value} is no value of a tuple`);
    }
    if (value === null) { this.room(1); this.buffer[this.at++] = 0xc0; return undefined; }
    if (Array.isArray(value)) {
      this.head(value.length, 0x90, 15, [0, 0xdc, 0xdd]);
      for (let index = 0; index < value.length; index += 1) this.value(value[index], depth + 1);
      return undefined;
    }
    if (value instanceof Uint8Array) { this.head(value.length, null, 0, [0xc4, 0xc5, 0xc6]); return this.bytes(value); }
    if (value instanceof Float) return this.float(value.value);
    if (value instanceof Timestamp) return this.time(value.micros);
    if (value instanceof Date) return this.time(BigInt(value.getTime()) * 1000n);
    const entries = value instanceof Map ? [...value] : Object.entries(value);
    this.head(entries.length, 0x80, 15, [0, 0xde, 0xdf]);
    for (const [key, item] of entries) {
      if (typeof key !== 'string') throw new TypeError('a key of a map is no text');
      this.text(key);
      this.value(item, depth + 1);
    }
    return undefined;
  }

  time(micros) {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64BE(micros);
    this.extension(2, bytes);
  }
}

function isUnicode(text) {
  if (text.isWellFormed) return text.isWellFormed();
  if (!/[\ud800-\udfff]/.test(text)) return true;
  for (const char of text) {
    const code = char.codePointAt(0);
    if (code >= 0xd800 && code <= 0xdfff) return false;
  }
  return true;
}

function bigBytes(value) {
  let length = 9;
  while (BigInt.asIntN(length * 8, value) !== value) length *= 2;
  const hex = BigInt.asUintN(length * 8, value).toString(16).padStart(length * 2, '0');
  return Buffer.from(hex, 'hex');
}

function bigOf(bytes) {
  return bytes.length === 0 ? 0n : BigInt.asIntN(bytes.length * 8, BigInt(`0x${Buffer.from(bytes).toString('hex')}`));
}

/** The bytes of a value. */
function encode(value) {
  const packer = new Packer();
  packer.value(value);
  return packer.buffer.subarray(0, packer.at);
}

class Unpacker {
  constructor(bytes) { this.bytes = bytes; this.at = 0; }

  take(length) {
    const from = this.at;
    this.at += length;
    return this.bytes.subarray(from, this.at);
  }

  length(size) {
    const value = this.bytes.readUIntBE(this.at, size);
    this.at += size;
    return value;
  }

  text(length) {
    const from = this.at;
    this.at += length;
    return this.bytes.toString('utf8', from, this.at);
  }

  list(length) {
    const list = new Array(length);
    for (let index = 0; index < length; index += 1) list[index] = this.value();
    return list;
  }

  map(length) {
    const map = {};
    for (let index = 0; index < length; index += 1) {
      const key = this.value();
      const item = this.value();
      if (key === '__proto__') Object.defineProperty(map, key, { value: item, enumerable: true, configurable: true, writable: true });
      else map[key] = item;
    }
    return map;
  }

  extension(length) {
    const kind = this.length(1);
    const bytes = this.take(length);
    if (kind === 1) return bigOf(bytes);
    if (kind === 2) return new Timestamp(bigOf(bytes));
    throw new TypeError(`extension ${kind} is not known`);
  }

  value() {
    const tag = this.bytes[this.at++];
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.map(tag & 0x0f);
    if (tag < 0xa0) return this.list(tag & 0x0f);
    if (tag < 0xc0) return this.text(tag & 0x1f);
    if (tag >= 0xe0) return tag - 256;
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return Uint8Array.from(this.take(this.length(1)));
      case 0xc5: return Uint8Array.from(this.take(this.length(2)));
      case 0xc6: return Uint8Array.from(this.take(this.length(4)));
      case 0xc7: return this.extension(this.length(1));
      case 0xc8: return this.extension(this.length(2));
      case 0xc9: return this.extension(this.length(4));
      case 0xcb: return this.take(8).readDoubleBE();
      case 0xcc: return this.length(1);
      case 0xcd: return this.length(2);
      case 0xce: return this.length(4);
      case 0xcf: return narrow(this.take(8).readBigUInt64BE());
      case 0xd0: return this.take(1).readInt8();
      case 0xd1: return this.take(2).readInt16BE();
      case 0xd2: return this.take(4).readInt32BE();
      case 0xd3: return narrow(this.take(8).readBigInt64BE());
      case 0xd9: return this.text(this.length(1));
      case 0xda: return this.text(this.length(2));
      case 0xdb: return this.text(this.length(4));
      case 0xdc: return this.list(this.length(2));
      case 0xdd: return this.list(this.length(4));
      case 0xde: return this.map(this.length(2));
      case 0xdf: return this.map(this.length(4));
      default: throw new TypeError(`tag ${tag} is not known`);
    }
  }
}

/** The value of bytes. */
function decode(bytes) {
  return new Unpacker(bytes).value();
}

// --- JSON ---

const DEEPEST = 70;
const TAGS = {
  $int(digits) { return digits[0] === '-' ? narrow(-BigInt(digits.slice(1))) : narrow(BigInt(digits)); },
  $float: Number,
  $bytes(text) { return Uint8Array.from(Buffer.from(text, 'base64')); },
  $time(micros) { return new Timestamp(micros); },
};

/** An integer as a number if that can hold it. */
function narrow(value) {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

/** The value of a JSON text, in which NaN, the infinities and integers of any size may be. */
function parse(text) {
  const plain = /\d{16}|NaN|Infinity/.test(text) ? withTags(text) : text;
  const value = JSON.parse(plain);
  return plain.includes('"$') ? untagged(value) : value;
}

/** The text with what `JSON.parse` cannot hold in the form that it can. */
function withTags(text) {
  const pieces = [];
  for (let at = 0; at < text.length;) {
    const quote = text.indexOf('"', at);
    const end = quote < 0 ? text.length : quote;
    pieces.push(text.slice(at, end).replace(/-?(?:NaN|Infinity|\d[\d.eE+-]*)/g, tagged));
    at = end;
    if (quote < 0) break;
    // Behind the text that begins here.
    do {
      at = text.indexOf('"', at + 1);
      if (at < 0) throw new SyntaxError('a text has no end');
    } while (isEscaped(text, at));
    at += 1;
    pieces.push(text.slice(end, at));
  }
  return pieces.join('');
}

function tagged(number) {
  if (/[NI]/.test(number)) return `{"$float":"${number}"}`;
  return number.length < 16 || /[.eE]/.test(number) ? number : `{"$int":"${number}"}`;
}

function isEscaped(text, at) {
  let from = at;
  while (text[from - 1] === '\\') from -= 1;
  return (at - from) % 2 === 1;
}

function untagged(value) {
  if (value === null || typeof value !== 'object') return value;
  const keys = Object.keys(value);
  if (keys.length === 1 && !Array.isArray(value)) {
    const [key] = keys;
    if (Object.hasOwn(TAGS, key)) return TAGS[key](untagged(value[key]));
    if (key === '$map') return within(value.$map);
  }
  return within(value);
}

/** The same list or map, with what is in it untagged. */
function within(value) {
  for (const key of Object.keys(value)) value[key] = untagged(value[key]);
  return value;
}

/** A value as JSON, from which `parse` makes the same value. */
function stringify(value, depth = 0) {
  if (depth > DEEPEST) throw new TypeError('a value is nested deeper than 64 lists and maps');
  switch (typeof value) {
    case 'string':
      if (!isUnicode(value)) throw new TypeError('a text is not Unicode (a lone surrogate)');
      return JSON.stringify(value);
    case 'number': return Number.isSafeInteger(value) ? String(value) : floating(value);
    case 'boolean': return String(value);
    case 'bigint': return value >= MIN_INT && value < 2n ** 63n ? String(value) : `{"$int":"${hex(value)}"}`;
    case 'undefined': return 'null';
    case 'object': break;
    default: throw new TypeError(`a ${typeof value} is no value of a tuple`);
  }
  if (value === null) return 'null';
  if (Array.isArray(value)) return `[${value.map((item) => stringify(item, depth + 1)).join(',')}]`;
  if (value instanceof Uint8Array) return `{"$bytes":"${Buffer.from(value).toString('base64')}"}`;
  if (value instanceof Float) return floating(value.value);
  if (value instanceof Timestamp) return `{"$time":${value.micros}}`;
  if (value instanceof Date) return `{"$time":${BigInt(value.getTime()) * 1000n}}`;
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  const parts = entries.map(([key, item]) => {
    if (typeof key !== 'string') throw new TypeError('a key of a map is no text');
    return `${stringify(key)}:${stringify(item, depth + 1)}`;
  });
  const isLikeATag = entries.some(([key]) => key === '$map' || entries.length === 1 && key[0] === '$');
  return isLikeATag ? `{"$map":{${parts.join(',')}}}` : `{${parts.join(',')}}`;
}

function floating(value) {
  if (!Number.isFinite(value)) return `{"$float":"${value}"}`;
  const digits = String(value);
  return /[.e]/.test(digits) ? digits : `${digits}.0`;
}

function hex(value) {
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

// --- the two descriptors ---

function write(payload) {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(payload.length);
  let rest = Buffer.concat([head, payload]);
  while (rest.length > 0) rest = rest.subarray(fs.writeSync(4, rest));
}

/** How messages are written and read: `Json` is that of the handshake. */
const ENCODINGS = {
  Json: { write: (message) => Buffer.from(stringify(message)), read: (payload) => parse(payload.toString()) },
  MessagePack: { write: encode, read: decode },
};
let encoding = ENCODINGS.Json;

function send(message) {
  write(encoding.write(message));
}

function error(problem) {
  const text = problem instanceof Error ? `${problem.name}: ${problem.message}` : String(problem);
  // As far as the script is in it.
  const lines = problem instanceof Error && problem.stack ? problem.stack.split('\n') : [];
  const own = lines.filter((line) => !line.includes(`(${__filename}:`) && !line.includes('(node:'));
  send(['error', unicode(text), unicode(own.join('\n'))]);
}

function log(text, level = 'Info') {
  send(['log', level, unicode(String(text))]);
}

/** A text of which nothing is refused: lone surrogates are replaced. */
function unicode(text) {
  return isUnicode(text) ? text : Buffer.from(text).toString();
}

// --- emits ---

class Emit {
  constructor(stream, values, options) { this.stream = stream; this.values = values; this.options = options; }
}

/** A tuple for the named stream, to be yielded; the options are `task` and `anchors` (ids of held tuples). */
function emit(stream, values, options = {}) {
  return new Emit(stream, values, options);
}

class Out {
  constructor(context) { this.context = context; this.clear(); }

  clear() { this.runs = new Map(); this.failed = []; this.held = []; }

  add(anchor, values) {
    let output = 0;
    let task = null;
    let row = values;
    let anchors = anchor;
    if (values instanceof Emit) {
      output = this.context.output(values.stream);
      row = values.values;
      if (values.options.task !== undefined) task = values.options.task;
      if (values.options.anchors) anchors = anchor === null ? values.options.anchors : [...values.options.anchors, anchor];
    }
    const declared = this.context.outputs[output];
    if (!declared) throw new Error(`component '${this.context.component}' emits, and declares no stream`);
    if (!Array.isArray(row)) {
      const isFields = row !== null && typeof row === 'object' && Object.getPrototypeOf(row) === Object.prototype;
      row = isFields ? declared.fields.map((field) => row[field]) : [row];
    }
    if (row.length !== declared.fields.length) {
      throw new Error(`a tuple with ${row.length} values was emitted to stream '${declared.stream}', which has ${declared.fields.length} fields`);
    }
    let run = this.runs.get(output);
    if (!run) {
      run = [[], [], []];
      this.runs.set(output, run);
    }
    run[0].push(anchors);
    run[1].push(row);
    if (task !== null) run[2].push(task);
  }

  take() {
    const emits = [];
    for (const [output, [anchors, rows, tasks]] of this.runs) {
      emits.push(tasks.length > 0 ? [output, anchors, rows, tasks] : [output, anchors, rows]);
    }
    return emits;
  }

  /** Sends an answer; rows that cannot be written fail their tuples. */
  answer(head, tail) {
    let emits = this.take();
    let payload;
    try {
      payload = encoding.write([...head, emits, ...tail(this)]);
    } catch {
      emits = emits.map(([output, ...parts]) => {
        const right = parts[1].map((row, index) => {
          try {
            encoding.write(row);
            return true;
          } catch (problem) {
            error(problem);
            if (this.context.role === 'Bolt' && parts[0][index] !== null) this.failed.push(...[parts[0][index]].flat());
            return false;
          }
        });
        return [output, ...parts.map((part) => part.filter((_, index) => right[index]))];
      });
      payload = encoding.write([...head, emits, ...tail(this)]);
    }
    write(payload);
    this.clear();
  }
}

function contextOf(hello) {
  return {
    ...hello,
    output(name = 'default') {
      const found = this.outputs.findIndex((output) => output.stream === name);
      if (found < 0) {
        const declared = this.outputs.map((output) => output.stream).join(', ') || 'none';
        throw new Error(`component '${this.component}' emits to stream '${name}'; it declares ${declared}`);
      }
      return found;
    },
  };
}

/** A class with the fields of a stream as properties. */
function tupleClass(input) {
  const values = Symbol('values');
  class Tuple {
    constructor(row) { this[values] = row; }
    get(name) { return this[values][input.fields.indexOf(name)]; }
  }
  Tuple.prototype.component = input.component;
  Tuple.prototype.stream = input.stream;
  input.fields.forEach((field, index) => {
    Object.defineProperty(Tuple.prototype, field, { get() { return this[values][index]; }, enumerable: true });
  });
  return Tuple;
}

function isAsync(result) {
  return result !== null && typeof result === 'object'
    && (typeof result.then === 'function' || typeof result[Symbol.asyncIterator] === 'function');
}

function* each(result) {
  if (result === undefined || result === null) return;
  if (Array.isArray(result)) {
    // One tuple, or a list of them.
    if (result.length > 0 && result.every((item) => Array.isArray(item) || item instanceof Emit)) yield* result;
    else yield result;
  } else if (typeof result === 'object' && typeof result[Symbol.iterator] === 'function') yield* result;
  else yield result;
}

// --- bolts ---

class Bolt {
  constructor(script, context, out) {
    if (typeof script.process !== 'function') throw new Error('a script that is a bolt has a function process(tup)');
    this.script = script;
    this.context = context;
    this.out = out;
    this.classes = context.inputs.map(tupleClass);
    this.current = null;
    this.finishing = null;
    this.held = new Set();
    this.isBusy = false;
    this.ended = [];
  }

  /** Acks or fails a held tuple: with the answer of its batch, or behind the next answer and what is emitted in it. */
  end(what, id) {
    this.held.delete(id);
    const now = this.out.held.indexOf(id);
    if (now >= 0) {
      this.out.held.splice(now, 1);
      if (what === 'fail') this.out.failed.push(id);
      return;
    }
    this.ended.push([what, [id]]);
    if (!this.isBusy) this.tellEnded();
  }

  tellEnded() {
    this.ended.forEach((message) => send(message));
    this.ended = [];
  }

  hear(message) {
    this.isBusy = true;
    try {
      return this.work(message);
    } finally {
      this.isBusy = false;
      this.tellEnded();
    }
  }

  batch([, first, input, , rows]) {
    const { script, out } = this;
    const Tuple = this.classes[input];
    for (let index = 0; index < rows.length; index += 1) {
      const id = first + index;
      this.current = id;
      try {
        const result = script.process(new Tuple(rows[index]));
        if (isAsync(result)) {
          out.held.push(id);
          this.held.add(id);
          this.later(id, result);
        } else {
          for (const values of each(result)) out.add(id, values);
        }
      } catch (problem) {
        out.failed.push(id);
        error(problem);
      }
    }
    this.current = null;
    out.answer(['done', first], ({ failed, held }) => [failed, held]);
  }

  async later(id, result) {
    const own = new Out(this.context);
    try {
      if (typeof result.then === 'function') {
        for (const values of each(await result)) own.add(id, values);
      } else {
        for await (const values of result) own.add(id, values);
      }
      // The tuple is held once its batch is answered.
      await null;
      if (!this.held.delete(id)) return;
      own.answer(['emit'], () => []);
      send(['ack', [id]]);
    } catch (problem) {
      error(problem);
      if (this.held.delete(id)) send(['fail', [id]]);
    }
  }

  run(name) {
    const method = this.script[name];
    if (typeof method !== 'function') return;
    try {
      for (const values of each(method())) this.out.add(null, values);
    } catch (problem) {
      error(problem);
    }
  }

  finish() {
    if (this.finishing === null) {
      const method = this.script.finish;
      this.finishing = typeof method === 'function' ? each(method()) : [][Symbol.iterator]();
    }
    for (let count = 0; count < 512; count += 1) {
      const next = this.finishing.next();
      if (next.done) return false;
      this.out.add(null, next.value);
    }
    return true;
  }

  work(message) {
    switch (message[0]) {
      case 'batch': return this.batch(message);
      case 'tick':
        this.run('tick');
        return this.out.answer(['ticked'], () => []);
      case 'pause':
        this.run('pause');
        return this.out.answer(['paused'], () => []);
      case 'finish': {
        const more = this.finish();
        return this.out.answer(['finished'], () => [more]);
      }
      case 'forget':
        this.held.clear();
        if (typeof this.script.forget === 'function') this.script.forget();
        return undefined;
      case 'snapshot':
        return send(['state', [...this.script.state].map(([key, value]) => [Array.isArray(key) ? key : [key], value])]);
      case 'restore':
        for (const [key, value] of message[1]) this.script.state.set(key.length === 1 ? key[0] : key, value);
        return undefined;
      case 'ping': return send(['pong', message[1]]);
      default: return undefined;
    }
  }
}

// --- spouts ---

class Spout {
  constructor(script, context, out) {
    if (typeof script.spout !== 'function') throw new Error('a script that is a spout has a function spout()');
    this.script = script;
    this.out = out;
    this.hasPosition = script.spout.length > 0;
    this.base = 0;
    this.next = 0;
    this.pending = new Map();
    this.again = [];
    this.done = new Set();
    this.ended = false;
    this.generator = null;
  }

  poll(room) {
    if (this.generator === null) this.generator = this.script.spout(this.base)[Symbol.iterator]();
    let count = 0;
    while (count < room && this.again.length > 0) {
      const id = this.again.shift();
      if (this.pending.has(id)) {
        this.out.add(id, this.pending.get(id));
        count += 1;
      }
    }
    while (count < Math.min(room, 512) && !this.ended) {
      const next = this.generator.next();
      if (next.done) {
        this.ended = true;
        break;
      }
      if (next.value === undefined || next.value === null) return 10;
      this.pending.set(this.next, next.value);
      this.out.add(this.next, next.value);
      this.next += 1;
      count += 1;
    }
    return this.ended && this.again.length === 0 ? -1 : null;
  }

  hear(message) {
    switch (message[0]) {
      case 'poll': {
        const idle = this.poll(message[1]);
        return this.out.answer(['polled'], () => [idle, this.hasPosition ? this.base : null]);
      }
      case 'settle':
        for (const id of message[1]) if (this.pending.delete(id)) this.done.add(id);
        while (this.done.delete(this.base)) this.base += 1;
        this.again.push(...(message[2] || []).filter((id) => this.pending.has(id)));
        return undefined;
      case 'resume':
        if (this.hasPosition) {
          this.base = message[1];
          this.next = message[1];
        }
        return undefined;
      case 'pause': return send(['paused']);
      case 'ping': return send(['pong', message[1]]);
      default: return undefined;
    }
  }
}

// --- the script ---

async function load(context, given) {
  const file = path.resolve(context.script);
  if (file.endsWith('.mjs')) {
    Object.assign(globalThis, { context, ...given });
    return { ...await import(url.pathToFileURL(file).href), state: given.state };
  }
  const names = Object.keys(given);
  const wanted = ['process', 'spout', 'tick', 'finish', 'pause', 'forget', 'make'];
  const collect = wanted.map((name) => `${name}: typeof ${name} === 'function' ? ${name} : undefined`).join(', ');
  const code = `${fs.readFileSync(file, 'utf8')}\n;return { ${collect} };`;
  const body = new (require('node:vm').Script)(
    `(function (require, module, exports, context, ${names.join(', ')}) {\n${code}\n})`,
    { filename: file, lineOffset: -1 },
  ).runInThisContext();
  const module = { exports: {} };
  const found = body(createRequire(file), module, module.exports, context, ...names.map((name) => given[name]));
  const script = { ...found, ...module.exports, state: given.state };
  return typeof script.make === 'function' ? { state: given.state, ...await script.make(context) } : script;
}

async function start(hello) {
  if (hello.waterspout !== VERSION) throw new Error(`this is version ${VERSION} of the script protocol, and the worker has ${hello.waterspout}`);
  const context = contextOf(hello);
  const out = new Out(context);
  let bolt = null;
  const given = {
    state: new Map(),
    emit,
    log,
    Timestamp,
    Float,
    alive() { send(['alive']); },
    hold() { out.held.push(bolt.current); bolt.held.add(bolt.current); return bolt.current; },
    ack(id) { bolt.end('ack', id); },
    fail(id) {
      if (id === undefined) out.failed.push(bolt.current);
      else bolt.end('fail', id);
    },
  };
  const script = await load(context, given);
  const component = context.role === 'Spout' ? new Spout(script, context, out) : new Bolt(script, context, out);
  bolt = component;
  const chosen = nodeProcess.env.WATERSPOUT_ENCODING === 'Json' ? 'Json' : 'MessagePack';
  send({ waterspout: VERSION, encoding: chosen });
  encoding = ENCODINGS[chosen];
  return component;
}

function serve() {
  // What a script prints is log lines on standard output already.
  let waiting = Buffer.alloc(0);
  let component = null;
  let starting = false;
  const socket = new net.Socket({ fd: 3, readable: true, writable: false });
  const drain = () => {
    while (!starting && waiting.length >= 4) {
      const length = waiting.readUInt32LE(0);
      if (waiting.length < 4 + length) return;
      const payload = waiting.subarray(4, 4 + length);
      waiting = waiting.subarray(4 + length);
      if (component !== null) component.hear(encoding.read(payload));
      else {
        starting = true;
        start(JSON.parse(payload.toString())).then((made) => {
          component = made;
          starting = false;
          drain();
        }).catch(die);
      }
    }
  };
  socket.on('data', (piece) => {
    waiting = waiting.length === 0 ? piece : Buffer.concat([waiting, piece]);
    try {
      drain();
    } catch (problem) {
      die(problem);
    }
  });
  socket.on('end', () => nodeProcess.exit(0));
  socket.on('error', () => nodeProcess.exit(0));
}

function die(problem) {
  try {
    error(problem);
  } finally {
    nodeProcess.exit(1);
  }
}

if (require.main === module) serve();

module.exports = { encode, decode, parse, stringify, Timestamp, Float };
