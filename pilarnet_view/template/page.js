// The page: what is shown, the controls, and the pointer.

const scene = JSON.parse(document.getElementById("data").textContent);
const el = (id) => document.getElementById(id);
const [LOW, HIGH] = scene.energy_mev;
const groups = Math.ceil(scene.panels.length / scene.group);
// Events are shown one after the other; particles all at once, or one.
const overview = scene.columns > 1 && groups > 1;
const state = {
  at: overview ? -1 : 0, inEvent: false, pick: -1, colouring: scene.colouring, axes: scene.axes,
  context: true, cube: scene.cube, points: false, links: false, hidden: new Set(),
  view: { ...scene.camera, zoom: 1, pan: [0, 0] },
};
const plots = [];

function decode(text, Kind) {
  return new Kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}
// The voxels of a panel are decoded when it is first shown.
function decoded(panel) {
  for (const cloud of panel.decoded ? [] : panel.clouds) {
    const xyz = decode(cloud.xyz, Int32Array), size = xyz.length / 3;
    cloud.voxels = AXES.map((_, axis) => xyz.subarray(axis * size, (axis + 1) * size));
    cloud.energy = decode(cloud.energy_mev, Float32Array);
    cloud.shade = Uint8Array.from(cloud.energy, (energy) => Math.min(SHADES - 1, Math.max(0, Math.floor(
      SHADES * Math.log(Math.max(energy, 1e-12) / LOW) / Math.log(HIGH / LOW)))));
  }
  panel.decoded = true;
  return panel;
}

const theme = () => document.documentElement.dataset.theme;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colourOf = (cloud) => {
  const palette = scene.palette[theme()];
  return state.colouring === "class"
    ? scene.species[cloud.species] : palette[cloud.number % palette.length];
};
const symbolOf = (cloud) => {
  const round = Math.floor(cloud.number / scene.palette.light.length);
  return state.colouring === "particle" ? scene.symbols[round % scene.symbols.length] : "circle";
};
// A voxel's centre: its index, or cm from the corner of the cube.
const place = (panel, axis, index) => (state.axes === "cm"
  ? panel.origin_cm[axis] + (index + 0.5) * scene.voxel_cm[axis] : index);

// The panel's own frame, the cube, or a frame about the cloud that is shown alone.
function boxOf(panel, clouds) {
  if (state.cube) {
    return [panel.low.map((v) => Math.min(v, -0.5)),
            panel.high.map((v, i) => Math.max(v, panel.grid[i] - 0.5))];
  }
  if (state.pick < 0 || state.context || clouds.length !== 1) return [panel.low, panel.high];
  const low = [], high = [];
  clouds[0].voxels.forEach((index, axis) => {
    low[axis] = index.reduce((a, b) => Math.min(a, b)) - 0.5;
    high[axis] = index.reduce((a, b) => Math.max(a, b)) + 0.5;
  });
  const edges = AXES.map((_, i) => 1.04 * (high[i] - low[i]));
  const least = Math.max(8, 0.35 * Math.max(...edges));
  return [-1, 1].map((side) => AXES.map(
    (_, i) => (low[i] + high[i]) / 2 + side * Math.max(edges[i], least) / 2));
}

function drawPlot(plot, panel, small, turning) {
  const picked = small ? -1 : state.pick;
  const clouds = decoded(panel).clouds.filter((cloud, i) => !state.hidden.has(cloud.species)
    && (picked < 0 || state.context || i === picked));
  plot.draw(panel, {
    clouds, small, turning, view: state.view, box: boxOf(panel, clouds), place,
    unit: state.axes === "cm" ? "cm" : "voxel", colourOf, symbolOf,
    scale: state.colouring === "energy" ? scene.scale[theme()] : null,
    faint: (cloud) => picked >= 0 && cloud !== panel.clouds[picked],
    points: state.points, links: state.links, fading: theme() === "dark" ? 0.08 : 0.22,
    colours: { ...Object.fromEntries(["panel", "text", "muted", "grid", "line", "faint"]
      .map((name) => [name, css(`--${name}`)])), family: getComputedStyle(document.body).fontFamily },
  });
}

// The panels that are on the page now.
function shown() {
  if (state.at < 0) return scene.panels;
  const group = scene.panels.slice(state.at * scene.group, (state.at + 1) * scene.group);
  return state.inEvent ? [group[0].event] : group;
}

let changes = 0;  // of what is shown; a test reads which of them is drawn
// Only plots in sight are drawn.
let wanted = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.plot.inSight = isIntersecting;
    if (isIntersecting && !target.plot.drawn) wanted.add(target.plot);
  }
  if (!wanted.size) return;
  changes += 1;
  requestAnimationFrame(() => paint());
}, { rootMargin: "200px" });

function paint(turning) {
  const drawn = [...wanted].filter((plot) => plot.inSight || plots.length === 1);
  for (const plot of drawn) {
    drawPlot(plot, plot.shows, plots.length > 1, turning);
    plot.drawn = true;
  }
  wanted.clear();
  const { azimuth, elevation } = state.view;
  el("camera").textContent = `${Math.round(azimuth)},${Math.round(elevation)}`;
  if (drawn.length) document.body.dataset.drawn = String(changes);
}

let waiting = null;
function redraw(turning, settled) {
  if (!settled) changes += 1;
  for (const plot of plots) {
    plot.drawn = false;
    wanted.add(plot);
  }
  clearTimeout(redraw.settle);
  if (turning) redraw.settle = setTimeout(() => redraw(false, true), 150);
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => paint(turning));
}
