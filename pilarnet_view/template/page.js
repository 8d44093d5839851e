"use strict";
(() => {
  const scene = JSON.parse(document.getElementById("data").textContent);
  const el = (id) => document.getElementById(id);
  const AXES = ["x", "y", "z"];
  // Browsers keep about 16 WebGL contexts; each panel on the page takes one.
  const PANELS_A_PAGE = Math.max(scene.columns, Math.floor(12 / scene.columns) * scene.columns);
  const [LOW, HIGH] = scene.energy_mev;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const state = {
    pick: -1, colouring: scene.colouring, axes: scene.axes, context: true, linked: true,
    theme: "", page: 0,
  };
  const plots = [];  // the figures on the page, used again and again with their contexts

  function decode(text, Kind) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return new Kind(bytes.buffer);
  }
  for (const panel of scene.panels) {
    for (const cloud of panel.clouds) {
      const xyz = decode(cloud.xyz, Int32Array);
      const size = xyz.length / 3;
      cloud.voxels = AXES.map((_, axis) => xyz.subarray(axis * size, (axis + 1) * size));
      cloud.energy = decode(cloud.energy_mev, Float32Array);
      cloud.log_energy = cloud.energy.map((e) => Math.log10(Math.max(e, 1e-12)));
    }
  }

  const theme = () => state.theme || (dark.matches ? "dark" : "light");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const scaleOf = () => scene.scale[theme()].map((c, i, all) => [i / (all.length - 1), c]);
  const symbolOf = (number) => {
    const round = Math.floor(number / scene.palette.light.length);
    return scene.symbols[round % scene.symbols.length];
  };
  const colourOf = (cloud) => {
    const palette = scene.palette[theme()];
    return state.colouring === "class"
      ? scene.species[cloud.species] : palette[cloud.number % palette.length];
  };
  // Plotly reads markup in its texts; what a file says is text alone.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/%\{/g, "% {");

  // A voxel's centre: its index, or cm from the corner of the cube.
  function place(panel, axis, index) {
    return state.axes === "cm"
      ? panel.origin_cm[axis] + (index + 0.5) * scene.voxel_cm[axis] : index;
  }

  // About as wide as a voxel, in pixels, but never so small that it is lost.
  function dotSize(panel, clouds, div) {
    const [low, high] = frameOf(panel, clouds);
    const longest = Math.max(...AXES.map((_, i) => high[i] - low[i]));
    const pixels = 0.6 * Math.min(div.clientHeight, div.clientWidth) / longest;
    return Math.min(9, Math.max(2.4, pixels));
  }

  function trace(panel, cloud, faint, size) {
    const cm = state.axes === "cm";
    const [x, y, z] = cloud.voxels.map(
      (index, axis) => Float32Array.from(index, (i) => place(panel, axis, i)));
    const digits = cm ? ".1f" : ".0f";
    const marker = {
      size: faint ? 0.7 * size : size, line: { width: 0 }, opacity: faint ? 0.45 : 1,
      symbol: state.colouring === "particle" ? symbolOf(cloud.number) : "circle",
    };
    if (faint) {
      marker.color = css("--faint");
      marker.symbol = "circle";
    } else if (state.colouring === "energy") {
      Object.assign(marker, {
        color: cloud.log_energy, colorscale: scaleOf(), cmin: Math.log10(LOW),
        cmax: Math.log10(HIGH), showscale: false,
      });
    } else {
      marker.color = colourOf(cloud);
    }
    const facts = cloud.facts.map(plain);
    facts[0] = `<b>${facts[0]}</b>`;
    facts.push(`this voxel %{customdata:.3f} MeV, at (%{x:${digits}}, %{y:${digits}}, ` +
               `%{z:${digits}}) ${cm ? "cm" : "voxels"}<extra></extra>`);
    return {
      type: "scatter3d", mode: "markers", name: plain(cloud.name), x, y, z, marker,
      customdata: Array.from(cloud.energy), hovertemplate: facts.join("<br>"), showlegend: false,
    };
  }

  // The panel's own frame, or one about the cloud that is shown alone.
  function frameOf(panel, clouds) {
    if (clouds.length === panel.clouds.length) return [panel.low, panel.high];
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

  function layout(panel, clouds, many) {
    const [low, high] = frameOf(panel, clouds);
    const edges = AXES.map((_, i) => high[i] - low[i]);
    const diagonal = Math.hypot(...edges);
    const box = { aspectmode: "manual", aspectratio: {}, uirevision: "kept",
                  bgcolor: css("--panel") };
    AXES.forEach((name, axis) => {
      // Proportional to the edges: a voxel is as long on one axis as on another.
      box.aspectratio[name] = 1.6 * edges[axis] / diagonal;
      box[`${name}axis`] = {
        title: { text: `${name} [${state.axes === "cm" ? "cm" : "voxel"}]`,
                 font: { size: many ? 12 : 14 } },
        range: [place(panel, axis, low[axis]), place(panel, axis, high[axis])],
        color: css("--text"), gridcolor: css("--grid"), linecolor: css("--muted"),
        zeroline: false, showbackground: false, showspikes: false,
        nticks: Math.max(3, Math.ceil((many ? 5 : 9) * edges[axis] / Math.max(...edges))),
        tickfont: { size: many ? 10 : 12 },
      };
    });
    const away = many ? 1.55 : 1.4;
    box.camera = { eye: { x: away, y: away, z: 0.6 * away }, center: { x: 0, y: 0, z: -0.08 } };
    return {
      scene: box, margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)",
      uirevision: "kept", hovermode: "closest",
      font: { color: css("--text"), family: getComputedStyle(document.body).fontFamily },
      hoverlabel: { bgcolor: css("--panel"), bordercolor: css("--muted"),
                    font: { color: css("--text"), size: 13 }, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--muted"), activecolor: css("--accent") },
    };
  }

  function figure() {
    const frame = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const title = document.createElement("span");
    const small = document.createElement("small");
    const div = document.createElement("div");
    div.className = "plot";
    caption.append(title, small);
    frame.append(caption, div);
    el("panels").append(frame);
    return { frame, caption, title, small, div };
  }

  const shown = () => {
    const all = state.pick < 0 ? scene.panels.map((_, i) => i) : scene.picks[state.pick].panels;
    return { all, page: all.slice(state.page * PANELS_A_PAGE, (state.page + 1) * PANELS_A_PAGE) };
  };

  async function draw() {
    document.documentElement.dataset.theme = theme();
    const { all, page } = shown();
    const many = page.length > 1;
    el("panels").className = !many ? "one" : scene.columns < 4 ? "rows" : "many";
    el("panels").style.setProperty("--columns", Math.min(scene.columns, page.length));
    const picked = state.pick < 0 ? null : scene.picks[state.pick].cloud;
    el("context-label").hidden = picked === null;
    el("linked-label").hidden = !many;
    const pages = Math.ceil(all.length / PANELS_A_PAGE);
    el("pager").hidden = pages < 2;
    el("page").textContent = `page ${state.page + 1} of ${pages}`;
    el("previous").disabled = state.page === 0;
    el("next").disabled = state.page === pages - 1;
    legend(page, picked);
    while (plots.length < page.length) plots.push(figure());
    plots.forEach((plot, at) => { plot.frame.hidden = at >= page.length; });
    for (const [at, number] of page.entries()) {
      const panel = scene.panels[number], plot = plots[at];
      plot.title.textContent = panel.title;
      plot.small.textContent = panel.caption;
      plot.caption.hidden = !panel.title;
      const clouds = panel.clouds.filter((_, i) => picked === null || state.context || i === picked);
      const size = dotSize(panel, clouds, plot.div);
      const traces = clouds.map((cloud) => trace(
        panel, cloud, picked !== null && cloud !== panel.clouds[picked], size));
      // Named one by one: plotly's own choice has a button that sends the data away.
      const config = { displaylogo: false, responsive: true, modeBarButtons: [
        ["toImage"], ["zoom3d", "pan3d", "orbitRotation"], ["resetCameraDefault3d"]] };
      await Plotly.react(plot.div, traces, layout(panel, clouds, many), config);
      if (!plot.linked) {
        plot.linked = true;
        plot.div.on("plotly_relayout", (change) => turn(plot, change));
      }
    }
    document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
  }

  function turn(source, change) {
    const camera = change["scene.camera"];
    if (!camera || !state.linked || turn.busy) return;
    turn.busy = true;
    const others = plots.filter((plot) => plot !== source && !plot.frame.hidden);
    Promise.all(others.map((plot) => Plotly.relayout(
      plot.div, { "scene.camera": structuredClone(camera) }))).finally(() => { turn.busy = false; });
  }

  function chip(text, colour, symbol) {
    const item = document.createElement("span"), dot = document.createElement("i");
    item.className = "chip";
    dot.className = symbol;
    dot.style.background = colour;
    item.append(dot, text);
    return item;
  }

  function legend(page, picked) {
    const clouds = page.flatMap((number) => scene.panels[number].clouds)
      .filter((_, i) => picked === null || i === picked);
    const items = [];
    if (state.colouring === "class") {
      for (const [name, colour] of Object.entries(scene.species)) {
        const count = clouds.filter((cloud) => cloud.species === name).length;
        if (count) items.push(chip(count > 1 ? `${name} (${count})` : name, colour, "circle"));
      }
    } else if (state.colouring === "particle") {
      const first = [...clouds].sort((a, b) => a.number - b.number)
        .filter((cloud, i, all) => i === 0 || cloud.number !== all[i - 1].number);
      for (const cloud of first.slice(0, 14)) {
        items.push(chip(`${cloud.name}: ${cloud.species}`, colourOf(cloud),
                        symbolOf(cloud.number)));
      }
      if (first.length > 14) items.push(`and ${first.length - 14} more: hover to see which`);
    } else {
      items.push(bar());
    }
    if (picked !== null && state.context) items.push(chip("the rest", css("--faint"), "circle"));
    el("legend").replaceChildren(...items);
  }

  function bar() {
    const frame = document.createElement("div"), ramp = document.createElement("div");
    const ticks = document.createElement("div"), name = document.createElement("span");
    frame.className = "bar";
    ramp.className = "ramp";
    ticks.className = "ticks";
    name.textContent = "energy of a voxel [MeV]";
    ramp.style.background = `linear-gradient(to right, ${scene.scale[theme()].join(", ")})`;
    const span = Math.log10(HIGH / LOW);
    const steps = span < 2.5 ? [1, 2, 5] : [1];
    for (let power = Math.floor(Math.log10(LOW)); power <= Math.log10(HIGH); power++) {
      for (const step of steps) {
        const value = step * 10 ** power;
        if (value < LOW || value > HIGH) continue;
        const tick = document.createElement("span");
        tick.style.left = `${100 * Math.log10(value / LOW) / span}%`;
        tick.textContent = String(Number(value.toPrecision(2)));
        ticks.append(tick);
      }
    }
    frame.append(name, ramp, ticks);
    return frame;
  }

  el("title").textContent = scene.title;
  el("subtitle").textContent = scene.subtitle;
  el("notes").replaceChildren(...scene.notes.map((note) => {
    const line = document.createElement("p");
    line.textContent = note;
    return line;
  }));
  const everything = scene.panels.length > 1 ? "everything" : "all particles";
  el("pick").append(new Option(everything, "-1"));
  scene.picks.forEach((pick, at) => el("pick").append(new Option(pick.name, at)));
  el("axes-label").hidden = scene.voxel_cm === null;
  el("colouring").value = state.colouring;
  el("axes").value = state.axes;

  // One drawing after the other: a change that comes while one is made waits for it.
  let queue = Promise.resolve();
  const redraw = () => { queue = queue.then(draw); };
  const bind = (id, change) => el(id).addEventListener("change", (event) => {
    change(event.target);
    redraw();
  });
  bind("pick", (target) => { state.pick = Number(target.value); state.page = 0; });
  bind("context", (target) => { state.context = target.checked; });
  bind("colouring", (target) => { state.colouring = target.value; });
  bind("axes", (target) => { state.axes = target.value; });
  bind("theme", (target) => { state.theme = target.value; });
  el("linked").addEventListener("change", (event) => { state.linked = event.target.checked; });
  el("previous").addEventListener("click", () => { state.page -= 1; redraw(); });
  el("next").addEventListener("click", () => { state.page += 1; redraw(); });
  dark.addEventListener("change", redraw);
  redraw();
})();
