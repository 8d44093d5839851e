// Where the viewer is, and where a point of the cube falls on the canvas.
// A camera is {azimuth, elevation} in degrees; y is up. See pilarnet_view/camera.py.

const AXES = ["x", "y", "z"];

function basisOf(camera) {
  const [sa, ca, se, ce] = [camera.azimuth, camera.elevation].flatMap((degrees) => {
    const angle = degrees * Math.PI / 180;
    return [Math.sin(angle), Math.cos(angle)].map((v) => Math.round(v * 1e12) / 1e12);
  });
  return { right: [ca, 0, -sa], up: [-se * sa, ce, -se * ca], toward: [ce * sa, se, ce * ca] };
}

// True if the camera looks along an axis, so that the picture is a projection.
function isFlat(basis) {
  return [basis.right, basis.up, basis.toward].every((v) => v.some((c) => Math.abs(c) === 1));
}

// Projects places in voxels to [x, y, depth]: pixels, and voxels towards the viewer.
// `view` is a camera with `zoom` and `pan` (pixels); `size` has width, height and margin.
function projector(low, high, view, size) {
  const basis = basisOf(view), flat = isFlat(basis);
  const centre = low.map((v, i) => (v + high[i]) / 2);
  const half = low.map((v, i) => (high[i] - v) / 2);
  const reach = Math.hypot(...half);
  const extent = (v) => v.reduce((sum, c, i) => sum + Math.abs(c) * half[i], 0);
  const m = size.margin;
  const [width, height] = [size.width - m.left - m.right, size.height - m.top - m.bottom];
  // While it is turned about y, nothing leaves the canvas and the scale stays the same.
  const wide = flat ? extent(basis.right) : Math.hypot(half[0], half[2]);
  const tall = flat ? extent(basis.up)
    : Math.abs(basis.up[1]) * half[1] + Math.abs(basis.toward[1]) * Math.hypot(half[0], half[2]);
  const near = flat ? 1 : 1.05;
  const scale = Math.max(1e-6, Math.min(width / wide, height / tall) / 2 / near) * view.zoom;
  const middle = [m.left + width / 2, m.top + height / 2];
  const [x0, y0] = middle.map((v, i) => v + view.pan[i]);
  const far = flat ? Infinity : 6 * reach;
  const { right: r, up: u, toward: t } = basis;
  const project = (place) => {
    const [a, b, c] = place.map((v, i) => v - centre[i]);
    const depth = a * t[0] + b * t[1] + c * t[2];
    const s = scale * (flat ? 1 : far / (far - depth));
    return [x0 + s * (a * r[0] + b * r[1] + c * r[2]), y0 - s * (a * u[0] + b * u[1] + c * u[2]), depth];
  };
  return { project, basis, flat, centre, reach, scale, far, middle, x0, y0 };
}
