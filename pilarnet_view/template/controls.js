// Figures, navigation, legend and controls.

function make(tag, parent, known = {}) {
  const made = Object.assign(document.createElement(tag), known);
  parent.append(made);
  return made;
}

function figure(parent, panel, { captioned, group }) {
  const frame = make("figure", parent);
  if (captioned) {
    const caption = make("figcaption", frame);
    if (state.at < 0 && panel === scene.panels[group * scene.group]) {
      const open = make("button", caption, { type: "button", textContent: "open" });
      open.addEventListener("click", () => go({ at: group }));
    }
    make("b", caption, { textContent: panel.title, title: panel.title });
    make("small", caption, { textContent: panel.caption, title: panel.caption });
  }
  const box = make("div", frame, { className: "plot" });
  const canvas = make("canvas", box);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${panel.title} ${panel.caption}`);
  const plot = new Plot(canvas, make("div", box, { className: "tip", hidden: true }));
  plot.shows = panel;
  canvas.plot = plot;
  plots.push(plot);
  listen(canvas, plot);
  watcher.observe(canvas);
}

// Set up what is shown: new figures, the navigation, and the lists.
function build() {
  const panels = shown(), many = panels.length > 1, rows = scene.group > 1;
  watcher.disconnect();
  plots.length = 0;
  const box = el("panels");
  box.replaceChildren();
  box.className = !many ? "one" : `many ${rows ? "rows" : "grid"}${state.at < 0 ? " overview" : ""}`;
  panels.forEach((panel, i) => {
    const first = i % scene.group === 0;
    const parent = !many || !rows ? box : first ? make("section", box, { className: "row" }) : box.lastChild;
    figure(parent, panel, { captioned: many, group: Math.floor(i / scene.group) });
  });
  navigate(panels);
  if (state.pick >= panels[0].clouds.length || many) state.pick = -1;
  el("pick").replaceChildren(new Option("all particles", -1));
  if (!many) panels[0].clouds.forEach((cloud, i) => el("pick").append(new Option(cloud.summary, i)));
  el("pick").value = state.pick;
  el("pick-label").hidden = many || panels[0].clouds.length < 2;
  lists(panels);
  redraw();
}

function navigate(panels) {
  const alone = state.at >= 0;
  el("nav").hidden = overview ? !alone : groups < 2 && !panels[0].event && !state.inEvent;
  el("previous").hidden = el("next").hidden = groups < 2 || state.inEvent;
  el("previous").disabled = state.at === 0;
  el("next").disabled = state.at === groups - 1;
  // A particle and its views have their own captions.
  const [where, what] = panels.length > 1 ? [panels[0].clouds[0].summary, ""]
    : [panels[0].title, panels[0].caption];
  const count = groups > 1 && alone && !state.inEvent ? `${state.at + 1} of ${groups}` : "";
  el("where").textContent = where;
  el("what").textContent = [count, what].filter((text) => text).join(": ");
  el("touch").textContent = alone
    ? "One finger turns, two zoom and move; tap a voxel to identify it, double-tap to reset."
    : "Open a particle to turn it with a finger.";
  el("event").hidden = !alone || state.inEvent || !panels[0].event;
  el("up").hidden = !state.inEvent && !overview;
  el("up").textContent = state.inEvent ? "back" : "all";
}

function lists(panels) {
  const many = panels.length > 1;
  el("context-label").hidden = state.pick < 0;
  el("axes-label").hidden = scene.voxel_cm === null;
  const kind = scene.panels.map((panel) => (state.inEvent ? panel.event : panel));
  el("points-label").hidden = !kind.some((p) => p.vertices.length || p.clouds.some((c) => c.start || c.end));
  el("links-label").hidden = !kind.some((p) => p.links.length);
  markView();
  const clouds = panels.flatMap((panel) => panel.clouds);
  el("legend").replaceChildren();
  for (const [name, colour] of Object.entries(scene.species)) {
    const count = clouds.filter((cloud) => cloud.species === name).length;
    if (!count) continue;
    const button = make("button", el("legend"), { type: "button" });
    if (state.colouring === "class") make("i", button).style.background = colour;
    button.append(many && scene.group > 1 ? name : `${name} (${count})`);
    button.setAttribute("aria-pressed", String(!state.hidden.has(name)));
    button.addEventListener("click", () => {
      if (!state.hidden.delete(name)) state.hidden.add(name);
      button.setAttribute("aria-pressed", String(!state.hidden.has(name)));
      redraw();
    });
  }
  el("key").replaceChildren();
  if (state.colouring === "energy") scaleOf(el("key"));
  else if (state.colouring === "particle" && !many) {
    const list = make("ul", el("key"), { className: "list" });
    for (const cloud of [...clouds].sort((a, b) => a.number - b.number)) {
      const item = make("li", list), dot = make("i", item, { className: symbolOf(cloud) });
      dot.style.background = colourOf(cloud);
      item.append(`${cloud.name}: ${cloud.species}`);
    }
  }
}

function markView() {
  for (const button of el("views").querySelectorAll("button")) {
    const { azimuth, elevation } = scene.cameras[button.value];
    button.setAttribute("aria-pressed", String(
      azimuth === state.view.azimuth && elevation === state.view.elevation));
  }
}

function scaleOf(box) {
  const span = Math.log10(HIGH / LOW);
  box.append("energy of a voxel [MeV]");
  make("div", box, { className: "ramp" }).style.background =
    `linear-gradient(to right, ${scene.scale[theme()].join(", ")})`;
  const ticks = make("div", box, { className: "ticks" });
  let last = -Infinity;
  for (let power = Math.floor(Math.log10(LOW)); power <= Math.log10(HIGH); power++) {
    for (const step of span > 2.5 ? [1] : [1, 2, 5]) {
      const value = step * 10 ** power, part = Math.log10(value / LOW) / span;
      if (part < 0 || part > 1 || part - last < 0.14) continue;
      last = part;
      const tick = make("span", ticks, { textContent: String(Number(value.toPrecision(2))) });
      tick.style.left = `${100 * part}%`;
    }
  }
}

// Go to a group of panels, to an event, or back to all.
function go({ at = state.at, inEvent = false }) {
  if (at < (overview ? -1 : 0) || at >= groups) return;
  const [panel] = scene.panels.slice(Math.max(at, 0) * scene.group);
  Object.assign(state, { at, inEvent, pick: inEvent ? panel.event.focus : -1 });
  state.view = { ...state.view, zoom: 1, pan: [0, 0] };
  build();
}

const bind = (id, change, rebuilt) => el(id).addEventListener("change", (event) => {
  change(event.target);
  if (rebuilt) lists(shown());
  redraw();
});
bind("colouring", (target) => { state.colouring = target.value; }, true);
bind("axes", (target) => { state.axes = target.value; });
bind("pick", (target) => { state.pick = Number(target.value); }, true);
for (const name of ["context", "cube", "points", "links"]) {
  bind(name, (target) => { state[name] = target.checked; });
}
el("views").addEventListener("click", (event) => {
  if (event.target.value) turn({ ...scene.cameras[event.target.value], zoom: 1, pan: [0, 0] });
});
el("controls").addEventListener("submit", (event) => event.preventDefault());
el("previous").addEventListener("click", () => go({ at: state.at - 1 }));
el("next").addEventListener("click", () => go({ at: state.at + 1 }));
el("event").addEventListener("click", () => go({ inEvent: true }));
el("up").addEventListener("click", () => go({ at: state.inEvent ? state.at : -1 }));
document.addEventListener("themechange", () => { lists(shown()); redraw(); });
addEventListener("resize", () => redraw());

el("notes").replaceChildren(...scene.notes.map((note) => make("p", el("notes"), { textContent: note })));
el("colouring").value = state.colouring;
el("axes").value = state.axes;
el("cube").checked = state.cube;
build();
