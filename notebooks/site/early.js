// Python starts while JupyterLab itself still loads: the kernel's worker is made now, and given to the first kernel that asks.
{
  const Plain = Worker, here = document.currentScript.src;
  const made = () => new Plain(new URL("worker.mjs", here), { type: "module" });
  let early = made();
  window.Worker = function (url, options) {
    if (!String(url).includes("comlink.worker")) return new Plain(url, options);
    const given = early ?? made();
    early = null;
    return given;
  };
  window.Worker.prototype = Plain.prototype;
}
