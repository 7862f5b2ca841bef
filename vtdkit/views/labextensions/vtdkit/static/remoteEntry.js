// A small extension of JupyterLab, as it stands: no build step. What it does cannot be done from Python, which is gone when it matters.
//
// 1. A widget whose model is gone (kernel restarted, page loaded anew) is "Error displaying widget: model not found", although the same output
//    holds its still: here the still is shown. The widget comes back as soon as there is a model.
// 2. JupyterLab writes the version of the kernel's Python into each notebook that is opened, and so saves it anew. Here a notebook that says
//    that it is in this language already is left as it is.

const VIEW = "application/vnd.jupyter.widget-view+json";
const LATER = "Controls. Run the cell, and they move."; // of widgets that leave no still

function withStill(renderer, rendermime) {
  const plain = renderer.renderModel.bind(renderer);
  let still = null;
  renderer.renderModel = async (model) => {
    still?.dispose();
    still = null;
    await plain(model);
    if (renderer.isDisposed || renderer.node.firstElementChild || !renderer.node.textContent) return;
    if (!("text/html" in model.data)) {
      renderer.node.textContent = LATER;
      return;
    }
    const made = rendermime.createRenderer("text/html");
    await made.renderModel(model);
    if (renderer.isDisposed || renderer.node.firstElementChild) return; // the widget came meanwhile
    renderer.node.textContent = "";
    renderer.addWidget((still = made));
  };
  return renderer;
}

function keptLanguage(model) {
  const set = model.setMetadata.bind(model);
  model.setMetadata = (key, value) => {
    if (key !== "language_info" || model.getMetadata(key)?.name !== value?.name) set(key, value);
  };
}

function opened(panel) {
  const { rendermime } = panel.content, create = rendermime.createRenderer.bind(rendermime);
  rendermime.createRenderer = (type) => (type === VIEW ? withStill(create(type), rendermime) : create(type));
  if (panel.content.model) keptLanguage(panel.content.model);
  else panel.content.modelChanged.connect(() => keptLanguage(panel.content.model));
}

const plugin = (tracker) => ({
  id: "vtdkit:stills",
  autoStart: true,
  requires: [tracker],
  activate: (app, notebooks) => {
    notebooks.forEach(opened);
    notebooks.widgetAdded.connect((_, panel) => opened(panel));
  },
});

let shared = {};

// The module named `name` as JupyterLab itself has it: its tokens are objects, and only the very same ones count.
async function theirs(name) {
  const [version] = Object.values(shared[name]);
  return (await version.get())();
}

(window._JUPYTERLAB ??= {}).vtdkit = {
  init: (scope) => void (shared = scope),
  get: async () => {
    const { INotebookTracker } = await theirs("@jupyterlab/notebook");
    return () => ({ __esModule: true, default: plugin(INotebookTracker) });
  },
};
