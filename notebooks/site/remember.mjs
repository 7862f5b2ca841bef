// What Python's memory is once all that the lessons import is imported: node remember.mjs PYODIDE PACKAGES OUT
//
// Starts the Python that the browser will run, with every file below PACKAGES in its site-packages, runs prepare.py, and
// writes OUT, gzipped: the memory, the files, a list of them with their lengths in JSON, and that list's length in four
// bytes. kernel.mjs starts from it. Not kept are things of JavaScript that Python holds: they are written as the names
// under which pyodide has them, and one that has no name ends the build.

import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { resolve } from "node:path";

const [pyodide, packages, out] = process.argv.slice(2).map((each) => resolve(each));
const { loadPyodide } = await import(pathToFileURL(`${pyodide}/pyodide.mjs`));
const python = await loadPyodide({ indexURL: pyodide, _makeSnapshot: true });

const files = [];
function put(from, to) {
  python.FS.mkdirTree(to);
  for (const name of readdirSync(from).sort()) {
    const [source, target] = [`${from}/${name}`, `${to}/${name}`];
    if (statSync(source).isDirectory()) put(source, target);
    else {
      files.push([target, readFileSync(source)]);
      python.FS.writeFile(...files.at(-1));
    }
  }
}
put(packages, python._api.sitepackages);
python.runPython(readFileSync(new URL("prepare.py", import.meta.url), "utf8"));

const names = new Map();
for (const [prefix, holder] of [["_api.", python._api], ["", python]]) {
  for (const name of Object.getOwnPropertyNames(holder)) {
    let value;
    try { value = holder[name]; } catch { continue; } // not to be had outside a browser
    if (value instanceof Object) names.set(value, prefix + name);
  }
}
const memory = python.makeMemorySnapshot({
  serializer: (thing) => {
    const name = thing === python ? "" : names.get(thing);
    if (name === undefined) throw new Error(`Python's memory holds something of JavaScript that has no name: ${String(thing).slice(0, 200)}`);
    return name;
  },
});

const list = Buffer.from(JSON.stringify([["", memory.length], ...files.map(([path, content]) => [path, content.length])]));
const length = Buffer.alloc(4);
length.writeUInt32LE(list.length);
writeFileSync(out, gzipSync(Buffer.concat([memory, ...files.map(([, content]) => content), list, length])));
