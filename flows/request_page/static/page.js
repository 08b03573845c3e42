"use strict";
const byId = (id) => document.getElementById(id);
const EDGES = ["west", "south", "east", "north"];

// The map: longitude and latitude as they are, north up.
function startMap(svg, form) {
  const known = JSON.parse(svg.dataset.map);
  const whole = { x: -180, y: -90, w: 360, h: 180 };
  const COASTS_FROM = 1; // degrees across: nearer than that the outlines of land, true to 3 km, would mislead
  const layer = svg.querySelector("g");
  let view = { ...whole };
  let from = null;

  const add = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.append(Object.assign(document.createElementNS(made.namespaceURI, "title"), { textContent: text }));
    layer.append(made);
    return made;
  };
  const box = (bounds, kind, text) => {
    const [west, south, east, north] = bounds.map(Number);
    return add("rect", { x: west, y: -north, width: Math.max(east - west, 0), height: Math.max(north - south, 0), class: kind }, text);
  };
  const bounds = () => EDGES.map((edge) => form.elements[edge].value);
  const isDrawn = () => bounds().every((value) => value !== "" && isFinite(value));

  function draw() {
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
    layer.replaceChildren();
    byId("land").style.display = view.w < COASTS_FROM ? "none" : "";
    const step = [45, 15, 5, 1, 0.25, 0.05].find((each) => each <= view.w / 4) || 0.01;
    for (let x = Math.ceil(view.x / step) * step; x < view.x + view.w; x += step) add("line", { x1: x, x2: x, y1: view.y, y2: view.y + view.h });
    for (let y = Math.ceil(view.y / step) * step; y < view.y + view.h; y += step) add("line", { x1: view.x, x2: view.x + view.w, y1: y, y2: y });
    const most = Math.max(1, ...known.coverage.map((each) => each.scenes));
    for (const each of known.coverage) {
      const [west, south, east, north] = each.bounds;
      for (const shift of east > 180 ? [0, -360] : [0]) {
        const shade = box([west + shift, south, east + shift, north], "scenes", `${each.scenes} scenes, ${each.first || ""} to ${each.last || ""}`);
        shade.setAttribute("fill-opacity", 0.15 + 0.4 * each.scenes / most);
      }
    }
    for (const [name, edges] of Object.entries(known.areas)) {
      box(edges, "known", name);
      if (edges[2] - edges[0] > view.w / 50) add("text", { x: edges[0], y: -edges[3] - view.w / 200, "font-size": view.w / 60 }).append(name);
    }
    if (isDrawn()) box(bounds(), "drawn", "the area");
    byId("map-says").textContent = `Map from ${view.x.toFixed(2)} to ${(view.x + view.w).toFixed(2)}° longitude, ` +
      `${(-view.y - view.h).toFixed(2)} to ${(-view.y).toFixed(2)}° latitude.`;
  }
  function show(edges, least = 0.1) {
    const [west, south, east, north] = edges.map(Number);
    const width = Math.min(360, Math.max(2 * (east - west), 4 * (north - south), least));
    view = { x: (west + east) / 2 - width / 2, y: -(south + north) / 2 - width / 4, w: width, h: width / 2 };
    draw();
  }
  // What lies at `at` stays there.
  function zoom(factor, at = { x: view.x + view.w / 2, y: view.y + view.h / 2 }) {
    const width = Math.min(360, view.w * factor), share = width / view.w;
    view = { x: at.x + (view.x - at.x) * share, y: at.y + (view.y - at.y) * share, w: width, h: width / 2 };
    draw();
  }
  function showScenes() {
    const all = known.coverage.map((each) => each.bounds.map(Number));
    if (!all.length) { draw(); return; }
    const least = (edge) => Math.min(...all.map((bounds) => bounds[edge])), most = (edge) => Math.max(...all.map((bounds) => bounds[edge]));
    show([least(0), least(1), most(2), most(3)], 30);
  }
  const place = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return { x: Math.min(180, Math.max(-180, at.x)), y: Math.min(90, Math.max(-90, at.y)) };
  };
  function stretch(event) {
    if (!from) return;
    const to = place(event);
    const digits = view.w < 2 ? 4 : 2;
    const edges = [Math.min(from.x, to.x), -Math.max(from.y, to.y), Math.max(from.x, to.x), -Math.min(from.y, to.y)];
    EDGES.forEach((edge, number) => { form.elements[edge].value = edges[number].toFixed(digits); });
    form.elements.area.value = "";
    form.elements.geojson.value = "";
    draw();
  }
  svg.addEventListener("pointerdown", (event) => { from = place(event); svg.setPointerCapture(event.pointerId); });
  svg.addEventListener("pointermove", stretch);
  svg.addEventListener("pointerup", (event) => { stretch(event); from = null; form.dispatchEvent(new Event("input")); });
  svg.addEventListener("pointercancel", () => { from = null; });
  svg.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY > 0 ? 1.4 : 1 / 1.4, place(event)); }, { passive: false });
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] };
    if (moves[event.key]) { view.x += moves[event.key][0] * view.w; view.y += moves[event.key][1] * view.h; draw(); }
    else if (event.key === "+" || event.key === "=") zoom(0.5);
    else if (event.key === "-" || event.key === "−") zoom(2);
    else if (event.key === "Home") { view = { ...whole }; draw(); }
    else return;
    event.preventDefault();
  });
  form.addEventListener("input", draw);
  form.elements.area.addEventListener("change", () => { if (form.elements.area.value) show(known.areas[form.elements.area.value]); });
  if (form.elements.area.value) show(known.areas[form.elements.area.value]);
  else if (isDrawn()) show(bounds());
  else showScenes();
}

