"use strict";
// What the pages do in the browser by themselves: keys, completion of words, masks and sketches, the gallery.
window.studio = (() => {
  const make = (tag, attributes = {}, ...children) => {
    const one = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) one.addEventListener(name.slice(2), value);
      else if (value !== false && value !== null) one.setAttribute(name, value === true ? "" : value);
    }
    one.append(...children);
    return one;
  };
  const LOOKS = 30;   // seconds that the pages may take to appear
  const visible = (one) => one && one.offsetParent !== null && !one.disabled;
  const first = (selector) => [...document.querySelectorAll(selector)].find(visible);

  // ------------------------------------------------------------------------------------------------------------ keys
  document.addEventListener("keydown", (event) => {
    const button = event.key === "Enter" && (event.ctrlKey || event.metaKey) ? first("button.make")
      : event.key === "Escape" ? first("button.cancel") : null;
    if (button) {
      event.preventDefault();
      event.stopPropagation();
      document.activeElement?.dispatchEvent(new Event("change", { bubbles: true }));
      setTimeout(() => button.click(), 50);  // what was typed last is on its way to the server
    }
  }, true);

  // An error of the page is said in it, and what was typed stays.
  const complain = (text) => {
    const bar = document.getElementById("complaint") ?? document.body.appendChild(make("div", { id: "complaint", role: "alert" }));
    bar.textContent = text;
  };
  const failed = (message) => message && !/ResizeObserver|AbortError/.test(message) && complain(
    `This page met an error (${message}). What was made is in the gallery; reload the page to go on.`);
  addEventListener("error", (event) => failed(event.message));
  addEventListener("unhandledrejection", (event) => failed(String(event.reason)));
  // A browser that cannot show the pages says so, instead of nothing.
  let looks = 0;
  const look = setInterval(() => {
    if (document.querySelector("button.make")) {
      clearInterval(look);
      if (looks > LOOKS) document.getElementById("complaint")?.remove();
    } else if (++looks > LOOKS) complain("The pages do not appear: this browser may be too old for them, or block their scripts. Open this address in a newer one; the terminal of the studio says whether it still runs.");
  }, 1000);

  // ----------------------------------------------------------------------------------------------------------- shelf
  const shelf = (element, trigger) => element.addEventListener("click", (event) => {
    const picture = event.target.closest("[data-id]");
    if (!picture || !element.contains(picture)) return;
    element.querySelectorAll("[aria-pressed=true]").forEach((one) => one.setAttribute("aria-pressed", "false"));
    picture.setAttribute("aria-pressed", "true");
    trigger("click", { id: picture.dataset.id });
  });

  // ----------------------------------------------------------------------------------------------------------- words
  // Words that the model knows, for the one that is being typed; arrows and Enter choose.
  const words = (element) => {
    const box = () => document.querySelector("#prompt textarea");
    const list = () => element.querySelector(".known");
    const suggest = () => {
      if (!list() || !box()) return;
      const all = JSON.parse(list().dataset.words || "[]");
      const typed = /([a-z]*)$/i.exec(box().value.slice(0, box().selectionStart))[1].toLowerCase();
      const found = typed ? all.filter((one) => one.startsWith(typed) && one !== typed).slice(0, 8) : [];
      list().replaceChildren(...found.map((one) => make("button", {
        type: "button", class: "word", onclick: () => put(typed, one), onkeydown: move }, one)));
    };
    const put = (typed, one) => {
      const at = box().selectionStart, before = box().value.slice(0, at - typed.length) + one + " ";
      const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;
      set.call(box(), before + box().value.slice(at).replace(/^ /, ""));
      box().dispatchEvent(new Event("input", { bubbles: true }));
      box().focus();
      box().setSelectionRange(before.length, before.length);
    };
    const move = (event) => {
      const step = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
      if (step) event.target[step]?.focus();
      else if (event.key === "ArrowUp" || event.key === "Escape") box().focus();
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    document.addEventListener("input", (event) => event.target === box() && suggest());
    document.addEventListener("keydown", (event) => {
      if (event.target === box() && event.key === "ArrowDown" && list()?.firstChild) {
        event.preventDefault();
        list().firstChild.focus();
      }
    });
  };

  // ---------------------------------------------------------------------------------------------------------- canvas
  const canvases = {}, loaded = {};   // loaded: what a board shows, which is made anew when its task comes back
  const canvas = (name) => canvases[name];
  const load = (name, id) => {        // also before its page was ever shown
    if (id) loaded[name] = id;
    canvases[name]?.load(id);
  };
  const board = (element, name, sketch = false) => {
    if (element.querySelector("canvas")) return;
    const shown = make("canvas", { tabindex: 0, "aria-label": sketch ? "sketch pad" : "the picture, to mark a part of it" });
    const layer = document.createElement("canvas"), picture = new Image();
    let tool = "brush", size = sketch ? 3 : 24, undo = [], start = null, grabbed = null;
    const sides = { left: 0, right: 0, top: 0, bottom: 0 };
    const pen = layer.getContext("2d", { willReadFrequently: true });
    const margin = () => tool === "extend" ? 0.5 : 0;

    const draw = () => {
      const w = layer.width, h = layer.height, m = margin(), wide = element.clientWidth || 320;
      const scale = Math.min(wide / (w * (1 + 2 * m)), 560 / (h * (1 + 2 * m)), sketch ? 2 : 8);
      shown.width = Math.round(w * (1 + 2 * m) * scale);
      shown.height = Math.round(h * (1 + 2 * m) * scale);
      const paint = shown.getContext("2d");
      paint.setTransform(scale, 0, 0, scale, m * w * scale, m * h * scale);
      if (sketch) { paint.fillStyle = "#fff"; paint.fillRect(0, 0, w, h); }
      else if (picture.complete && picture.naturalWidth) paint.drawImage(picture, 0, 0, w, h);
      paint.globalAlpha = sketch ? 1 : 0.55;
      paint.drawImage(layer, 0, 0);
      paint.globalAlpha = 1;
      if (tool === "extend") {
        paint.strokeStyle = "#e0325c";
        paint.lineWidth = 2 / scale;
        paint.setLineDash([6 / scale, 4 / scale]);
        paint.strokeRect(-sides.left, -sides.top, w + sides.left + sides.right, h + sides.top + sides.bottom);
      }
      return scale;
    };
    const place = (event) => {
      const box = shown.getBoundingClientRect(), m = margin();
      return [(event.clientX - box.left) / box.width * layer.width * (1 + 2 * m) - m * layer.width,
              (event.clientY - box.top) / box.height * layer.height * (1 + 2 * m) - m * layer.height];
    };
    const keep = () => { undo.push(pen.getImageData(0, 0, layer.width, layer.height)); undo = undo.slice(-20); };
    const style = () => {
      pen.globalCompositeOperation = tool === "erase" ? "destination-out" : "source-over";
      pen.strokeStyle = pen.fillStyle = sketch ? "#000" : "#e0325c";
      pen.lineWidth = size * layer.width / (shown.width || 1);
      pen.lineCap = pen.lineJoin = "round";
    };
    const fields = {};
    const show = () => { for (const [side, field] of Object.entries(fields)) field.value = sides[side]; };

    shown.addEventListener("pointerdown", (event) => {
      shown.setPointerCapture(event.pointerId);
      start = place(event);
      const [x, y] = start, w = layer.width, h = layer.height;
      if (tool === "extend") {
        const far = { left: Math.abs(x + sides.left), right: Math.abs(x - w - sides.right),
                      top: Math.abs(y + sides.top), bottom: Math.abs(y - h - sides.bottom) };
        grabbed = Object.keys(far).reduce((a, b) => far[a] < far[b] ? a : b);
        return;
      }
      keep();
      style();
      if (tool !== "box") { pen.beginPath(); pen.moveTo(x, y); pen.lineTo(x + 0.01, y); pen.stroke(); }
      draw();
    });
    shown.addEventListener("pointermove", (event) => {
      if (!start) return;
      const [x, y] = place(event), w = layer.width, h = layer.height;
      if (tool === "extend") {
        const out = { left: -x, right: x - w, top: -y, bottom: y - h }[grabbed];
        sides[grabbed] = Math.round(Math.max(0, Math.min(out, 0.5 * (/left|right/.test(grabbed) ? w : h))));
        show();
      } else if (tool === "box") {
        pen.putImageData(undo.at(-1), 0, 0);
        style();
        pen.fillRect(start[0], start[1], x - start[0], y - start[1]);
      } else { pen.lineTo(x, y); pen.stroke(); }
      draw();
    });
    for (const end of ["pointerup", "pointercancel"]) shown.addEventListener(end, () => { start = grabbed = null; });

    const choose = (next) => {
      tool = next;
      bar.querySelectorAll("[data-tool]").forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.tool === next)));
      element.dataset.tool = next;
      draw();
    };
    const button = (text, act, more = {}) => make("button", { type: "button", onclick: act, ...more }, text);
    const tools = sketch ? { brush: "Pen", erase: "Eraser" }
      : { brush: "Brush", box: "Box", erase: "Eraser", extend: "Edges" };
    const number = (label, value, act, more = {}) => make("label", {}, `${label} `, make("input", {
      type: "number", value, min: 0, oninput: act, ...more }));
    const bar = make("div", { class: "tools", role: "toolbar", "aria-label": "drawing tools" },
      ...Object.entries(tools).map(([key, text]) => button(text, () => choose(key), { "data-tool": key, "aria-pressed": String(key === tool) })),
      make("label", {}, "Size ", make("input", { type: "range", min: 1, max: 60, value: size, oninput: (event) => { size = +event.target.value; } })),
      button("Undo", () => { if (undo.length) pen.putImageData(undo.pop(), 0, 0); draw(); }),
      button("Clear", () => { keep(); pen.clearRect(0, 0, layer.width, layer.height); Object.keys(sides).forEach((side) => { sides[side] = 0; }); show(); draw(); }));
    element.append(bar, shown);
    if (!sketch) {
      const box = [0, 0, 16, 16];
      const typed = make("details", { class: "typed" }, make("summary", {}, "By numbers, in pixels"),
        make("div", { class: "tools" }, ...["Left", "Top", "Width", "Height"].map((label, k) =>
          number(label, box[k], (event) => { box[k] = +event.target.value; })),
        button("Mark this box", () => { keep(); style(); pen.globalCompositeOperation = "source-over"; pen.fillRect(...box); draw(); })),
        make("div", { class: "tools" }, ...Object.keys(sides).map((side) => {
          const label = number(`Add ${side}`, 0, (event) => { sides[side] = Math.max(0, Math.round(+event.target.value)); draw(); });
          fields[side] = label.querySelector("input");
          return label;
        })));
      element.append(typed);
    }
    const resize = (w, h) => { layer.width = w; layer.height = h; undo = []; Object.keys(sides).forEach((side) => { sides[side] = 0; }); show(); draw(); };
    picture.addEventListener("load", () => { delete element.dataset.empty; requestAnimationFrame(() => resize(picture.naturalWidth, picture.naturalHeight)); });
    new ResizeObserver(() => requestAnimationFrame(draw)).observe(element);
    if (sketch) resize(256, 256); else element.dataset.empty = "";
    canvases[name] = {
      load: (id) => { if (id) { loaded[name] = id; picture.src = `/pictures/${id}/view`; } },
      choose,
      data: () => {
        const out = document.createElement("canvas"), to = out.getContext("2d");
        [out.width, out.height] = [layer.width, layer.height];
        to.fillStyle = sketch ? "#fff" : "#000";
        to.fillRect(0, 0, out.width, out.height);
        if (sketch) to.drawImage(layer, 0, 0);
        else {
          const marks = pen.getImageData(0, 0, layer.width, layer.height), bytes = marks.data;
          for (let k = 0; k < bytes.length; k += 4) { bytes[k] = bytes[k + 1] = bytes[k + 2] = bytes[k + 3] > 127 ? 255 : 0; bytes[k + 3] = 255; }
          to.putImageData(marks, 0, 0);
        }
        return JSON.stringify({ picture: out.toDataURL("image/png"), sides });
      },
    };
    canvases[name].load(loaded[name]);
  };

  // --------------------------------------------------------------------------------------------------------- compare
  const compare = (element) => element.addEventListener("input", (event) => {
    if (event.target.matches(".compare input")) event.target.closest(".compare").style.setProperty("--at", `${event.target.value}%`);
  });

  // --------------------------------------------------------------------------------------------------------- gallery
  // Only what can be seen is in the page: a row enters when it is scrolled to, and 200 pictures are asked for at once.
  const gallery = (element, trigger) => {
    const CELL = 148, PAGE = 200;
    const form = element.querySelector("form"), view = element.querySelector(".view");
    const space = element.querySelector(".space"), told = element.querySelector(".count");
    let count = 0, pages = new Map(), turn = 0, chosen = null;
    const columns = () => Math.max(2, Math.floor(view.clientWidth / CELL));
    const query = () => {
      const asked = new URLSearchParams(), day = (name) => form.elements[name].value;
      asked.set("words", form.elements.words.value);
      asked.set("model", form.elements.model.value);
      if (form.dataset.family) asked.set("family", form.dataset.family);
      if (day("after")) asked.set("after", Date.parse(`${day("after")}T00:00`) / 1000);
      if (day("before")) asked.set("before", Date.parse(`${day("before")}T00:00`) / 1000 + 86400);
      return asked;
    };
    const fetched = async (number, now) => {
      if (pages.has(number)) return;
      pages.set(number, null);
      const asked = query();
      asked.set("offset", number * PAGE);
      asked.set("limit", PAGE);
      try {
        const answer = await (await fetch(`/pictures?${asked}`)).json();
        if (now !== turn) return;
        pages.set(number, answer.pictures);
        if (number === 0) {
          count = answer.count;
          const kept = form.elements.model.value;
          form.elements.model.replaceChildren(make("option", { value: "" }, "every model"), ...answer.models.map((one) =>
            make("option", { value: one }, one.split("/").at(-1))));
          form.elements.model.value = kept;
          told.textContent = count ? `${count.toLocaleString("en")} ${count === 1 ? "picture" : "pictures"}${form.dataset.family ? " of one family" : ""}`
            : "No picture is found: search for less, or make some on the page Create.";
        }
        drawn();
      } catch { pages.delete(number); told.textContent = "The studio does not answer; is it still running?"; }
    };
    const drawn = () => {
      const across = columns(), rows = Math.ceil(count / across);
      space.style.height = `${rows * CELL}px`;
      const top = Math.max(0, Math.floor(view.scrollTop / CELL) - 1);
      const bottom = Math.min(rows, Math.ceil((view.scrollTop + view.clientHeight) / CELL) + 1);
      const cells = [], focused = document.activeElement?.dataset?.place;
      for (let place = top * across; place < Math.min(count, bottom * across); place++) {
        const page = Math.floor(place / PAGE), one = pages.get(page)?.[place % PAGE];
        if (!pages.has(page)) fetched(page, turn);
        const cell = make("button", { type: "button", class: "cell", "data-place": place, "data-id": one?.id ?? null,
          "aria-label": one ? one.title : "loading", "aria-pressed": String(one !== undefined && one?.id === chosen), title: one?.title ?? null },
        ...(one ? [make("img", { src: `/pictures/${one.id}/thumb`, alt: "", loading: "lazy" })] : []));
        cell.style.transform = `translate(${place % across * CELL}px, ${Math.floor(place / across) * CELL}px)`;
        cells.push(cell);
      }
      space.replaceChildren(...cells);
      if (focused !== undefined) space.querySelector(`[data-place="${focused}"]`)?.focus({ preventScroll: true });
    };
    const again = () => { turn += 1; pages = new Map(); view.scrollTop = 0; fetched(0, turn); };
    let waiting = 0;
    form.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(again, 200); });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => { delete form.dataset.family; setTimeout(again); });
    view.addEventListener("scroll", () => requestAnimationFrame(drawn), { passive: true });
    new ResizeObserver(() => requestAnimationFrame(drawn)).observe(view);
    space.addEventListener("click", (event) => {
      const cell = event.target.closest("[data-id]");
      if (cell) { chosen = cell.dataset.id; drawn(); trigger("click", { id: chosen }); }
    });
    space.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() }[event.key];
      const next = step && +event.target.dataset.place + step;
      if (!step || next < 0 || next >= count) return;
      event.preventDefault();
      const row = Math.floor(next / columns()) * CELL;
      if (row < view.scrollTop) view.scrollTop = row;
      if (row + CELL > view.scrollTop + view.clientHeight) view.scrollTop = row + CELL - view.clientHeight;
      drawn();
      space.querySelector(`[data-place="${next}"]`)?.focus({ preventScroll: true });
    });
    window.studio.refresh = again;
    window.studio.family = (id) => { form.dataset.family = id; again(); };
    again();
  };

  return { shelf, words, board, canvas, load, compare, gallery, refresh: () => {}, family: () => {} };
})();
