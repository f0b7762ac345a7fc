// The page of `mtl demo`. Names come from runs and data sets of anybody, so they are set as text.
import { decode, describe, pixel } from "/read_out.js";

const get = (id) => document.getElementById(id);
const state = { about: null, photo: null, maps: [], cursor: null, film: null, asked: 0 };

/** An element with text and attributes. */
function make(tag, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function say(text) { get("status").textContent = text; }

function fail(text) {
  say("");
  get("error").textContent = text;
}

/** JSON of the server; its words as an Error where it refuses. */
async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is `mtl demo` still running?");
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

function post(path, body) {
  return ask(path, { method: "POST", body, headers: { "X-Mtl-Demo": "1" } });
}

function address(...parts) { return "/" + parts.map(encodeURIComponent).join("/"); }

const megabytes = (bytes) => `${Math.round(bytes / 2 ** 20)} MB`;

async function start() {
  const about = state.about = await ask("/api/about");
  get("about").textContent = about.models.map(
    (model) => `${model.name} (${model.tasks.join(", ")}; step ${model.step})`).join(" beside ");
  get("limits").textContent = `Pictures: JPEG, PNG, WebP up to ${megabytes(about.photo_bytes)}; ` +
    (about.video ? `videos up to ${megabytes(about.video_bytes)} and ${about.frames} frames` +
      (about.models.length > 1 ? `, by ${about.models[0].name}.` : ".")
      : "videos need PyAV: pip install 'mtl-jax[video]'.");
  for (const name of about.examples) {
    const words = name.replace(/\.jpg$/, "").replaceAll("_", " ");
    const button = make("button", { type: "button" },
      make("img", { src: address("examples", name), alt: `Example: ${words}`, height: 72 }));
    button.addEventListener("click", () => example(name));
    get("examples").append(make("li", {}, button));
  }
}

async function example(name) {
  let picture;
  try {
    picture = await (await fetch(address("examples", name))).blob();
  } catch {
    return fail("The server does not answer. Is `mtl demo` still running?");
  }
  await take(picture);
}

/** A file of the user's: a photograph or a video. */
async function take(file) {
  get("error").textContent = "";
  const turn = ++state.asked;
  try {
    if (file.type.startsWith("video/")) await takeVideo(file);
    else await takePhotograph(file, turn);
  } catch (error) {
    if (turn === state.asked) fail(error.message);
  }
}

async function takePhotograph(file, turn) {
  if (file.size > state.about.photo_bytes) {
    throw new Error(`This picture has ${megabytes(file.size)}; at most ` +
      `${megabytes(state.about.photo_bytes)} are read.`);
  }
  say("Predicting … the first picture of a size takes some seconds longer.");
  const photo = await post("/api/photo", file);
  const maps = await Promise.all(photo.results.flatMap((result) =>
    Object.entries(result.tasks).map(async ([task, facts]) => {
      const answer = await fetch(address("api", "photo", photo.id, result.model, task, "values.bin"));
      return { model: result.model, task, facts, values: decode(facts, await answer.arrayBuffer()) };
    })));
  if (turn !== state.asked) return; // another one was dropped meanwhile
  Object.assign(state, { photo, maps, cursor: null });
  const [width, height] = photo.original;
  const shrunk = width !== photo.width
    ? `, shrunk from ${width} × ${height} for this page` : "";
  const seconds = photo.results.map((result) => `${result.seconds.toFixed(1)} s`).join(" and ");
  say(`${photo.width} × ${photo.height} pixels${shrunk}; predicted in ${seconds}.`);
  showResults();
  get("results").focus({ preventScroll: true });
  get("results").scrollIntoView({ block: "start" });
}

// Results.

function showResults() {
  const { photo, maps } = state;
  const models = photo.results.map((result) => result.model);
  const tasks = [...new Set(maps.map((map) => map.task))];
  const views = get("views");
  views.replaceChildren();
  views.className = models.length > 1 ? "" : "alone";
  for (const task of tasks) {
    const title = make("h3", { text: task });
    const runs = make("div", { class: models.length > 1 ? "runs two" : "runs" });
    for (const model of models) {
      const map = maps.find((m) => m.model === model && m.task === task);
      runs.append(map ? figure(map, models.length > 1)
        : make("p", { text: `${model} has no ${task}.` }));
    }
    views.append(make("section", { class: "task" }, title, runs));
  }
  get("read-out-head").replaceChildren(make("th", { scope: "col", text: "task" }),
    ...models.map((model) => make("th", { scope: "col", text: model })));
  get("read-out-body").replaceChildren(...tasks.map((task) => make("tr", {},
    make("th", { scope: "row", text: task }),
    ...models.map((model) => make("td", { "data-model": model, "data-task": task, text: "–" })))));
  get("results").hidden = false;
  setOpacity();
}

function figure(map, named) {
  const { photo } = state;
  const base = ["api", "photo", photo.id];
  const view = make("div", {
    class: "view", tabindex: 0, role: "application",
    "aria-label": `${map.task} of ${map.model}, over the photograph. Arrow keys move the cursor.`,
  },
  make("img", { class: "base", src: address(...base, "image.png"), alt: "",
    width: photo.width, height: photo.height, draggable: false }),
  make("img", { class: "over", src: address(...base, map.model, map.task, "picture.png"), alt: "",
    width: photo.width, height: photo.height, draggable: false }),
  make("div", { class: "cross", hidden: "" }));
  view.addEventListener("pointermove", (event) => point(view, event));
  view.addEventListener("pointerdown", (event) => point(view, event));
  view.addEventListener("keydown", (event) => step(event));
  const caption = make("figcaption", { text: named ? map.model : summary(map.facts) });
  const downloads = make("div", { class: "downloads" },
    download(address(...base, map.model, map.task, "file"), "map", `Map of ${map.task}`),
    download(address(...base, map.model, map.task, "picture.png"), "colours",
      `Map of ${map.task} in colours`, `${map.model}_${map.task}.png`),
    download(address(...base, map.model, "figure.png"), "figure of all tasks", "Figure"));
  const explained = map.facts.bar ? colourBar(map.facts.bar) : legend(map.facts.legend);
  return make("figure", {}, caption, view, explained, downloads);
}

function summary(facts) {
  if (facts.kind === "objects") return `${facts.count} objects`;
  if (facts.kind === "classes") return `${facts.legend.length} of ${facts.names.length} classes`;
  return facts.unit ? `in ${facts.unit}` : "";
}

function download(href, text, label, name = "") {
  return make("a", { class: "button", href, download: name, "aria-label": `Download: ${label}`,
    text: `↓ ${text}` });
}

function legend(entries) {
  return make("ul", { class: "legend" }, ...entries.map((entry) => {
    const swatch = make("span", { class: entry.colour ? "swatch" : "swatch striped" });
    if (entry.colour) swatch.style.background = `rgb(${entry.colour.join(" ")})`;
    const share = entry.share === null ? "" : ` ${(100 * entry.share).toFixed(entry.share < 0.01 ? 1 : 0)} %`;
    return make("li", {}, swatch, make("span", { text: entry.name + share }));
  }));
}

function colourBar(bar) {
  const canvas = make("canvas", { width: bar.colours.length, height: 1 });
  const context = canvas.getContext("2d");
  bar.colours.forEach((colour, i) => {
    context.fillStyle = `rgb(${colour.join(" ")})`;
    context.fillRect(i, 0, 1, 1);
  });
  const shown = [];
  const ends = bar.ticks.map((tick) => tick.value);
  const words = `Colour bar from ${Math.min(...ends)} to ${Math.max(...ends)} ${bar.unit}`;
  const box = make("div", { class: "bar", role: "img", "aria-label": words.trim() }, canvas);
  for (const tick of bar.ticks) {
    if (shown.some((at) => Math.abs(at - tick.at) < 0.09)) continue;
    shown.push(tick.at);
    const label = make("span", { text: `${tick.value}${shown.length === 1 ? ` ${bar.unit}` : ""}` });
    label.style.left = `${100 * tick.at}%`;
    box.append(label);
  }
  return box;
}

// The cursor: one for all pictures.

function point(view, event) {
  const box = view.getBoundingClientRect();
  moveTo(pixel((event.clientX - box.left) / box.width, state.photo.width),
    pixel((event.clientY - box.top) / box.height, state.photo.height));
}

function step(event) {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
    event.key] ?? [0, 0];
  if (!dx && !dy) return;
  event.preventDefault();
  const far = event.shiftKey ? 10 : 1;
  const { width, height } = state.photo;
  const [x, y] = state.cursor ?? [width >> 1, height >> 1];
  moveTo(Math.min(width - 1, Math.max(0, x + far * dx)),
    Math.min(height - 1, Math.max(0, y + far * dy)));
  get("spoken").textContent = [`column ${state.cursor[0]}, row ${state.cursor[1]}`,
    ...state.maps.map((map) => `${named(map)}: ${read(map)}`)].join("; ");
}