// The plan, anew a moment after something changed; the answer of the last question is shown.
function startPlan(form) {
  let timer = null, asked = 0;
  const place = byId("plan");
  async function ask() {
    const number = ++asked;
    place.setAttribute("aria-busy", "true");
    const answer = await fetch("/plan", { method: "POST", body: new URLSearchParams(new FormData(form)) }).catch(() => null);
    const text = answer && answer.ok && !answer.redirected ? await answer.text() : "";
    if (number !== asked) return;
    if (text) place.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
    else place.textContent = "The plan cannot be had now: load the page again.";
    place.removeAttribute("aria-busy");
  }
  const isReady = () => form.elements.period.value && (form.elements.area.value || form.elements.geojson.value || EDGES.every((edge) => form.elements[edge].value));
  form.addEventListener("input", () => { clearTimeout(timer); if (isReady()) timer = setTimeout(ask, 600); });
  form.elements.recipe.addEventListener("change", () => {
    for (const choice of ["own", "written"]) if (form.elements.recipe.value === choice) byId(choice).open = true;
  });
  byId("geojson-file").addEventListener("change", async (event) => {
    const file = event.target.files[0];
    if (!file) return;
    form.elements.geojson.value = file.size > 200000 ? "" : await file.text();
    if (file.size > 200000) place.textContent = "The file is larger than 200 kB: simplify its outline.";
    else form.dispatchEvent(new Event("input"));
  });
}

function followRequest(node) {
  const isOpen = (state) => ["asked", "approved", "running"].includes(state);
  async function look() {
    const answer = await fetch(`/api/requests/${node.dataset.id}`).catch(() => null);
    if (answer && answer.ok) {
      const it = await answer.json();
      if (it.state !== node.dataset.state) { location.reload(); return; }
      if (byId("progress")) {
        byId("progress").value = it.cells.built;
        byId("cells").textContent = `${it.cells.built} of ${it.cells.to_build}`;
      }
    }
    setTimeout(look, 3000);
  }
  if (isOpen(node.dataset.state)) setTimeout(look, 1500);
}

async function showCitation(node, number) {
  const answer = await fetch(`/api/requests/${number}/citation`).catch(() => null);
  const it = answer ? await answer.json() : { detail: "The citation cannot be had now." };
  const lines = answer && answer.ok ? [it.citation, ...it.credits] : [it.detail];
  node.replaceChildren(...lines.map((text) => Object.assign(document.createElement("p"), { textContent: text })));
}

const problem = (text) => Object.assign(document.createElement("p"), { className: "problem", textContent: text });
const detailOf = async (answer, otherwise) => {
  const it = answer && !answer.ok ? await answer.json().catch(() => null) : null;
  return it && typeof it.detail === "string" ? it.detail : otherwise;
};

// In place of a picture that cannot be had, why; one that can be had by now is shown.
async function sayWhy(picture) {
  const answer = await fetch(picture.src).catch(() => null);
  if (answer && answer.ok) picture.src = picture.src;
  else picture.replaceWith(problem(await detailOf(answer, "The picture cannot be had now.")));
}

