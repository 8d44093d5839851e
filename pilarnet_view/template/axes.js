// The box of the axes, its grid, ticks and titles. No text is cut off or overlaps another.

// A number as text, without a minus before zero.
const written = (value, digits) => value.toFixed(digits).replace(/^-(0[.0]*)$/, "$1").replace("-", "\u2212");

// About `most` ticks, 1, 2 or 5 times a power of ten apart; at least two where there is room.
function ticksBetween(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough)), factors = [10, 5, 2, 1, 0.5, 0.2, 0.1];
  const finest = factors.findLast((f) => f * power >= rough * 0.999);
  const [coarse, ...finer] = factors.filter((f) => f <= finest).map((factor) => {
    const step = factor * power, digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const ticks = [];
    for (let n = Math.ceil(low / step); n * step <= high; n++) {
      ticks.push({ value: n * step, text: written(n * step, digits) });
    }
    return ticks;
  });
  if (coarse.length > 1) return coarse;
  return finer.find((ticks) => ticks.length > 1 && ticks.length <= Math.max(3, 1.6 * most)) || coarse;
}

// For each axis the edge that carries its ticks, on the outline of the box: [a, b] its two ends,
// and the direction away from the box; null if it is too short to be read.
function edgesOf(box, camera) {
  const back = backSides(box, camera);
  const middle = camera.project(camera.centre);
  return AXES.map((_, axis) => {
    const [b, c] = [0, 1, 2].filter((i) => i !== axis);
    let best = null;
    for (const sb of [0, 1]) {
      for (const sc of [0, 1]) {
        if ((sb === back[b]) === (sc === back[c])) continue;  // inside the outline
        const place = [0, 0, 0];
        place[b] = box[sb][b];
        place[c] = box[sc][c];
        const ends = [0, 1].map((side) => {
          const end = place.slice();
          end[axis] = box[side][axis];
          return camera.project(end);
        });
        const [dx, dy] = [ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]];
        const length = Math.hypot(dx, dy);
        let away = [-dy / length, dx / length];
        const outward = [0, 1].reduce(
          (sum, i) => sum + away[i] * ((ends[0][i] + ends[1][i]) / 2 - middle[i]), 0);
        if (outward < 0) away = away.map((v) => -v);
        // Below the box is best, then to its left.
        const score = away[1] - 0.8 * away[0];
        if (length > 12 && (!best || score > best.score)) best = { place, ends, away, length, score };
      }
    }
    return best;
  });
}

// The side of each axis that is behind: 0 low, 1 high.
function backSides(box, camera) {
  return AXES.map((_, axis) => (camera.basis.toward[axis] > 1e-9 ? 0 : 1));
}

function drawBox(pen, box, camera, ticks, colours) {
  const back = backSides(box, camera);
  const line = (a, b) => {
    const [from, to] = [a, b].map(camera.project);
    pen.moveTo(from[0], from[1]);
    pen.lineTo(to[0], to[1]);
  };
  pen.lineWidth = 1;
  pen.strokeStyle = colours.grid;
  pen.beginPath();
  AXES.forEach((_, axis) => {
    for (const tick of ticks[axis]) {
      for (const wall of [0, 1, 2].filter((i) => i !== axis)) {
        const along = 3 - axis - wall, from = [0, 0, 0];
        from[axis] = tick.voxel;
        from[wall] = box[back[wall]][wall];
        from[along] = box[0][along];
        const to = from.slice();
        to[along] = box[1][along];
        line(from, to);
      }
    }
  });
  pen.stroke();
  pen.strokeStyle = colours.line;
  pen.beginPath();
  AXES.forEach((_, axis) => {
    const [b, c] = [0, 1, 2].filter((i) => i !== axis);
    for (const sb of [0, 1]) {
      for (const sc of [0, 1]) {
        if (sb !== back[b] && sc !== back[c]) continue;  // in front of the voxels
        const from = [0, 0, 0];
        from[b] = box[sb][b];
        from[c] = box[sc][c];
        const to = from.slice();
        [from[axis], to[axis]] = [box[0][axis], box[1][axis]];
        line(from, to);
      }
    }
  });
  pen.stroke();
}

// Write titles, then ticks where there is room; returns the texts with their boxes.
function writeAxes(pen, edges, ticks, { unit, font, size, camera, colours }) {
  const placed = [];
  const apart = ([l, t, r, b], gap) => placed.every(
    ({ box: [a, c, d, e] }) => r + gap < a || d + gap < l || b + gap < c || e + gap < t);
  const boxAt = (text, at, away, gap) => {
    const [w, h] = [pen.measureText(text).width / 2, font * 0.6];
    const reach = gap + Math.abs(away[0]) * w + Math.abs(away[1]) * h;
    const [x, y] = [at[0] + away[0] * reach, at[1] + away[1] * reach];
    return [x - w, y - h, x + w, y + h];
  };
  const rim = 4;  // pixels at the edge of the canvas that stay free
  const inside = ([l, t, r, b]) => l >= rim && t >= rim && r <= size.width - rim && b <= size.height - rim;
  const moved = ([l, t, r, b]) => {
    const dx = Math.max(rim - l, 0) + Math.min(size.width - rim - r, 0);
    const dy = Math.max(rim - t, 0) + Math.min(size.height - rim - b, 0);
    return [l + dx, t + dy, r + dx, b + dy];
  };
  const write = (text, box) => {
    pen.fillText(text, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2);
    placed.push({ text, box });
  };
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillStyle = colours.text;
  pen.font = `600 ${font}px ${colours.family}`;
  edges.forEach((edge, axis) => {
    if (!edge) return;
    const text = `${AXES[axis]} [${unit}]`;
    const widest = Math.max(0, ...ticks[axis].map((tick) => tick.text.length)) * font * 0.6;
    const past = 10 + Math.abs(edge.away[0]) * widest + Math.abs(edge.away[1]) * font * 1.2;
    for (const part of [0.5, 0.35, 0.65, 0.2, 0.8, 0, 1]) {
      const at = [0, 1].map((i) => edge.ends[0][i] + part * (edge.ends[1][i] - edge.ends[0][i]));
      const box = moved(boxAt(text, at, edge.away, past));
      if (apart(box, 2)) return write(text, box);
    }
  });
  pen.font = `${font}px ${colours.family}`;
  pen.fillStyle = colours.muted;
  edges.forEach((edge, axis) => {
    for (const tick of edge ? ticks[axis] : []) {
      const place = edge.place.slice();
      place[axis] = tick.voxel;
      const box = boxAt(tick.text, camera.project(place), edge.away, 5);
      if (inside(box) && apart(box, 3)) write(tick.text, box);
    }
  });
  return placed;
}
