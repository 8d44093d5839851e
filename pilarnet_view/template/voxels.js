// Draws voxels into pixels with a depth for each, and remembers which voxel each pixel is of.
// No WebGL: it is as fast for 100,000 voxels, and works on a remote desktop without a GPU.

const LEVELS = 8;  // of fading with distance
const SHADES = 64;  // of energy

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const mix = (a, b, part) => a.map((v, i) => v + (b[i] - v) * part);
const packed = ([r, g, b]) => (255 << 24 | Math.round(b) << 16 | Math.round(g) << 8 | Math.round(r)) >>> 0;

// The colour of a scale at `part`, from 0 to 1.
function along(scale, part) {
  const at = Math.min(0.9999, Math.max(0, part)) * (scale.length - 1), low = Math.floor(at);
  return mix(rgb(scale[low]), rgb(scale[low + 1]), at - low);
}

// A table of the shades of some colours: faded with distance towards the background, by at most
// the part `fading`, and darker at the edges of dots.
function shadesOf(colours, ground, fading) {
  const table = new Uint32Array(colours.length * LEVELS * 2);
  colours.forEach((colour, c) => {
    for (let level = 0; level < LEVELS; level++) {
      const faded = mix(colour, ground, fading * (1 - level / (LEVELS - 1)));
      table[2 * (c * LEVELS + level)] = packed(faded);
      table[2 * (c * LEVELS + level) + 1] = packed(mix(faded, [0, 0, 0], 0.3));
    }
  });
  return table;
}

// The pixels of a symbol: rows of [dy, first dx, last dx].
const spans = new Map();
function spansOf(symbol, radius) {
  const key = `${symbol}${radius}`;
  if (!spans.has(key)) {
    const rows = [], whole = Math.floor(radius);
    for (let dy = -whole; dy <= whole; dy++) {
      const half = { circle: Math.sqrt(radius * radius - dy * dy), square: 0.88 * radius,
                     diamond: 1.2 * (radius - Math.abs(dy)) }[symbol];
      if (half >= 0 && (symbol !== "square" || Math.abs(dy) <= half)) {
        rows.push(dy, -Math.floor(half), Math.floor(half));
      }
    }
    spans.set(key, Int16Array.from(rows));
  }
  return spans.get(key);
}

class Raster {
  resize(width, height) {
    if (this.width === width && this.height === height) return;
    Object.assign(this, { width, height });
    this.image = new ImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.depth = new Float32Array(width * height);
    this.ids = new Int32Array(width * height);
    this.canvas = Object.assign(document.createElement("canvas"), { width, height });
  }

  clear() {
    this.pixels.fill(0);
    this.depth.fill(-Infinity);
    this.ids.fill(-1);
  }

  // Draw a cloud: `shade` gives the colour of each voxel in the table `shades`, or is null if it
  // has one colour; `first` is the number of its first voxel; `ratio` the pixels of a CSS pixel.
  draw(voxels, { shades, shade, first, symbol, edge, least, most, ratio, camera }) {
    const { basis: { right: r, up: u, toward: t }, centre: o, scale, far, flat, reach, x0, y0 } = camera;
    const [xs, ys, zs] = voxels, { width, height, pixels, depth, ids } = this;
    for (let i = 0; i < xs.length; i++) {
      const a = xs[i] - o[0], b = ys[i] - o[1], c = zs[i] - o[2];
      const z = a * t[0] + b * t[1] + c * t[2];
      const s = flat ? scale : scale * far / (far - z);
      if (s <= 0) continue;
      const px = Math.round(ratio * (x0 + s * (a * r[0] + b * r[1] + c * r[2])));
      const py = Math.round(ratio * (y0 - s * (a * u[0] + b * u[1] + c * u[2])));
      const radius = Math.round(2 * ratio * Math.min(most, Math.max(least, edge * s))) / 2;
      if (px < -radius || py < -radius || px > width + radius || py > height + radius) continue;
      const level = Math.min(LEVELS - 1, Math.max(0, Math.floor((z / reach + 1) / 2 * LEVELS)));
      const at = 2 * ((shade ? shade[i] : 0) * LEVELS + level);
      const inner = shades[at], outer = radius >= 3 ? shades[at + 1] : inner;
      const rows = spansOf(symbol, radius), last = rows.length - 3;
      for (let row = 0; row <= last; row += 3) {
        const y = py + rows[row];
        if (y < 0 || y >= height) continue;
        const from = Math.max(0, px + rows[row + 1]), to = Math.min(width - 1, px + rows[row + 2]);
        const border = row === 0 || row === last;
        for (let x = from; x <= to; x++) {
          const pixel = y * width + x;
          if (z <= depth[pixel]) continue;
          depth[pixel] = z;
          ids[pixel] = first + i;
          pixels[pixel] = border || x === px + rows[row + 1] || x === px + rows[row + 2] ? outer : inner;
        }
      }
    }
  }

  // Paint what was drawn onto a canvas, over what is there.
  paint(pen, width, height) {
    this.canvas.getContext("2d").putImageData(this.image, 0, 0);
    pen.drawImage(this.canvas, 0, 0, width, height);
  }
}
