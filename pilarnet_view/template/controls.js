// Figures, legend, and what the reader does.

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
  const canvas = make("canvas", box, { tabIndex: 0 });
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
  box.className = !many ? "one" : `many ${rows ? "rows" : "grid"}`;
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
  el("where").textContent = panels[0].title;
  el("what").textContent = panels[0].caption;
  if (groups > 1 && alone && !state.inEvent) {
    el("what").textContent = `${state.at + 1} of ${groups}: ${panels[0].caption}`;
  }
  el("event").hidden = !alone || state.inEvent || !panels[0].event;
  el("up").hidden = !state.inEvent && !overview;
  el("up").textContent = state.inEvent ? "back" : "all";
}

function lists(panels) {
  const many = panels.length > 1;
  el("context-label").hidden = state.pick < 0;
  el("axes-label").hidden = scene.voxel_cm === null;
  for (const button of el("views").querySelectorAll("button")) {
    const { azimuth, elevation } = scene.cameras[button.value];
    button.setAttribute("aria-pressed", String(
      azimuth === state.view.azimuth && elevation === state.view.elevation));
  }
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

function turn(change) {
  Object.assign(state.view, change);
  state.view.elevation = Math.max(-90, Math.min(90, state.view.elevation));
  state.view.azimuth = ((state.view.azimuth + 180) % 360 + 360) % 360 - 180;
  lists(shown());
  redraw(true);
}

function listen(canvas, plot) {
  const held = new Map();  // pointers that are down, and where
  let spread = 0;
  const point = (event) => {
    const frame = canvas.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    held.set(event.pointerId, point(event));
    spread = 0;
    canvas.setPointerCapture(event.pointerId);
    plot.tip.hidden = true;
  });
  canvas.addEventListener("pointermove", (event) => {
    const to = point(event), from = held.get(event.pointerId);
    if (!from) return plot.tell(...to);
    held.set(event.pointerId, to);
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]], { view } = state;
    if (held.size === 2) {
      const [[ax, ay], [bx, by]] = held.values(), now = Math.hypot(ax - bx, ay - by);
      if (spread) turn({ zoom: Math.min(60, Math.max(0.3, view.zoom * now / spread)) });
      spread = now;
    } else if (event.shiftKey || event.buttons === 2) {
      turn({ pan: [view.pan[0] + dx, view.pan[1] + dy] });
    } else if (held.size === 1) {
      turn({ azimuth: view.azimuth - dx * 0.4, elevation: view.elevation + dy * 0.4 });
    }
  });
  const release = (event) => { held.delete(event.pointerId); };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => { plot.tip.hidden = true; });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    if (plots.length > 1) return;  // the page is scrolled
    event.preventDefault();
    const { view } = state, zoom = Math.min(60, Math.max(0.3, view.zoom * Math.exp(-event.deltaY / 500)));
    // What is under the pointer stays there.
    const from = [plot.camera.x0, plot.camera.y0], to = point(event);
    turn({ zoom, pan: view.pan.map((p, i) => p + (from[i] - to[i]) * (zoom / view.zoom - 1)) });
  }, { passive: false });
  canvas.addEventListener("dblclick", () => turn({ ...scene.camera, zoom: 1, pan: [0, 0] }));
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
el("previous").addEventListener("click", () => go({ at: state.at - 1 }));
el("next").addEventListener("click", () => go({ at: state.at + 1 }));
el("event").addEventListener("click", () => go({ inEvent: true }));
el("up").addEventListener("click", () => go({ at: state.inEvent ? state.at : -1 }));
addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || /SELECT|INPUT/.test(event.target.tagName)) return;
  const button = { ArrowLeft: "previous", ArrowRight: "next", e: "event", Escape: "up" }[event.key];
  if (!button || el(button).hidden || el(button).disabled || el("nav").hidden) return;
  event.preventDefault();
  el(button).click();
});
document.addEventListener("themechange", () => { lists(shown()); redraw(); });
addEventListener("resize", () => redraw());

el("notes").replaceChildren(...scene.notes.map((note) => make("p", el("notes"), { textContent: note })));
el("colouring").value = state.colouring;
el("axes").value = state.axes;
el("cube").checked = state.cube;
build();
