// How pointers and keys change the view.

const STEP = 10;  // degrees that a key turns

function turn(change) {
  Object.assign(state.view, change);
  state.view.elevation = Math.max(-90, Math.min(90, state.view.elevation));
  state.view.azimuth = ((state.view.azimuth + 180) % 360 + 360) % 360 - 180;
  markView();
  redraw(true);
}

const reset = () => turn({ ...scene.camera, zoom: 1, pan: [0, 0] });

// Zoom so that what was at `from` on a plot comes to lie at `to`.
function zoom(plot, factor, from, to) {
  const { view } = state, nearer = Math.min(60, Math.max(0.3, view.zoom * factor));
  const pan = view.pan.map((p, i) => (
    p + to[i] - from[i] + (plot.camera.middle[i] + p - from[i]) * (nearer / view.zoom - 1)));
  turn({ zoom: nearer, pan });
}

function listen(canvas, plot) {
  let before = null;
  gestures(canvas, {
    begin: () => { before = { ...state.view }; },
    cancel: () => turn(before),
    drag: (dx, dy, event) => {
      const { view } = state;
      if (event.shiftKey || event.buttons === 2) turn({ pan: [view.pan[0] + dx, view.pan[1] + dy] });
      else turn({ azimuth: view.azimuth - dx * 0.4, elevation: view.elevation + dy * 0.4 });
    },
    zoom: (...how) => zoom(plot, ...how),
    tell: (place) => {
      if (place) plot.tell(...place);
      else plot.tip.hidden = true;
    },
    reset,
    scrolls: () => plots.length > 1,
  });
}

addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.tagName === "SELECT") return;
  const { key } = event, { view } = state, [plot] = plots;
  const turned = event.shiftKey && {
    ArrowLeft: { azimuth: view.azimuth + STEP }, ArrowRight: { azimuth: view.azimuth - STEP },
    ArrowUp: { elevation: view.elevation - STEP }, ArrowDown: { elevation: view.elevation + STEP },
  }[key];
  const button = el({ ArrowLeft: "previous", ArrowRight: "next", e: "event", Escape: "up" }[key]);
  const { middle } = plot.camera;
  if (turned) turn(turned);
  else if (key === "+" || key === "-") zoom(plot, key === "+" ? 1.25 : 0.8, middle, middle);
  else if (key === "0") reset();
  else if (button && !button.hidden && !button.disabled && !el("nav").hidden) button.click();
  else return;
  event.preventDefault();
});
