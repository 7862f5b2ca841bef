// Byte code for the site: node compile.mjs PYODIDE FOLDER
//
// Runs the Python that the browser will run over every package unpacked below FOLDER, and writes beside each .py the .pyc
// that it would make itself. "Unchecked": the browser need not look whether the source is newer. A traceback names the
// file where the browser has it.

import { pathToFileURL } from "node:url";
import { resolve } from "node:path";

const [pyodide, folder] = process.argv.slice(2).map((each) => resolve(each));
const { loadPyodide } = await import(pathToFileURL(`${pyodide}/pyodide.mjs`));
const python = await loadPyodide({ indexURL: pyodide });
python.FS.mkdirTree("/work");
python.FS.mount(python.FS.filesystems.NODEFS, { root: folder }, "/work");
python.runPython(`
import compileall, pathlib, py_compile, sys
site = f"/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
for package in sorted(pathlib.Path("/work").iterdir()):
    compileall.compile_dir(package, quiet=2, stripdir=str(package), prependdir=site,
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
`);
