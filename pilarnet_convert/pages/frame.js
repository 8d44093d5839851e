"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const choice = document.getElementById("theme");
  const apply = () => {
    document.documentElement.dataset.theme = choice.value || (dark.matches ? "dark" : "light");
    document.dispatchEvent(new Event("themechange"));
  };
  choice.addEventListener("change", apply);
  dark.addEventListener("change", apply);
  apply();
})();

// What a mouse or fingers do on a canvas. Places are [x, y] on it, in CSS pixels; `on` has
//   drag(dx, dy, event)      of a mouse, or of one finger
//   zoom(factor, from, to)   by the wheel or two fingers: what was at `from` is then at `to`
//   tell(place)              what is under the mouse, or where a finger taps; null: nothing now
//   reset()                  by a double click or tap
//   begin(), cancel()        of a gesture; it is cancelled where the page is scrolled instead
//   scrolls()                true if the wheel scrolls the page
function gestures(canvas, on) {
  const held = new Map();  // pointers that are down, and where
  let still = false;  // nothing was dragged since the first of them came
  const placeOf = (event) => {
    const frame = canvas.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  };
  const pair = () => {
    const [[ax, ay], [bx, by]] = held.values();
    return { middle: [(ax + bx) / 2, (ay + by) / 2], apart: Math.max(1, Math.hypot(ax - bx, ay - by)) };
  };
  const listen = (name, act) => canvas.addEventListener(name, act, { passive: false });
  listen("pointerdown", (event) => {
    still = held.size === 0;
    if (still) on.begin();
    held.set(event.pointerId, placeOf(event));
    canvas.setPointerCapture(event.pointerId);
    on.tell(null);
  });
  listen("pointermove", (event) => {
    const to = placeOf(event), from = held.get(event.pointerId);
    if (!from) return on.tell(to);
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    if (still && Math.hypot(dx, dy) < 4) return;
    still = false;
    const before = held.size === 2 ? pair() : null;
    held.set(event.pointerId, to);
    if (before) on.zoom(pair().apart / before.apart, before.middle, pair().middle);
    else if (held.size === 1) on.drag(dx, dy, event);
  });
  listen("pointerup", (event) => {
    held.delete(event.pointerId);
    if (still && event.pointerType === "touch") on.tell(placeOf(event));
  });
  listen("pointercancel", (event) => {
    held.delete(event.pointerId);
    on.cancel();
  });
  listen("pointerleave", (event) => {
    if (event.pointerType !== "touch") on.tell(null);
  });
  listen("contextmenu", (event) => event.preventDefault());
  listen("wheel", (event) => {
    if (on.scrolls()) return;
    event.preventDefault();
    on.zoom(Math.exp(-event.deltaY / 500), placeOf(event), placeOf(event));
  });
  listen("dblclick", () => on.reset());
}
