"use strict";
(() => {
  const points = JSON.parse(document.getElementById("data").textContent);
  const box = document.getElementById("map");
  if (!points || !box) return;
  const canvas = box.querySelector("canvas"), tip = box.querySelector(".tip");
  const legend = document.getElementById("legend");
  const count = points.x.length;
  const shown = points.names.map(() => true);
  const low = [Math.min(...points.x), Math.min(...points.y)];
  const high = [Math.max(...points.x), Math.max(...points.y)];
  const view = { x: 0, y: 0, zoom: 1 };
  // A fixed shuffle, so that no class covers all others.
  const order = Array.from({ length: count }, (_, i) => i)
    .sort((a, b) => (a * 7919) % count - (b * 7919) % count);

  function scale() {
    const edge = Math.max(high[0] - low[0], high[1] - low[1]) || 1;
    return 0.92 * Math.min(canvas.clientWidth, canvas.clientHeight) / edge * view.zoom;
  }
  function place(i) {
    const s = scale();
    return [
      canvas.clientWidth / 2 + view.x + (points.x[i] - (low[0] + high[0]) / 2) * s,
      canvas.clientHeight / 2 + view.y - (points.y[i] - (low[1] + high[1]) / 2) * s,
    ];
  }
  const radius = () => Math.min(7, Math.max(2.2, 60 / Math.sqrt(count)) * Math.sqrt(view.zoom));

  function draw() {
    const ratio = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.globalAlpha = 0.85;
    const r = radius();
    for (const i of order) {
      if (!shown[points.class[i]]) continue;
      const [x, y] = place(i);
      pen.fillStyle = points.colours[points.class[i]];
      pen.beginPath();
      pen.arc(x, y, r, 0, 2 * Math.PI);
      pen.fill();
    }
    document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
  }

  function tell(at) {
    let best = -1, nearest = (radius() + 4) ** 2;
    for (let i = 0; at && i < count; i++) {
      if (!shown[points.class[i]]) continue;
      const [x, y] = place(i), distance = (x - at[0]) ** 2 + (y - at[1]) ** 2;
      if (distance < nearest) [best, nearest] = [i, distance];
    }
    tip.hidden = best < 0;
    if (best < 0) return;
    tip.textContent = `${points.names[points.class[best]]}: ${points.facts[best]}`;
    tip.style.left = `${Math.max(0, Math.min(at[0] + 12, canvas.clientWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(0, at[1] - tip.offsetHeight - 8)}px`;
  }

  let before = null;
  const change = (to) => { Object.assign(view, to); draw(); };
  gestures(canvas, {
    begin: () => { before = { ...view }; },
    cancel: () => change(before),
    drag: (dx, dy) => change({ x: view.x + dx, y: view.y + dy }),
    zoom: (factor, from, to) => {
      const zoom = Math.min(40, Math.max(0.5, view.zoom * factor)), grown = zoom / view.zoom;
      const middle = [canvas.clientWidth / 2, canvas.clientHeight / 2];
      const [x, y] = [view.x, view.y].map(
        (v, i) => to[i] - middle[i] - (from[i] - middle[i] - v) * grown);
      change({ x, y, zoom });
    },
    tell,
    reset: () => change({ x: 0, y: 0, zoom: 1 }),
    scrolls: () => false,
  });

  points.names.forEach((name, label) => {
    const number = points.class.filter((c) => c === label).length;
    if (!number) return;
    const button = document.createElement("button"), dot = document.createElement("i");
    dot.style.background = points.colours[label];
    button.type = "button";
    button.append(dot, `${name} (${number})`);
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => {
      shown[label] = !shown[label];
      button.setAttribute("aria-pressed", String(shown[label]));
      draw();
    });
    legend.append(button);
  });
  addEventListener("resize", draw);
  draw();
})();