/** The task of a map, and its run where there are two. */
function named(map) {
  return state.photo.results.length > 1 ? `${map.task} of ${map.model}` : map.task;
}

function moveTo(x, y) {
  state.cursor = [x, y];
  const { width, height } = state.photo;
  for (const cross of document.querySelectorAll(".cross")) {
    cross.hidden = false;
    cross.style.left = `${(100 * (x + 0.5)) / width}%`;
    cross.style.top = `${(100 * (y + 0.5)) / height}%`;
  }
  get("place").textContent = `column ${x}, row ${y}`;
  for (const cell of document.querySelectorAll("#read-out-body td")) {
    const map = state.maps.find(
      (m) => m.model === cell.dataset.model && m.task === cell.dataset.task);
    cell.textContent = map ? read(map) : "–";
  }
}

function read(map) {
  return describe(map.facts, map.values, state.photo.width, ...state.cursor);
}

function setOpacity() {
  const share = Number(get("opacity").value);
  get("opacity-value").textContent = `${share} %`;
  for (const image of document.querySelectorAll(".over")) image.style.opacity = share / 100;
  // Without a map above it, the photograph has its own colours.
  for (const image of document.querySelectorAll(".base")) {
    image.style.filter = share < 5 ? "none" : "";
  }
}

// Videos.

