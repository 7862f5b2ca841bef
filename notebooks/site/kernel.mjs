// What JupyterLite's kernel loads as Pyodide: a Python that starts from the memory that remember.mjs wrote, so that nothing is
// compiled, imported or installed here. The files of the packages are put where Python had them. It starts as soon as this
// module is there; loadPyodide only waits for it.

import { loadPyodide as plain } from "./plain.mjs";
import create from "./pyodide.asm.mjs";

async function fetched() {
  const { body, ok, status } = await fetch(new URL("memory.gz", import.meta.url));
  if (!ok) throw new Error(`memory.gz of this site cannot be had (${status}); load the page again`);
  const all = new Uint8Array(await new Response(body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
  const end = all.length - 4;
  const list = all.subarray(end - new DataView(all.buffer).getUint32(end, true), end);
  let at = 0;
  const parts = JSON.parse(new TextDecoder().decode(list)).map(([path, length]) => [path, all.subarray(at, (at += length))]);
  return { memory: parts[0][1], files: parts.slice(1) };
}

// FS.writeFile does the same, a hundred times slower.
function place({ FS }, files) {
  const folders = new Map();
  for (const [path, content] of files) {
    const cut = path.lastIndexOf("/"), folder = path.slice(0, cut);
    if (!folders.has(folder)) {
      FS.mkdirTree(folder);
      folders.set(folder, FS.lookupPath(folder).node);
    }
    const node = FS.filesystems.MEMFS.createNode(folders.get(folder), path.slice(cut + 1), 0o100644, 0);
    [node.contents, node.usedBytes] = [content, content.length];
  }
}

async function started() {
  const { memory, files } = await fetched();
  let made;
  const python = await plain({
    indexURL: new URL(".", import.meta.url).href,
    _loadSnapshot: memory,
    createPyodideModule: async (settings) => {
      made = await create(settings);
      made.growMemory(memory.length);
      return made;
    },
    _snapshotDeserializer: (name) => name.split(".").reduce((holder, each) => (each ? holder[each] : holder), made.API.public_api),
  });
  place(python, files);
  python.runPython("import random; random.seed()"); // else every session draws the numbers of the build
  return python;
}

const ready = started();

export async function loadPyodide({ stdout, stderr }) {
  const python = await ready;
  python.setStdout({ batched: stdout });
  python.setStderr({ batched: stderr });
  return python;
}
