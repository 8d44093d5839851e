// One set of axes on a canvas, and what the pointer finds there.

const raster = new Raster();  // shared: it holds what was drawn last
let rasterOf = null;
const pixelRatio = () => Math.min(2, devicePixelRatio || 1);

class Plot {
  constructor(canvas, tip) {
    Object.assign(this, { canvas, tip, panel: null });
  }

  // `look` says how: clouds (those that are shown), faint (a test), view, box ([low, high]), unit,
  // place (voxel to unit), colourOf, symbolOf, colours (of the theme), fading, points, links, small.
  draw(panel, look) {
    Object.assign(this, { panel, look });
    const { canvas } = this, small = look.small;
    const ratio = pixelRatio();
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.fillStyle = look.colours.panel;
    pen.fillRect(0, 0, width, height);
    const font = small ? 10 : 12;
    const margin = small ? { left: 54, right: 14, top: 12, bottom: 36 }
      : { left: 66, right: 26, top: 22, bottom: 52 };
    const size = { width, height, margin };
    const camera = this.camera = projector(...look.box, look.view, size);
    const edges = edgesOf(look.box, camera);
    const ticks = edges.map((edge, axis) => this.ticks(edge, axis, small));
    drawBox(pen, look.box, camera, ticks, look.colours);
    this.drawVoxels();
    raster.paint(pen, width, height);
    this.drawRelations(pen);
    canvas.texts = writeAxes(pen, edges, ticks, {
      unit: look.unit, font, size, camera, colours: look.colours });
  }

  ticks(edge, axis, small) {
    if (!edge) return [];
    const { box, place } = this.look;
    const [low, high] = box.map((corner) => place(this.panel, axis, corner[axis]));
    const tall = Math.abs(edge.away[0]) > 0.7;  // ticks below each other need less room
    const most = Math.max(2, edge.length / (small ? (tall ? 32 : 44) : (tall ? 44 : 64)));
    return ticksBetween(low, high, most).map((tick) => ({
      text: tick.text,
      voxel: box[0][axis] + (tick.value - low) / (high - low) * (box[1][axis] - box[0][axis]),
    }));
  }

  drawVoxels() {
    const { canvas, look, camera } = this;
    // At twice the resolution where that is cheap, so that large dots look round.
    const fine = !look.turning && look.clouds.reduce((n, c) => n + c.energy.length, 0) < 20000 ? 2 : 1;
    this.ratio = pixelRatio() * fine;
    raster.resize(canvas.width * fine, canvas.height * fine);
    raster.clear();
    rasterOf = this;
    const ground = rgb(look.colours.panel);
    let first = 0;
    canvas.shown = [];
    for (const cloud of look.clouds) {
      const faint = look.faint(cloud), energies = !faint && look.scale;
      const colours = energies
        ? Array.from({ length: SHADES }, (_, i) => along(look.scale, i / (SHADES - 1)))
        : [rgb(faint ? look.colours.faint : look.colourOf(cloud))];
      raster.draw(cloud.voxels, {
        // Colours that stand for energies are not faded.
        shades: shadesOf(colours, ground, energies ? 0 : look.fading), shade: energies ? cloud.shade : null, first,
        symbol: faint ? "circle" : look.symbolOf(cloud), edge: faint ? 0.36 : 0.52,
        least: faint ? 0.8 : 1.2, most: 14, ratio: this.ratio, camera,
      });
      first += cloud.energy.length;
      canvas.shown.push({ name: cloud.name, voxels: cloud.energy.length,
                          colour: faint ? "faint" : energies ? "scale" : look.colourOf(cloud) });
    }
  }

  // Links from parents, and where particles start (rings) and end (crosses), and vertices (squares).
  drawRelations(pen) {
    const { panel, canvas, look, camera } = this;
    const shown = new Set(look.clouds);
    pen.lineWidth = 1.4;
    pen.strokeStyle = look.colours.text;
    canvas.marks = { links: 0, starts: 0, ends: 0, vertices: 0 };
    if (look.links) {
      pen.setLineDash([5, 4]);
      for (const link of panel.links) {
        pen.beginPath();
        link.map(camera.project).forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
        pen.stroke();
        canvas.marks.links += 1;
      }
      pen.setLineDash([]);
    }
    if (!look.points) return;
    const mark = (place, draw) => {
      const [x, y] = camera.project(place);
      pen.beginPath();
      draw(x, y);
      pen.stroke();
    };
    for (const cloud of panel.clouds.filter((c) => shown.has(c))) {
      if (cloud.end) {
        mark(cloud.end, (x, y) => {
          pen.moveTo(x - 4, y - 4); pen.lineTo(x + 4, y + 4);
          pen.moveTo(x + 4, y - 4); pen.lineTo(x - 4, y + 4);
        });
        canvas.marks.ends += 1;
      }
      if (cloud.start) {
        mark(cloud.start, (x, y) => pen.arc(x, y, 4, 0, 2 * Math.PI));
        canvas.marks.starts += 1;
      }
    }
    pen.lineWidth = 2.4;
    for (const vertex of panel.vertices) {
      mark(vertex, (x, y) => pen.rect(x - 8, y - 8, 16, 16));
      canvas.marks.vertices += 1;
    }
  }

  // What is under the pointer: [cloud, voxel], or null.
  find(x, y) {
    if (!this.panel) return null;
    if (rasterOf !== this) this.drawVoxels();
    const reach = Math.ceil(3 * this.ratio);
    const [cx, cy] = [Math.round(x * this.ratio), Math.round(y * this.ratio)];
    let id = -1, nearest = Infinity;
    for (let py = Math.max(0, cy - reach); py <= Math.min(raster.height - 1, cy + reach); py++) {
      for (let px = Math.max(0, cx - reach); px <= Math.min(raster.width - 1, cx + reach); px++) {
        const distance = (px - cx) ** 2 + (py - cy) ** 2;
        const found = raster.ids[py * raster.width + px];
        if (found >= 0 && distance < nearest) [id, nearest] = [found, distance];
      }
    }
    for (const cloud of this.look.clouds) {
      if (id >= 0 && id < cloud.energy.length) return [cloud, id];
      id -= cloud.energy.length;
    }
    return null;
  }

  tell(x, y) {
    const found = this.find(x, y), { tip, canvas, look } = this;
    tip.hidden = !found;
    if (!found) return;
    const [cloud, voxel] = found;
    const at = cloud.voxels.map((index, axis) => look.place(this.panel, axis, index[voxel]));
    const digits = look.unit === "cm" ? 1 : 0;
    tip.textContent = [
      ...cloud.facts,
      `this voxel ${cloud.energy[voxel].toPrecision(3)} MeV, at ` +
        `(${at.map((v) => written(v, digits)).join(", ")}) ${look.unit === "cm" ? "cm" : "voxels"}`,
    ].join("\n");
    const right = x + 14 + tip.offsetWidth > canvas.clientWidth;
    tip.style.left = `${Math.max(0, right ? x - 14 - tip.offsetWidth : x + 14)}px`;
    tip.style.top = `${Math.max(0, Math.min(y + 14, canvas.clientHeight - tip.offsetHeight - 2))}px`;
  }
}