async function takeVideo(file) {
  const { about } = state;
  if (!about.video) throw new Error("Videos need PyAV: pip install 'mtl-jax[video]'.");
  if (file.size > about.video_bytes) {
    throw new Error(`This video has ${megabytes(file.size)}; at most ` +
      `${megabytes(about.video_bytes)} are read.`);
  }
  get("film").hidden = false;
  get("film").scrollIntoView({ block: "nearest" });
  get("film-result").replaceChildren();
  get("progress").removeAttribute("value");
  get("progress-label").textContent = "Sending the video …";
  try {
    state.film = (await post(address("api", "video", "of", about.models[0].name), file)).id;
    get("cancel").hidden = false;
    await follow(state.film);
  } catch (error) {
    get("film").hidden = true;
    throw error;
  }
}

async function follow(id) {
  for (;;) {
    const film = await ask(address("api", "video", id));
    if (film.state === "failed") throw new Error(film.error);
    if (film.state === "cancelled") {
      get("film").hidden = true;
      return say("Cancelled.");
    }
    get("progress-label").textContent =
      `Frame ${film.done}${film.total ? ` of ${film.total}` : ""}`;
    if (film.total) get("progress").value = film.done / film.total;
    if (film.state === "done") break;
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
  get("progress").value = 1;
  get("cancel").hidden = true;
  const source = address("api", "video", id, "result.mp4");
  get("film-result").replaceChildren(
    make("video", { controls: "", src: source, "aria-label": "The video with every prediction" }),
    download(source, "video", "the video with every prediction", "predicted.mp4"));
  say("The video is done.");
}

// What the user does.

get("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = ""; // the same file may be chosen again
  if (file) take(file);
});
get("opacity").addEventListener("input", setOpacity);
get("cancel").addEventListener("click", () => {
  post(address("api", "video", state.film, "cancel")).catch((error) => fail(error.message));
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    get("drop").classList.toggle("over", name === "dragover");
    const [file] = name === "drop" ? event.dataTransfer.files : [];
    if (file) take(file);
  });
}
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) take(file);
});
start().catch((error) => fail(error.message));