// The map of a product: web map tiles around a centre (x and y from 0 to 1), and the passport of a pixel.
function startTiles(node, number) {
  const SIDE = 256;
  const toWorld = ([longitude, latitude]) => {
    const sine = Math.sin(latitude * Math.PI / 180);
    return { x: longitude / 360 + 0.5, y: 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI) };
  };
  const toDegrees = ({ x, y }) => [(x - Math.floor(x) - 0.5) * 360, Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180 / Math.PI];
  let centre = { x: 0.5, y: 0.5 }, zoom = 1, held = null;
  const images = new Map();

  function draw() {
    const scale = SIDE * 2 ** zoom, width = node.clientWidth, height = node.clientHeight, shown = new Set();
    const left = centre.x * scale - width / 2, top = centre.y * scale - height / 2, around = 2 ** zoom;
    for (let column = Math.floor(left / SIDE); column * SIDE < left + width; column++) {
      for (let row = Math.floor(top / SIDE); row * SIDE < top + height; row++) {
        if (row < 0 || row >= around) continue;
        const name = `${zoom}/${column}/${row}`;
        shown.add(name);
        if (!images.has(name)) {
          const made = Object.assign(new Image(), { alt: "", draggable: false, src: `/api/requests/${number}/tiles/${zoom}/${((column % around) + around) % around}/${row}.png` });
          images.set(name, made);
          node.append(made);
        }
        const style = images.get(name).style;
        style.left = `${column * SIDE - left}px`;
        style.top = `${row * SIDE - top}px`;
      }
    }
    for (const [name, made] of images) if (!shown.has(name)) { made.remove(); images.delete(name); }
  }
  const move = (right, down) => { const scale = SIDE * 2 ** zoom; centre = { x: centre.x + right / scale, y: centre.y + down / scale }; draw(); };
  const zoomTo = (level) => { zoom = Math.min(22, Math.max(0, level)); draw(); };

  async function passport(right, down) {
    const scale = SIDE * 2 ** zoom;
    const [longitude, latitude] = toDegrees({ x: centre.x + right / scale, y: centre.y + down / scale });
    const place = byId("passport");
    place.textContent = "…";
    const answer = await fetch(`/api/requests/${number}/passport?longitude=${longitude}&latitude=${latitude}`).catch(() => null);
    const it = answer ? await answer.json() : { detail: "The passport cannot be had now." };
    const list = document.createElement("ul");
    const say = (text) => list.append(Object.assign(document.createElement("li"), { textContent: text }));
    say(`At ${longitude.toFixed(5)}, ${latitude.toFixed(5)}`);
    if (answer && answer.ok) {
      say(`Cell ${it.cell.period}, ${it.cell.tile}, recipe ${it.recipe.name} version ${it.recipe.version}`);
      for (const [cause, count] of Object.entries(it.counts || {})) say(`${cause}: ${typeof count === "object" ? JSON.stringify(count) : count}`);
      for (const scene of it.scenes) say(Object.values(scene).filter((each) => typeof each === "string").join(", "));
    } else say(typeof it.detail === "string" ? it.detail : JSON.stringify(it.detail));
    place.replaceChildren(list);
  }
  const at = (event) => { const box = node.getBoundingClientRect(); return { x: event.clientX - box.left, y: event.clientY - box.top }; };
  node.addEventListener("pointerdown", (event) => { held = { ...at(event), moved: 0 }; node.setPointerCapture(event.pointerId); });
  node.addEventListener("pointermove", (event) => {
    if (!held) return;
    const to = at(event), moved = held.moved + Math.hypot(to.x - held.x, to.y - held.y);
    move(held.x - to.x, held.y - to.y);
    held = { ...to, moved };
  });
  node.addEventListener("pointerup", (event) => {
    const to = at(event);
    if (held && held.moved < 5) passport(to.x - node.clientWidth / 2, to.y - node.clientHeight / 2);
    held = null;
  });
  node.addEventListener("wheel", (event) => { event.preventDefault(); zoomTo(zoom + (event.deltaY > 0 ? -1 : 1)); }, { passive: false });
  node.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-64, 0], ArrowRight: [64, 0], ArrowUp: [0, -64], ArrowDown: [0, 64] };
    if (moves[event.key]) move(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") zoomTo(zoom + 1);
    else if (event.key === "-" || event.key === "−") zoomTo(zoom - 1);
    else if (event.key === "Enter") passport(0, 0);
    else return;
    event.preventDefault();
  });
  fetch(`/api/requests/${number}/tiles.json`).catch(() => null).then(async (answer) => {
    if (!answer || !answer.ok) {
      byId("tiles-help").remove();
      node.replaceWith(problem(await detailOf(answer, "The map cannot be had now.")));
      return;
    }
    const set = await answer.json();
    const [west, south, east, north] = set.bounds;
    const first = toWorld([west, north]), last = toWorld([east < west ? east + 360 : east, south]);
    centre = { x: (first.x + last.x) / 2, y: (first.y + last.y) / 2 };
    zoomTo(Math.floor(Math.log2(Math.min(node.clientWidth / (last.x - first.x), node.clientHeight / (last.y - first.y)) / SIDE)));
  });
}

for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(byId(button.dataset.copies).textContent);
    button.textContent = "Copied";
  });
}
for (const picture of document.querySelectorAll(".pictures img")) {
  if (picture.complete && picture.naturalWidth === 0) sayWhy(picture);
  else picture.addEventListener("error", () => sayWhy(picture), { once: true });
}
if (byId("ask")) { startMap(byId("map"), byId("ask")); startPlan(byId("ask")); }
if (byId("request")) followRequest(byId("request"));
if (byId("citation")) showCitation(byId("citation"), byId("request").dataset.id);
if (byId("tiles")) startTiles(byId("tiles"), byId("request").dataset.id);
