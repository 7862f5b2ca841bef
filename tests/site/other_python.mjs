// Run tests/site/printed.py in the Python of the built site, without a browser: node other_python.mjs PYODIDE PROJECT

import { pathToFileURL } from "node:url";

const [pyodide, project] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${pyodide}/plain.mjs`));
const python = await loadPyodide({ indexURL: pyodide });
python.FS.mkdirTree("/project");
python.FS.mount(python.FS.filesystems.NODEFS, { root: project }, "/project");
python.setStdout({ write: (bytes) => (process.stdout.write(Buffer.from(bytes)), bytes.length) });
try {
  python.runPython("import sys\nsys.dont_write_bytecode = True\nsys.path.insert(0, '/project')\nfrom tests.site.printed import main\nmain()");
} catch (error) {
  process.stderr.write(error.message);
  process.exitCode = 1;
}
