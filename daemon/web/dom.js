// Elements are made here, and text only ever becomes text: nothing that comes from a job is read as HTML.

// h("a", {href: "#/", class: "x", onclick: f}, "text", child, [children]); null and false children are left out.
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

export function add(element, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

// Replaces what is in the element.
export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

// Sets the text where it is another, so that a selection in the page survives what did not change.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
  return element;
}

// A shape of one path, drawn in the text's colour; size in pixels.
export function icon(path, size = 16) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [name, value] of Object.entries({ viewBox: "0 0 16 16", width: size, height: size, "aria-hidden": "true" })) {
    svg.setAttribute(name, value);
  }
  svg.setAttribute("class", "icon");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

// Calls f once after the last of many calls within ms.
export function debounce(f, ms) {
  let timer = 0;
  const later = (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => f(...args), ms);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

// A line of shell that can be copied.
export function command(text) {
  const button = h("button", { type: "button", class: "quiet", onclick: copy }, "Copy");
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }
  return h("div", { class: "command" }, h("pre", { tabindex: "0" }, text), button);
}
